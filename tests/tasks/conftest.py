"""The command line as a user calls it, with a cache of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-W", "ignore", "-m", "mmcl"]


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """One cache for all runs here, and one thread, which tiny models are fastest with."""
    return {**os.environ, "MMCL_CACHE": str(tmp_path_factory.mktemp("cache")), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def mmcl(environment):
    def _mmcl(*arguments):
        return subprocess.run([*COMMAND, *map(str, arguments)], env=environment, capture_output=True, text=True)

    return _mmcl
