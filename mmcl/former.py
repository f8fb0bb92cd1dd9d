"""Imports of modules by their names in mmcl 0.1; they still work, with a DeprecationWarning."""

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
#: new name of each renamed public module
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

# New name of each renamed object, by the former name of its module.
_RENAMED = {
    "mmcl.data.command_plan": {
        "EDITION": "COMMANDS_EDITION",
        "Parameters": "CommandParameters",
        "plan": "plan_commands",
    },
    "mmcl.data.fluent_speech_commands": {"Intent": "IntentSlots"},
    "mmcl.data.n24news": {"TEXTS": "TEXT_FIELDS"},
    "mmcl.data.slurp": {"FILES": "ANNOTATION_FILES", "Sentence": "SlurpSentence", "normalized": "normalized_text"},
    "mmcl.data.spoken_sentences": {
        "EDITION": "SENTENCES_EDITION",
        "Parameters": "SentenceParameters",
        "plan": "plan_sentences",
    },
    "mmcl.data.spoken_slurp": {"EDITION": "SLURP_EDITION", "Parameters": "SlurpParameters", "plan": "plan_slurp"},
    "mmcl.data.spoken_texts": {"TEXTS": "TEXT_SOURCES", "digest_of": "texts_digest"},
}


class _Finder(MetaPathFinder, Loader):
    """Finder for former names; it comes last, so it is used only if no file has the name."""

    def find_spec(self, fullname: str, path: object = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in FORMER else None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        present = FORMER[module.__name__]
        warnings.warn(f"{module.__name__} is now {present}: import it from there", DeprecationWarning, stacklevel=2)
        members = {name: value for name, value in vars(import_module(present)).items() if name[:2] != "__"}
        members |= {former: members[name] for former, name in _RENAMED.get(module.__name__, {}).items()}
        vars(module).update(members)


def install() -> None:
    """Register the finder for former module names.

    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     import mmcl.data.barista
    >>> mmcl.data.barista.Barista.__module__
    'mmcl.data.speech.barista'
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
