"""Location of the user's cache: generated corpora and cached features."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the cache folder: the environment variable ``MMCL_CACHE``, or ``~/.cache/mmcl`` if it is not set."""
    return Path(os.environ.get("MMCL_CACHE") or "~/.cache/mmcl").expanduser()
