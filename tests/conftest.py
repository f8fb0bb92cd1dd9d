"""Fixtures that find the real data and weights, or skip."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches for the network
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors; threads of several tests would wait for one another


def _give_lazy_modules_no_file() -> None:
    """hypothesis asks every module for its file; speechbrain's lazy ones would import what is not there to answer."""
    for module in list(sys.modules.values()):
        if type(module).__name__ in ("LazyModule", "DeprecatedModuleRedirect"):
            module.__dict__.setdefault("__file__", None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems() -> None:
    _give_lazy_modules_no_file()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    _give_lazy_modules_no_file()


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value or not Path(value).is_dir():
        pytest.skip(f"{variable} names no folder")
    return Path(value)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real data sets."""
    return _folder("MMCL_DATA")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """Folder of real pretrained weights."""
    return _folder("MMCL_WEIGHTS")
