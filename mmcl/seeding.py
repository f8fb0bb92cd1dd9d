"""Seeding of all random generators, and their states for checkpoints."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, numpy and torch.

    >>> seed_everything(0)
    >>> first = torch.rand(1)
    >>> seed_everything(0)
    >>> bool(torch.rand(1) == first)
    True
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed all generators within a block, and restore their states after it.

    >>> seed_everything(0)
    >>> with seeded(1):
    ...     _ = torch.rand(1)
    >>> drawn = torch.rand(1)
    >>> seed_everything(0)
    >>> bool(torch.rand(1) == drawn)
    True
    """
    state = random_state()
    seed_everything(seed)
    try:
        yield
    finally:
        set_random_state(state)


def random_state() -> dict[str, Any]:
    """Return the state of all random generators, as tensors, numbers and strings."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        # A run on the CPU leaves GPUs alone; asking for their state would start them.
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the state of all random generators from :func:`random_state`; GPUs that are not here are left out."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    for device, values in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(values, device)
