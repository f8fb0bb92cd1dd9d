"""Data sets and class-incremental streams; modules are imported when a name is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_imports

if TYPE_CHECKING:
    from mmcl.data.captions import Captions as Captions
    from mmcl.data.catalog import open_dataset as open_dataset
    from mmcl.data.episodes import EpisodicDataset as EpisodicDataset
    from mmcl.data.images.cifar10 import Cifar10 as Cifar10
    from mmcl.data.images.digits_on_pictures import DigitsOnPictures as DigitsOnPictures
    from mmcl.data.images.fashion_mnist import FashionMnist as FashionMnist
    from mmcl.data.images.food101 import Food101 as Food101
    from mmcl.data.images.mnist import Mnist as Mnist
    from mmcl.data.images.n24news import N24News as N24News
    from mmcl.data.images.rotated_mnist import RotatedMnist as RotatedMnist
    from mmcl.data.images.svhn import Svhn as Svhn
    from mmcl.data.labelled_exercises import LabelledExercises as LabelledExercises
    from mmcl.data.labelled_table import LabelledTable as LabelledTable
    from mmcl.data.paired import PairedDataset as PairedDataset
    from mmcl.data.selection import Selection as Selection
    from mmcl.data.speech.barista import Barista as Barista
    from mmcl.data.speech.digits_over_speech import DigitsOverSpeech as DigitsOverSpeech
    from mmcl.data.speech.fluent_speech_commands import FluentSpeechCommands as FluentSpeechCommands
    from mmcl.data.speech.slurp import Slurp as Slurp
    from mmcl.data.speech.speech_commands import SpeechCommands as SpeechCommands
    from mmcl.data.speech.spoken_digits import SpokenDigits as SpokenDigits
    from mmcl.data.spoken_written_digits import SpokenWrittenDigits as SpokenWrittenDigits
    from mmcl.data.streams import class_incremental as class_incremental
    from mmcl.data.synthesis.spoken_sentences import SpokenSentences as SpokenSentences
    from mmcl.data.synthesis.spoken_slurp import SpokenSlurp as SpokenSlurp
    from mmcl.data.synthesis.synthetic_commands import SyntheticCommands as SyntheticCommands
    from mmcl.data.tables.brca import Brca as Brca
    from mmcl.data.tables.rosmap import Rosmap as Rosmap
    from mmcl.data.tables.uci_regression import UciRegression as UciRegression
    from mmcl.data.texts.collection import Collection as Collection
    from mmcl.data.texts.cqa import Cqa as Cqa
    from mmcl.data.texts.cranfield import Cranfield as Cranfield
    from mmcl.data.texts.nli import Anli as Anli
    from mmcl.data.texts.nli import Esnli as Esnli
    from mmcl.data.texts.sick import Sick as Sick
    from mmcl.data.texts.slurp_text import SlurpText as SlurpText
    from mmcl.data.texts.sts import Sts as Sts
    from mmcl.data.texts.svamp import Svamp as Svamp
    from mmcl.data.texts.text_pairs import TextPairs as TextPairs
    from mmcl.data.torch_dataset import TorchDataset as TorchDataset
    from mmcl.encoders.views import CachedViews as CachedViews

__getattr__, __dir__, __all__ = lazy_imports(__name__, __file__)
