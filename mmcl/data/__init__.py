"""Data sets of samples, and the streams of experiences made of them; each is loaded when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_names

if TYPE_CHECKING:
    from mmcl.data.barista import Barista as Barista
    from mmcl.data.brca import Brca as Brca
    from mmcl.data.captions import Captions as Captions
    from mmcl.data.catalog import open_dataset as open_dataset
    from mmcl.data.cifar10 import Cifar10 as Cifar10
    from mmcl.data.cqa import Cqa as Cqa
    from mmcl.data.fashion_mnist import FashionMnist as FashionMnist
    from mmcl.data.fluent_speech_commands import FluentSpeechCommands as FluentSpeechCommands
    from mmcl.data.food101 import Food101 as Food101
    from mmcl.data.labelled_exercises import LabelledExercises as LabelledExercises
    from mmcl.data.labelled_table import LabelledTable as LabelledTable
    from mmcl.data.mnist import Mnist as Mnist
    from mmcl.data.n24news import N24News as N24News
    from mmcl.data.nli import Anli as Anli
    from mmcl.data.nli import Esnli as Esnli
    from mmcl.data.paired import PairedDataset as PairedDataset
    from mmcl.data.rosmap import Rosmap as Rosmap
    from mmcl.data.selection import Selection as Selection
    from mmcl.data.slurp import Slurp as Slurp
    from mmcl.data.slurp_text import SlurpText as SlurpText
    from mmcl.data.speech_commands import SpeechCommands as SpeechCommands
    from mmcl.data.spoken_digits import SpokenDigits as SpokenDigits
    from mmcl.data.spoken_sentences import SpokenSentences as SpokenSentences
    from mmcl.data.spoken_slurp import SpokenSlurp as SpokenSlurp
    from mmcl.data.spoken_written_digits import SpokenWrittenDigits as SpokenWrittenDigits
    from mmcl.data.streams import class_incremental as class_incremental
    from mmcl.data.svamp import Svamp as Svamp
    from mmcl.data.svhn import Svhn as Svhn
    from mmcl.data.synthetic_commands import SyntheticCommands as SyntheticCommands
    from mmcl.data.views import CachedViews as CachedViews

DATASETS = {  #: every data set and its module, which `mmcl.data.catalog` lists
    "Anli": "mmcl.data.nli",
    "Barista": "mmcl.data.barista",
    "Brca": "mmcl.data.brca",
    "Cifar10": "mmcl.data.cifar10",
    "Cqa": "mmcl.data.cqa",
    "Esnli": "mmcl.data.nli",
    "FashionMnist": "mmcl.data.fashion_mnist",
    "FluentSpeechCommands": "mmcl.data.fluent_speech_commands",
    "Food101": "mmcl.data.food101",
    "Mnist": "mmcl.data.mnist",
    "N24News": "mmcl.data.n24news",
    "Rosmap": "mmcl.data.rosmap",
    "Slurp": "mmcl.data.slurp",
    "SlurpText": "mmcl.data.slurp_text",
    "SpeechCommands": "mmcl.data.speech_commands",
    "SpokenDigits": "mmcl.data.spoken_digits",
    "SpokenSentences": "mmcl.data.spoken_sentences",
    "SpokenSlurp": "mmcl.data.spoken_slurp",
    "Svamp": "mmcl.data.svamp",
    "Svhn": "mmcl.data.svhn",
    "SyntheticCommands": "mmcl.data.synthetic_commands",
}
_LAZY = {
    **DATASETS,
    "CachedViews": "mmcl.data.views",
    "Captions": "mmcl.data.captions",
    "LabelledExercises": "mmcl.data.labelled_exercises",
    "LabelledTable": "mmcl.data.labelled_table",
    "PairedDataset": "mmcl.data.paired",
    "Selection": "mmcl.data.selection",
    "SpokenWrittenDigits": "mmcl.data.spoken_written_digits",
    "class_incremental": "mmcl.data.streams",
    "open_dataset": "mmcl.data.catalog",
}
__all__ = list(_LAZY)
__getattr__, __dir__ = lazy_names(__name__, _LAZY)
