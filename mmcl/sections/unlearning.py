"""Unlearning as sections of configs: the model and how it is trained, what is to be forgotten, and the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mmcl.config.model import OneOrMore, StrictModel
from mmcl.config.numbers import Count
from mmcl.config.signature import SignatureModel, section_of
from mmcl.sections.slu import OF_THE_LOOP, AudioSection, CoconutSection, DataSection, OptimizerSection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from mmcl.unlearning.removal import Removal

MethodName = Literal[
    "retrain",
    "fine_tune",
    "neg_grad",
    "neg_grad_plus",
    "bad_teacher",
    "scrub",
    "boundary_shrink",
    "sisa",
    "laf",
    "laf+r",
]


@section_of("mmcl.unlearning.removal:choose_removal", without=("kind", "train", "test", "seed"))
class RemovalSection(StrictModel):
    """What is to be forgotten; see :func:`~mmcl.unlearning.removal.choose_removal`."""

    kind: Literal["data", "class", "noisy_labels", "speaker"] = Field("data", description="of what is to be forgotten")
    speakers: OneOrMore[str] = Field((), description="names of the speakers to forget (speaker)")

    def choose(self, train: Any, test: Any, seed: int) -> Removal:
        """Choose the samples."""
        from mmcl.unlearning.removal import choose_removal

        return choose_removal(train=train, test=test, seed=seed, **self.model_dump())


@section_of("mmcl.strategies.template:MMCLTemplate", without=(*OF_THE_LOOP, "eval_batch_size", "bucket", "precision"))
class StreamSection(StrictModel):
    """A class-incremental stream that the model is trained through, before it is to forget."""

    strategy: Literal["replay", "coconut"] = Field("coconut", description="that remembers")
    experiences: int = Field(5, ge=1, description="groups in which the classes arrive")
    epochs: int = Field(10, ge=1, description="passes over each experience")
    memory_size: Count = Field(50, description="samples in memory, all classes together")
    coconut: CoconutSection = CoconutSection()
    keep: Literal["memory", "all"] = Field("memory", description="what methods are given: what the learner has, or all")
    optimizer: OptimizerSection = OptimizerSection()

    def learn(self, model: Any, train: Any, test: Any, seed: int, without: Sequence[int], device: str) -> Any:
        """Train through the stream; return the strategy and its last experience."""
        from mmcl import strategies
        from mmcl.data import class_incremental

        stream = class_incremental(train, test, self.experiences, seed=seed, without=without).train_stream
        strategy = getattr(strategies, self.strategy)(
            model,
            self.optimizer.build(model, model.encoder),
            **self.model_dump(include={"epochs", "batch_size", "memory_size"}),
            **(self.coconut.model_dump() if self.strategy == "coconut" else {}),
            device=device,
        )
        for experience in stream:
            strategy.train(experience, eval_streams=[])
        return strategy, stream[-1]


@section_of("mmcl.distributed:launch", without=("devices", "nodes", "timeout"))
@section_of("mmcl.unlearning.sisa:train_sharded", without=("fresh", "data", "groups", "on_epoch"))
@section_of("mmcl.unlearning.retraining:train_classifier", without=("model", "data", "phase", "device", "on_epoch"))
class UnlearningSection(SignatureModel):
    """A classifier, its data, and how it is trained before it is to forget."""

    data: DataSection = DataSection(name="mnist")
    removal: RemovalSection = RemovalSection()
    model: Literal["cnn", "resnet18", "encoder"] = Field(
        "cnn", description="LAF's networks for images; encoder: speech"
    )
    encoder: AudioSection = AudioSection(name="openai/whisper-base", pooling="mean_max")
    hidden: int = Field(256, ge=1, description="width of the layer on the encoder, whose output is the representation")
    shards_by: Literal["sample", "speaker"] = Field("sample", description="what sisa keeps in one shard")
    stream: StreamSection | None = Field(None, description="train class by class instead, and forget in the stream")

    @model_validator(mode="after")
    def _speech_alone_is_streamed(self) -> UnlearningSection:
        if self.stream is not None and self.model != "encoder":
            raise ValueError(f"stream: a model '{self.model}' is trained at once, expected model: encoder")
        return self

    def open(self) -> tuple[Any, Any]:
        """Open the data to train and to test with; of speech, what a frozen encoder makes of it."""
        from mmcl.encoders import cached_features

        parts: tuple[Any, Any] = self.data.build()
        if self.model != "encoder":
            return parts
        encoder = self.encoder.build()
        train, test = (cached_features(part, encoder, device=self.device) for part in parts)
        return train, test

    def build(self, data: Any, rows: Sequence[int]) -> nn.Module:
        """Build an untrained model of the data's classes, which is to be trained on some rows of it."""
        from mmcl.encoders import build_encoder
        from mmcl.models import ImageClassifier, SLUClassifier

        classes = len(data.classes)
        if self.model != "encoder":
            return ImageClassifier(classes, self.model, channels=len(data[0]["image"]))
        encoder = self.encoder.build()
        text = None if self.stream is None else build_encoder("text", "words")
        model = SLUClassifier(encoder, hidden=self.hidden, text_encoder=text)
        if encoder.frozen:
            model.standardize(data.vectors(rows))
        if self.stream is None:
            model.grow(range(classes))
        return model

    def recipe(self) -> dict[str, Any]:
        """How it is trained."""
        return self.model_dump(include={"epochs", "learning_rate", "weight_decay", "batch_size", "device"})
