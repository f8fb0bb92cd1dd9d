"""Modules under the names that they had in version 0.1: importing one still works, with a DeprecationWarning."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_IN_DATA = {
    "speech": "barista fluent_speech_commands slurp speech_commands spoken_digits",
    "images": "cifar10 fashion_mnist food101 image_set image_text mnist n24news svhn torchvision_images",
    "tables": "brca mogonet rosmap",
    "texts": "cqa exercises nli slurp_text svamp",
    "synthesis": "command_grammar command_plan corpus espeak spoken_sentences spoken_slurp spoken_texts "
    "synthetic_commands",
}
#: The present name of each module that was public under another.
FORMER = {
    "mmcl.contrastive_trainer": "mmcl.training.contrastive",
    "mmcl.data.views": "mmcl.encoders.views",
    "mmcl.metrics.accuracy_matrix": "mmcl.strategies.accuracy_matrix",
    "mmcl.metrics.frame_scores": "mmcl.strategies.frame_scores",
    "mmcl.models.files": "mmcl.models.saved",
    "mmcl.models.slu_folder": "mmcl.models.saved",
    "mmcl.ranks": "mmcl.distributed",
    "mmcl.strategies.course": "mmcl.runs.course",
    "mmcl.strategies.tracking": "mmcl.runs.tracking",
    **{
        f"mmcl.data.{name}": f"mmcl.data.{folder}.{name}"
        for folder, names in _IN_DATA.items()
        for name in names.split()
    },
}


class _Finder(MetaPathFinder, Loader):
    """Asked last: only for names that no file has."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in FORMER else None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        present = FORMER[module.__name__]
        warnings.warn(f"{module.__name__} is now {present}: import it from there", DeprecationWarning, stacklevel=2)
        vars(module).update({name: value for name, value in vars(import_module(present)).items() if name[:2] != "__"})


def install() -> None:
    """Find modules under their former names from now on.

    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     import mmcl.data.barista
    >>> mmcl.data.barista.Barista.__module__
    'mmcl.data.speech.barista'
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
