"""Runs: the folder of a run, its metrics and checkpoints, and launching, resuming and tracking of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_imports

if TYPE_CHECKING:
    from mmcl.runs.run import Run as Run

__getattr__, __dir__, __all__ = lazy_imports(__name__, __file__)
