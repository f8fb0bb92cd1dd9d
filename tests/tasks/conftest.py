"""Fixtures to run the command line with a temporary cache."""

from __future__ import annotations

import os

import pytest
from forked import run_forked


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Environment with a cache shared by all runs, and one thread, which is fastest for tiny models."""
    return {**os.environ, "MMCL_CACHE": str(tmp_path_factory.mktemp("cache")), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def mmcl(environment):
    def _mmcl(*arguments):
        return run_forked(list(map(str, arguments)), environment)

    return _mmcl
