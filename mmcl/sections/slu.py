"""Sections of configs that tasks share: each names a part by typed fields, and ``build`` makes that part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from mmcl.config.model import OneOrMore, StrictModel
from mmcl.config.signature import section_of
from mmcl.sections.objectives import make_objective, objectives
from mmcl.text.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from torch import nn
    from torch.optim import Optimizer

    from mmcl.data.base import SpeechDataset
    from mmcl.encoders.base import Encoder
    from mmcl.models.classifier import SLUClassifier
    from mmcl.models.seq2seq import SLUSeq2Seq
    from mmcl.models.tokenizer import FrameTokenizer

STRATEGY_HELP = (
    "one or more of naive, offline (all at once), joint (all so far), replay, lwf, icarl, coconut; replay and coconut "
    "with +audio_kd, +token_kd, +sequence_kd; all with +relational_kd or an objective, as in replay+sup_con"
)
STRATEGIES = ("naive", "offline", "joint", "replay", "lwf", "icarl", "coconut")
DISTILLATIONS = ("audio_kd", "token_kd", "sequence_kd")  # of what a decoder writes of samples in memory
RELATIONAL = "relational_kd"
#: Why models of a strategy cannot be exported.
NOT_EXPORTED = {"icarl": "icarl classifies by the samples in its memory, which the run does not keep"}


def _strategy_name(name: str) -> str:
    """Validate a strategy's name, with distillations and objectives after a ``+``."""
    base, *added = name.split("+")
    for part, known in ((base, STRATEGIES), *((each, (*DISTILLATIONS, RELATIONAL, *objectives())) for each in added)):
        if part not in known:
            raise ValueError(f"'{name}' is not a strategy, {did_you_mean(part, known)}")
    if distillations_in(name) and base not in ("replay", "coconut"):
        raise ValueError(f"'{name}' has no memory to distil with, expected replay or coconut before the +")
    return name


def distillations_in(name: str) -> list[str]:
    """Return the distillations in a strategy's name."""
    return [each for each in name.split("+")[1:] if each in DISTILLATIONS]


#: One of :data:`STRATEGIES`; after a ``+``, any of :data:`DISTILLATIONS` (replay and coconut),
#: :data:`RELATIONAL`, and any objective.
StrategyName = Annotated[str, AfterValidator(_strategy_name)]


def check_strategies(names: Sequence[str], model: str) -> None:
    """Refuse strategies that a model cannot be trained with."""
    for name in names:
        if model == "seq2seq" and name in ("lwf", "icarl"):
            raise ValueError(f"strategy '{name}' is for a classifier, expected model: classifier, or replay+token_kd")
        if model != "seq2seq" and distillations_in(name):
            raise ValueError(f"strategy '{name}' distils what a decoder writes, expected model: seq2seq")


#: Arguments of the loop that no config sets by their name.
OF_THE_LOOP = ("model", "optimizer", "scheduler", "clip_norm", "plugins", "evaluator", "device", "workers")


class DataSection(StrictModel):
    """A data set, and which of its splits are trained and tested on."""

    name: str = Field("synthetic_commands", description="data set, as `mmcl data ls` lists them")
    root: str | None = Field(None, description="its folder; none looks in MMCL_DATA and in the cache")
    train: OneOrMore[str] = Field(("train",), min_length=1, description="splits to train on, joined")
    test: str = Field("test", description="split to test on; choose settings on valid")
    options: dict[str, Any] = Field({}, description="of the data set, such as {slot: size}")

    def build(self) -> tuple[SpeechDataset, SpeechDataset]:
        """Open the data for training and the data for testing."""
        from mmcl.data import open_dataset

        train = self.join([open_dataset(self.name, split, self.root, **self.options) for split in self.train])
        return train, open_dataset(self.name, self.test, self.root, **self.options)

    def join(self, parts: Sequence[Any]) -> Any:
        """Return several splits as one; raises ConfigError where the data set does not join them."""
        from mmcl.errors import ConfigError

        first, *rest = parts
        if rest and not hasattr(first, "__add__"):
            splits = ", ".join(part.split for part in parts)
            raise ConfigError(f"splits {splits} of {self.name} cannot be joined: expected one to train on")
        for part in rest:
            first = first + part
        return first


class EncoderSection(StrictModel):
    """An encoder of any modality."""

    modality: Literal["audio", "text", "image", "tabular"] = Field("audio", description="what it takes")
    name: str = Field("cnn", description="short name, hub id, folder, or library:model; see build_encoder")
    frozen: bool | None = Field(None, description="train nothing in it; none: pretrained ones are frozen")
    tune_from: int | None = Field(None, description="train the layers of a pretrained one from this one on")
    pooling: str | None = Field(None, description="mean, max, mean_max, cls, own; none: the encoder's usual")
    options: dict[str, Any] = Field({}, description="of the encoder, such as {dim: 192} or {download: true}")

    def encoder(self, **options: Any) -> Encoder:
        """Build the encoder; ``options`` are what the data says, which the config may say otherwise."""
        from mmcl.encoders import build_encoder

        chosen: dict[str, Any] = {"frozen": self.frozen, "tune_from": self.tune_from, **options, **self.options}
        if self.pooling is not None:
            chosen["pooling"] = self.pooling
        return build_encoder(self.modality, self.name, **chosen)


class AudioSection(StrictModel):
    """An audio encoder."""

    name: str = Field("cnn", description="cnn, conformer, hub id, folder, or library:model; see build_encoder")
    frozen: bool | None = Field(None, description="train nothing in it; none: pretrained ones are frozen")
    tune_from: int | None = Field(None, description="train the layers of a pretrained one from this one on")
    pooling: Literal["mean", "max", "mean_max", "own"] | None = Field(None, description="over time; none: the usual")
    options: dict[str, Any] = Field({}, description="of the encoder, such as {dim: 192} or {download: true}")

    def build(self) -> Encoder:
        """Build the encoder."""
        return EncoderSection(modality="audio", **self.model_dump()).encoder()


class TextSection(StrictModel):
    """A text encoder, and the space in which texts meet audio."""

    name: str = Field("words", description="words (trained from scratch), or a pretrained one: hub id or folder")
    projection: int = Field(512, ge=1, description="dimension of the audio-text space")
    options: dict[str, Any] = Field({}, description="of the encoder, such as {dim: 256} or {download: true}")

    def build(self) -> Encoder:
        """Build the encoder."""
        from mmcl.encoders import build_encoder

        return build_encoder("text", self.name, **self.options)


class ClassifierSection(StrictModel):
    """A hidden layer and a head that grows; see :class:`mmcl.models.SLUClassifier`."""

    hidden: int = Field(256, ge=1, description="width of the hidden layer")
    dropout: float = Field(0.0, ge=0, lt=1, description="after the hidden layer")
    text: TextSection = TextSection()

    def build(self, encoder: Encoder) -> SLUClassifier:
        """Build the model."""
        from mmcl.models import SLUClassifier

        text: dict[str, Any] = {"text_encoder": self.text.build(), "projection": self.text.projection}
        return SLUClassifier(encoder, hidden=self.hidden, dropout=self.dropout, **text)


class OptimizerSection(StrictModel):
    """AdamW and its schedule."""

    learning_rate: float = Field(1e-3, gt=0, description="of AdamW")
    encoder_learning_rate: float | None = Field(None, gt=0, description="of the audio encoder; none: the same")
    weight_decay: float = Field(1e-2, ge=0, description="of AdamW")
    schedule: Literal["constant", "cosine"] = Field("constant", description="of the rates, within each experience")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient; none: any")

    def build(self, model: nn.Module, encoder: nn.Module) -> Optimizer:
        """Make the optimizer of what is trained in ``model``, of which ``encoder`` is a part."""
        import torch

        inside = {id(parameter) for parameter in encoder.parameters()}
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups: list[dict[str, Any]] = [{"params": [p for p in trained if id(p) not in inside]}]
        if tuned := [p for p in trained if id(p) in inside]:
            # First, because parameters that the model grows join the last group.
            groups.insert(0, {"params": tuned, "lr": self.encoder_learning_rate or self.learning_rate})
        return torch.optim.AdamW(groups, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)

    def scheduler(self) -> Any:
        """Return what makes the schedule of an optimizer and a number of steps, None for constant rates."""
        import torch

        return torch.optim.lr_scheduler.CosineAnnealingLR if self.schedule == "cosine" else None


@section_of("mmcl.strategies.coconut:Coconut")
class CoconutSection(StrictModel):
    """The contrastive terms of COCONUT; see :class:`mmcl.strategies.coconut.Coconut`."""


@section_of("mmcl.strategies.contrast:Contrast", without=("objective", "name"))
class ContrastSection(StrictModel):
    """An objective that a strategy's name adds after a ``+``; see :class:`mmcl.strategies.contrast.Contrast`."""

    temperature: float = Field(0.1, gt=0, description="temperature of the objective; the initial one if it is learned")
    learn_temperature: bool = Field(False, description="train the temperature, as CLIP does")

    def build(self, name: str, settings: StrictModel) -> Any:
        """Make the plugin of an objective, of which ``settings`` are its own."""
        from mmcl import distributed
        from mmcl.strategies.contrast import Contrast

        chosen, several = self.model_dump(include={"temperature", "learn_temperature"}), distributed.world_size() > 1
        objective = make_objective(name, settings, **chosen, gather=several)
        return Contrast(objective, name=name, **self.model_dump(exclude=set(chosen)))


@section_of("mmcl.strategies.relational_distillation:RelationalDistillation")
class RelationalSection(StrictModel):
    """Distillation of distances and angles between embeddings, which a strategy's name adds as ``+relational_kd``."""

    def build(self) -> Any:
        """Make the plugin."""
        from mmcl.strategies.relational_distillation import RelationalDistillation

        return RelationalDistillation(**self.model_dump())


@section_of("mmcl.strategies.distillation:LogitDistillation")
class DistillationSection(StrictModel):
    """Distillation of logits, in lwf and icarl."""


class Seq2SeqSection(StrictModel):
    """A decoder that writes intent, entities and transcript; see :class:`mmcl.models.SLUSeq2Seq`."""

    dim: int = Field(768, ge=2, description="width of the decoder")
    layers: int = Field(6, ge=1, description="of the decoder")
    heads: int = Field(8, ge=1, description="of attention")
    feedforward: int = Field(3072, ge=1, description="width within a layer")
    encoder_layers: int = Field(0, ge=0, description="transformer layers on top of the audio encoder")
    summary: bool = Field(False, description="the mean and maximum of all steps stand before them")
    dropout: float = Field(0.1, ge=0, lt=1, description="in all transformer layers")
    tied: bool = Field(False, description="one matrix for tokens in and out")
    projection: int = Field(512, ge=1, description="dimension of the audio-text space")
    entities: bool = Field(True, description="write entities; without, intent and transcript alone")
    vocabulary: int = Field(1000, ge=1, description="tokens, those of intents and characters included")
    bpe_dropout: float = Field(0.1, ge=0, lt=1, description="merges left out in training, of the tokenizer")
    beams: int = Field(5, ge=1, description="width of the search in tests; 1 is greedy")
    length_penalty: float = Field(0.6, description="scores are divided by tokens to this power")
    max_tokens: int = Field(130, ge=1, description="longest sequence that is decoded")

    def tokenizer(self, train: Any, path: Path) -> FrameTokenizer:
        """Train the tokenizer on a data set and write it to ``path``, or read what is there."""
        from mmcl.errors import CheckpointError
        from mmcl.models import Frame, FrameTokenizer

        if path.exists():
            tokenizer = FrameTokenizer.load(path)
            if tokenizer.intents != tuple(train.classes):
                raise CheckpointError(
                    f"{path} has {len(tokenizer.intents)} intents that are not the {len(train.classes)} classes of the "
                    "data: put the tokenizer.json of this run back"
                )
            return tokenizer
        entities = train.entities if self.entities else [()] * len(train)
        said: Iterable[Any] = zip(train.labels, entities, train.texts, strict=True)
        frames = [Frame(train.classes[label], entities, text) for label, entities, text in said]
        size: dict[str, Any] = {"vocabulary": self.vocabulary, "dropout": self.bpe_dropout}
        tokenizer = FrameTokenizer.train(frames, train.classes, **size)
        tokenizer.save(path)
        return tokenizer

    def build(self, encoder: Encoder, tokenizer: FrameTokenizer) -> SLUSeq2Seq:
        """Build the model."""
        from mmcl.models import SLUSeq2Seq

        return SLUSeq2Seq(encoder, tokenizer, **self.model_dump(exclude={"vocabulary", "bpe_dropout"}))


class KnowledgeDistillationSection(StrictModel):
    """The distillations that a strategy's name adds after a ``+``."""

    audio_weight: float = Field(1.0, ge=0, description="of audio_kd: what the decoder hears")
    token_weight: float = Field(1.0, ge=0, description="of token_kd: probabilities of the next token")
    sequence_weight: float = Field(1.0, ge=0, description="of sequence_kd: the sequences that the model wrote before")
    beams: int | None = Field(None, ge=1, description="of sequence_kd; none: those of the model")

    def build(self, name: str) -> Any:
        """Make the plugin of one of :data:`DISTILLATIONS`."""
        from mmcl.strategies.distillation import AudioDistillation, TokenDistillation
        from mmcl.strategies.sequence_distillation import SequenceDistillation

        if name == "audio_kd":
            return AudioDistillation(self.audio_weight)
        if name == "token_kd":
            return TokenDistillation(self.token_weight)
        return SequenceDistillation(self.sequence_weight, self.beams)


def rebuild_model(config: Any, folder: Path) -> SLUClassifier | SLUSeq2Seq:
    """Build the untrained model of a run of ``slu_incremental``, so that a checkpoint can be exported."""
    from mmcl.models import FrameTokenizer

    encoder = config.encoder.build()
    if config.model == "seq2seq":
        return config.seq2seq.build(encoder, FrameTokenizer.load(folder / "tokenizer.json"))
    return config.classifier.build(encoder)


def frame_scores(model: str) -> list[Any]:
    """Make the plugin that scores what a model writes, if it writes."""
    from mmcl.strategies.frame_scores import FrameScores

    return [FrameScores()] if model == "seq2seq" else []


def build_addition(name: str, config: Any) -> Any:
    """Make the plugin of a name after a ``+``, by the sections of a task's config."""
    if name in DISTILLATIONS:
        return config.knowledge_distillation.build(name)
    return config.relational.build() if name == RELATIONAL else config.contrast.build(name, config.objectives)
