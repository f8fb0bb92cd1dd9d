"""Sections of configs that tasks share: each names a part by typed fields, and ``build`` makes that part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mmcl.config import OneOrMore, StrictModel

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from mmcl.data.base import SpeechDataset
    from mmcl.encoders.base import Encoder


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

        first, *rest = (open_dataset(self.name, split, self.root, **self.options) for split in self.train)
        for part in rest:
            first = first + part
        return first, open_dataset(self.name, self.test, self.root, **self.options)


class AudioSection(StrictModel):
    """An audio encoder."""

    name: str = Field("cnn", description="cnn, conformer, or a pretrained one: hub id or folder")
    frozen: bool | None = Field(None, description="train nothing in it; none: pretrained ones are frozen")
    tune_from: int | None = Field(None, description="train the layers of a pretrained one from this one on")
    pooling: Literal["mean", "max", "mean_max"] = Field("mean", description="over time")
    options: dict[str, Any] = Field({}, description="of the encoder, such as {dim: 192} or {download: true}")

    def build(self) -> Encoder:
        """Build the encoder."""
        from mmcl.encoders import build_encoder

        chosen: dict[str, Any] = {"frozen": self.frozen, "tune_from": self.tune_from, "pooling": self.pooling}
        return build_encoder("audio", self.name, **chosen, **self.options)


class TextSection(StrictModel):
    """A text encoder, and the space in which texts meet audio."""

    name: str = Field("words", description="words (trained from scratch), or a pretrained one: hub id or folder")
    projection: int = Field(512, ge=1, description="dimension of the audio-text space")
    options: dict[str, Any] = Field({}, description="of the encoder, such as {dim: 256} or {download: true}")

    def build(self) -> Encoder:
        """Build the encoder."""
        from mmcl.encoders import build_encoder

        return build_encoder("text", self.name, **self.options)


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


class CoconutSection(StrictModel):
    """The contrastive terms of COCONUT; see :class:`mmcl.strategies.coconut.Coconut`."""

    mm_weight: float = Field(0.1, ge=0, description="of the audio-text contrast")
    nspt_weight: float | None = Field(None, ge=0, description="of the distillation; none: past / all classes")
    temperature: float = Field(0.1, gt=0, description="of both contrasts")
    denominator: Literal["literal", "proper"] = Field("literal", description="of the distillation")
    mm_anchors: Literal["new", "all"] = Field("new", description="samples that are compared with all texts")


class DistillationSection(StrictModel):
    """Distillation of logits, in lwf and icarl."""

    weight: float = Field(1.0, ge=0, description="of the distillation in lwf and icarl")
    temperature: float = Field(2.0, gt=0, description="of the softened logits")
