"""Configs: YAML files and overrides are validated into typed, frozen models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_imports

if TYPE_CHECKING:
    from mmcl.config.model import StrictModel as StrictModel
    from mmcl.config.model import dump_config as dump_config
    from mmcl.config.model import load_config as load_config

__getattr__, __dir__, __all__ = lazy_imports(__name__, __file__)
