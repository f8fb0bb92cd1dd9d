"""Fixtures of runs on the device under test."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import run_forked
from small_runs import small_run  # noqa: F401

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # looking for a GPU does not prevent a later fork
Run = Callable[..., Path]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of runs, which share a cache and compute the same in every run."""
    own = {"MMCL_CACHE": str(tmp_path_factory.mktemp("cache")), "OMP_NUM_THREADS": "1"}
    own["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # products that add up in a fixed order
    return {**os.environ, **own}


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs ``mmcl run`` and returns the run's folder."""

    def start(*arguments: str, name: str = "run") -> Path:
        folder = tmp_path / name
        where = ["--resume", str(folder)] if arguments == () else [*arguments, "--folder", str(folder)]
        done = run_forked(["run", *where], environment)
        assert done.returncode == 0, done.stderr
        return folder

    return start
