"""A device whose values are not read, on a machine that has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Operators that read values, or whose result has a shape that depends on values.
_WAITING = {
    *("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "bincount", "repeat_interleave"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "_sparse_mm", "_coalesce", "histc", "argwhere"),
}
_READING = ("item", "tolist", "nonzero", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__")


class _NoWaits(TorchDispatchMode):
    """Raise where an operator would wait for a GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        selects = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            each is not None and each.dtype in (torch.bool, torch.uint8) for each in args[1]
        )
        if name in _WAITING or selects:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


@contextmanager
def elsewhere() -> Iterator[pytest.MonkeyPatch]:
    """Tensors pretend not to be on the CPU, so that their values are not checked at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "is_cpu", False)
        yield patch


@contextmanager
def no_waits() -> Iterator[None]:
    """As :func:`elsewhere`, and reading a value is an error, also within operators."""

    def refusing(name: str) -> Callable[..., None]:
        def refuse(*_: object) -> None:
            raise AssertionError(f"Tensor.{name} waits for the device")

        return refuse

    with elsewhere() as patch, _NoWaits():
        for name in _READING:
            patch.setattr(torch.Tensor, name, refusing(name))
        yield


@contextmanager
def no_copies() -> Iterator[None]:
    """A tensor made of Python numbers is an error: torch copies it to the device, and waits."""

    def refusing(original: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def make(data: object, *args: object, **options: object) -> torch.Tensor:
            if not isinstance(data, torch.Tensor):
                raise AssertionError(f"torch.{original.__name__}({data}) is copied to the device")
            return original(data, *args, **options)

        return make

    with elsewhere() as patch:
        for name in ("tensor", "as_tensor", "asarray", "scalar_tensor"):
            patch.setattr(torch, name, refusing(getattr(torch, name)))
        yield
