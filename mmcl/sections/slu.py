"""Config sections of data, SLU models, optimizers and continual learning strategies, shared by several tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from mmcl.config.model import OneOrMore, StrictModel
from mmcl.config.signature import SignatureModel, section_of
from mmcl.sections.additions import ContrastSection as ContrastSection
from mmcl.sections.additions import CoreTuningSection as CoreTuningSection
from mmcl.sections.additions import KnowledgeDistillationSection as KnowledgeDistillationSection
from mmcl.sections.additions import RelationalSection as RelationalSection
from mmcl.sections.additions import build_additions as build_additions
from mmcl.sections.closed_form import ReadOutSection as ReadOutSection
from mmcl.sections.closed_form import check_frozen_encoder as check_frozen_encoder
from mmcl.sections.closed_form import trains_encoder as trains_encoder

# Tasks read all their sections from this module.
from mmcl.sections.encoders import AudioSection as AudioSection
from mmcl.sections.encoders import EncoderSection as EncoderSection
from mmcl.sections.encoders import TextSection
from mmcl.sections.optimizer import OptimizerSection as OptimizerSection
from mmcl.sections.prompting import L2PSection as L2PSection
from mmcl.sections.regularization import RegularizationSection as RegularizationSection
from mmcl.sections.rehearsal import RehearsalSection as RehearsalSection
from mmcl.sections.scenarios import scoring_plugins as scoring_plugins
from mmcl.sections.scenarios import stream_settings as stream_settings
from mmcl.sections.strategy_names import CLOSED_FORM as CLOSED_FORM
from mmcl.sections.strategy_names import (
    LINEAR,
    check_strategies,
    check_trained_encoder,
    expand_all,
    read_out_of,
)
from mmcl.sections.strategy_names import NOT_EXPORTED as NOT_EXPORTED
from mmcl.sections.strategy_names import STRATEGY_HELP as STRATEGY_HELP
from mmcl.sections.strategy_names import StrategyName as StrategyName
from mmcl.sections.strategy_names import base_of as base_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from mmcl.data.base import Dataset, SpeechDataset
    from mmcl.encoders.base import Encoder
    from mmcl.models.classifier import SLUClassifier
    from mmcl.models.seq2seq import SLUSeq2Seq
    from mmcl.models.tokenizer import FrameTokenizer
    from mmcl.runs.calibrate import ValidationData

DatasetT = TypeVar("DatasetT", bound="Dataset")
ConfigT = TypeVar("ConfigT", bound=StrictModel)


#: Arguments of the training loop that are not settings.
OF_THE_LOOP = ("model", "optimizer", "scheduler", "clip_norm", "plugins", "evaluator", "device", "workers")


class DataSection(StrictModel):
    """A data set, and its splits for training and testing."""

    options_of_name: ClassVar[tuple[str, ...]] = ("options",)

    name: str = Field(
        "synthetic_commands", description="name of the data set; `mmcl data ls` lists all; table for files of your own"
    )
    root: str | None = Field(
        None, description="folder of the data set, or file for table; none: search MMCL_DATA and the cache"
    )
    train: OneOrMore[str] = Field(("train",), min_length=1, description="splits to train on")
    test: str = Field("test", description="split to test on; use valid to choose settings")
    options: dict[str, Any] = Field({}, description="options of the data set, such as {slot: size}")

    def build(
        self, modality: Literal["audio", "image"] = "audio", otherwise: str = ""
    ) -> tuple[SpeechDataset, SpeechDataset]:
        """Open the training data and the test data.

        Args:
            modality: modality that the model needs.
            otherwise: setting that helps if the samples lack it, for the error.

        Raises:
            ConfigError: the samples lack ``modality``.
        """
        from mmcl.data import open_dataset
        from mmcl.data.modalities import check_modality

        train = self.join([open_dataset(self.name, split, self.root, **self.options) for split in self.train])
        check_modality(train, modality, f"data.name={self.name}", otherwise)
        return train, open_dataset(self.name, self.test, self.root, **self.options)

    def validation(self, classes: Sequence[str], encode: Callable[[Any], Any] = lambda data: data) -> ValidationData:
        """Open the split ``valid`` to calibrate with, see :func:`~mmcl.runs.calibrate.validation_data`."""
        from mmcl.data import open_dataset
        from mmcl.runs.calibrate import validation_data

        def open_split(split: str) -> Any:
            return open_dataset(self.name, split, self.root, **self.options)

        return validation_data(open_split, {*self.train, self.test}, classes, encode)

    def join(self, splits: Sequence[DatasetT]) -> DatasetT:
        """Concatenate splits.

        Raises:
            ConfigError: there are several splits, and the data set does not support it.
        """
        from mmcl.errors import ConfigError

        first, *rest = splits
        if rest and not hasattr(first, "__add__"):
            names = ", ".join(getattr(each, "split", "") for each in splits)
            raise ConfigError(f"splits {names} of {self.name} cannot be concatenated: expected a single split")
        for each in rest:
            first = first + each  # type: ignore[operator]
        return first


@section_of("mmcl.models.classifier:SLUClassifier", without=("encoder", "text_encoder", "projection", "readout"))
class ClassifierSection(StrictModel):
    """A classifier with a hidden layer and a growing head; see :class:`mmcl.models.SLUClassifier`."""

    text: TextSection = TextSection()

    def build(self, encoder: Encoder, *, trained: bool = True, contrasts: bool = False) -> SLUClassifier:
        """Build the model.

        Args:
            encoder: the audio encoder.
            trained: whether a strategy trains the classifier; otherwise it has no hidden layer and no text encoder.
            contrasts: whether there is a text encoder in any case.
        """
        from mmcl.models import SLUClassifier

        own: dict[str, Any] = self.model_dump(exclude={"text"}) if trained else {"hidden": None}
        if trained or contrasts:
            own |= {"text_encoder": self.text.build(), "projection": self.text.projection}
        return SLUClassifier(encoder, **own)


@section_of("mmcl.strategies.coconut:Coconut")
class CoconutSection(StrictModel):
    """The contrastive terms of COCONUT; see :class:`mmcl.strategies.coconut.Coconut`."""


@section_of("mmcl.strategies.distillation:LogitDistillation")
class DistillationSection(StrictModel):
    """Logit distillation of lwf and icarl."""


@section_of("mmcl.models.seq2seq:SLUSeq2Seq", without=("encoder", "tokenizer"))
class Seq2SeqSection(SignatureModel):
    """A decoder of intent, entities and transcript; see :class:`mmcl.models.SLUSeq2Seq`."""

    vocabulary: int = Field(1000, ge=1, description="number of tokens, including those of intents and characters")
    bpe_dropout: float = Field(
        0.1, ge=0, lt=1, description="probability of skipping a merge of the tokenizer in training"
    )
    beams: int = Field(5, ge=1, description="width of the beam search in evaluation; 1 is greedy decoding")

    def tokenizer(self, train: Any, path: Path) -> FrameTokenizer:
        """Load the tokenizer from ``path``; if there is none, train it on a data set and save it.

        Raises:
            CheckpointError: the intents of the saved tokenizer are not the classes of the data set.
        """
        from mmcl.errors import CheckpointError
        from mmcl.models import Frame, FrameTokenizer

        if path.exists():
            tokenizer = FrameTokenizer.load(path)
            if tokenizer.intents != tuple(train.classes):
                raise CheckpointError(
                    f"{path} has {len(tokenizer.intents)} intents, which differ from the {len(train.classes)} classes "
                    "of the data: restore the tokenizer.json of this run"
                )
            return tokenizer
        entities = train.entities if self.entities else [()] * len(train)
        rows: Iterable[Any] = zip(train.labels, entities, train.texts, strict=True)
        frames = [Frame(train.classes[label], entities, text) for label, entities, text in rows]
        tokenizer = FrameTokenizer.train(frames, train.classes, vocabulary=self.vocabulary, dropout=self.bpe_dropout)
        tokenizer.save(path)
        return tokenizer

    def build(self, encoder: Encoder, tokenizer: FrameTokenizer) -> SLUSeq2Seq:
        """Build the model."""
        from mmcl.models import SLUSeq2Seq

        return SLUSeq2Seq(encoder, tokenizer, **self.model_dump(exclude={"vocabulary", "bpe_dropout"}))


def resolve_strategies(config: ConfigT) -> ConfigT:
    """Return a config after ``all`` in its strategies is replaced; raises ValueError if one does not fit the model."""
    given: Any = config
    fits = {"trains_encoder": given.trains_encoder(), "has_prompts": given.has_prompts()}
    # Written past the immutable fields: `all` depends on other fields, and the folder of a run lists the strategies.
    config.__dict__["strategy"] = expand_all(given.strategy, given.model, **fits)
    check_strategies(given.strategy, given.model)
    check_trained_encoder(given.strategy, **fits)
    return config


def rebuild_model(config: Any, folder: Path, strategy: str) -> SLUClassifier | SLUSeq2Seq:
    """Build the untrained model of a strategy in a run of ``slu_incremental``, to load a checkpoint for export."""
    from mmcl.models import FrameTokenizer

    tokenizer = FrameTokenizer.load(folder / "tokenizer.json") if config.model == "seq2seq" else None
    model = build_model(config, strategy, config.encoder.build(), tokenizer)
    if (readout := read_out_of(strategy)) is not None:
        model.readout = config.readout.build(readout)
    return model


def build_model(
    config: Any, strategy: str, encoder: Encoder, tokenizer: FrameTokenizer | None
) -> SLUClassifier | SLUSeq2Seq:
    """Build the untrained model of a strategy: a sequence model if there is a tokenizer, else a classifier."""
    if tokenizer is not None:
        return config.seq2seq.build(encoder, tokenizer)
    return config.classifier.build(encoder, trained=base_of(strategy) not in LINEAR, contrasts="+" in strategy)
