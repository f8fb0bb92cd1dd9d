"""Config sections of unlearning: the samples to forget, the class-incremental stream, the model and its training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, model_validator

from mmcl.config.model import OneOrMore, StrictModel
from mmcl.config.signature import SignatureModel, section_of
from mmcl.sections.encoders import AudioSection
from mmcl.sections.optimizer import OptimizerSection
from mmcl.sections.slu import OF_THE_LOOP, CoconutSection, DataSection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from avalanche.benchmarks.scenarios import CLExperience
    from torch import nn

    from mmcl.data.base import Dataset
    from mmcl.encoders.base import Encoder
    from mmcl.models import ImageClassifier
    from mmcl.models.classifier import SLUClassifier
    from mmcl.runs.run import Run
    from mmcl.strategies.template import MMCLTemplate
    from mmcl.unlearning.removal import Removal

_SCENARIO = ("class_order", "seed", "initial", "by_superclass", "without", "domain", "shots", "blur")
_ONLY_EXPERIENCES = ("train", "test", *_SCENARIO)

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
    """The samples to forget; see :func:`~mmcl.unlearning.removal.choose_removal`."""

    kind: Literal["data", "class", "noisy_labels", "speaker"] = Field("data", description="kind of samples to forget")
    speakers: OneOrMore[str] = Field((), description="names of the speakers to forget (speaker)")

    def choose(self, train: Any, test: Any, seed: int) -> Removal:
        """Choose the samples."""
        from mmcl.unlearning.removal import choose_removal

        return choose_removal(train=train, test=test, seed=seed, **self.model_dump())


@section_of(
    "mmcl.strategies.template:MMCLTemplate", without=(*OF_THE_LOOP, "eval_batch_size", "bucket", "columns", "precision")
)
@section_of("mmcl.strategies.rehearsal:Rehearsal", without=("selection", "by_superclass", "memory_bytes"))
@section_of("mmcl.data.streams:class_incremental", without=_ONLY_EXPERIENCES)
class StreamSection(SignatureModel):
    """A class-incremental stream that the model is trained on before it forgets."""

    strategy: Literal["replay", "coconut"] = Field("coconut", description="continual learning strategy")
    epochs: int = Field(10, ge=1, description="passes over the data of each experience")
    coconut: CoconutSection = CoconutSection()
    keep: Literal["memory", "all"] = Field(
        "memory", description="samples that methods keep: the memory with the last experience, or all"
    )
    optimizer: OptimizerSection = OptimizerSection()

    def learn(
        self, model: SLUClassifier, train: Dataset, test: Dataset, seed: int, without: Sequence[int], device: str
    ) -> tuple[MMCLTemplate, CLExperience]:
        """Train on the stream; return the strategy and the last experience."""
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
@section_of("mmcl.unlearning.sisa:train_sharded", without=("fresh", "data", "groups", "device", "on_epoch"))
@section_of("mmcl.unlearning.retraining:train_classifier", without=("model", "data", "phase", "device", "on_epoch"))
class UnlearningSection(SignatureModel):
    """A classifier, its data, and its training before it forgets."""

    data: DataSection = DataSection(name="mnist")
    removal: RemovalSection = RemovalSection()
    model: Literal["cnn", "resnet18", "encoder"] = Field(
        "cnn", description="classifier: LAF's networks for images (cnn, resnet18), or the audio encoder for speech"
    )
    encoder: AudioSection = AudioSection(name="openai/whisper-base", pooling="mean_max")
    hidden: int = Field(
        256, ge=1, description="width of the hidden layer on the audio encoder, which gives the representation"
    )
    shards_by: Literal["sample", "speaker"] = Field(
        "sample", description="unit that sisa assigns to shards: single samples, or all samples of a speaker"
    )
    stream: StreamSection | None = Field(
        None, description="train and forget in a class-incremental stream; none: train on all classes at once"
    )

    @model_validator(mode="after")
    def _check_stream(self) -> UnlearningSection:
        if self.stream is not None and self.model != "encoder":
            raise ValueError(f"stream: a model '{self.model}' cannot learn from a stream, expected model: encoder")
        return self

    def open(self) -> tuple[Dataset, Dataset]:
        """Open training and test data; the features of a frozen audio encoder are cached.

        Raises:
            ConfigError: the model is for images and the data for speech, or the reverse.
        """
        from mmcl.encoders import cached_features

        parts: tuple[Dataset, Dataset] = self.data.build(*self.needed_modality())
        if self.model != "encoder":
            return parts
        encoder = self.encoder.build()
        train, test = (cached_features(part, encoder, device=self.device) for part in parts)
        return train, test

    def needed_modality(self) -> tuple[Literal["audio", "image"], str]:
        """Return the modality that the model needs, and the setting that helps if the data lacks it."""
        if self.model == "encoder":
            return "audio", "set model=cnn for images"
        return "image", "set model=encoder for recordings"

    def build(self, data: Any, rows: Sequence[int]) -> nn.Module:
        """Build an untrained model of the data's classes.

        Args:
            data: data set.
            rows: training rows; they standardize the input of a frozen encoder's classifier.
        """
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

    def keep(self, run: Run, unit: str, model: nn.Module, train: Any) -> None:
        """Save the model that was trained on all samples in the run's ``models/<unit>``, and calibrate it.

        Args:
            run: the run.
            unit: name of the model.
            model: the trained model.
            train: its training data.
        """
        from mmcl.encoders import cached_features
        from mmcl.models import SLUClassifier
        from mmcl.models.saved import save_slu
        from mmcl.models.saved_classifiers import save_classifier
        from mmcl.runs.calibrate import calibrate_run

        folder = run.folder / "models" / unit
        if isinstance(model, SLUClassifier):
            save_slu(model, folder, train.classes)
            encoder = cast("Encoder", model.encoder)
            valid = self.data.validation(
                train.classes, lambda split: cached_features(split, encoder, device=self.device)
            )
        else:
            save_classifier(cast("ImageClassifier", model), folder, train.classes, train[0]["image"].shape[-1])
            valid = self.data.validation(train.classes)
        calibrate_run(run, unit, valid, model)

    def recipe(self) -> dict[str, Any]:
        """Return the training settings."""
        return self.model_dump(include={"epochs", "learning_rate", "weight_decay", "batch_size", "device"})
