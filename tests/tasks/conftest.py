"""Tests of tasks train whole runs: they are slow, and CI runs them. Fixtures run the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from forked import run_forked


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the tests of this folder, except those that are too slow for CI."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.ci)


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Environment with a cache shared by all runs, and one thread, which is fastest for tiny models."""
    return {**os.environ, "MMCL_CACHE": str(tmp_path_factory.mktemp("cache")), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def mmcl(environment):
    def _mmcl(*arguments):
        return run_forked(list(map(str, arguments)), environment)

    return _mmcl
