"""Recipe: settings of rationale distillation."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmcl.config.numbers import Count, Positive, Share
from mmcl.errors import ConfigError
from mmcl.precision import Precision
from mmcl.rationales.terms import Weights


@dataclass(frozen=True)
class Recipe:
    """Settings of the training of a student.

    QCRD gives no learning rate and no sizes; the defaults are those of Distilling step-by-step, which it builds on.

    Args:
        epochs: number of epochs, each of ``epoch_batches`` batches.
        epoch_batches: batches of an epoch; None for all exercises.
        batch_size: exercises per batch.
        accumulate: batches per optimizer step.
        learning_rate: initial learning rate of AdamW; it falls linearly to 0.
        clip_norm: largest norm of the gradient; None for no clipping.
        precision: ``"bf16-mixed"`` runs the student in bfloat16 where that is safe; ``"auto"`` does so on devices that
            compute in bfloat16.
        weights: weights of the loss terms.
        delay: in ``qcrd``, bad rationales are sampled from the student of so many epochs ago, j in the paper.
        temperature: temperature of sampled rationales.
        refresh: share of the exercises that get a new sampled rationale each epoch.
        sample_length: largest number of tokens of a sampled rationale.
        train_discriminator_every: the discriminator is trained in every so many epochs.
    """

    epochs: Count = 10
    epoch_batches: Count | None = None
    batch_size: Count = 64
    accumulate: Count = 1
    learning_rate: Positive = 5e-5
    clip_norm: Positive | None = 1.0
    precision: Precision = "32"
    weights: Weights = field(default_factory=Weights)
    delay: Count = 5
    temperature: Positive = 1.5
    refresh: Share = 1.0
    sample_length: Count = 64
    train_discriminator_every: Count = 1

    def __post_init__(self) -> None:
        sizes = (self.epochs, self.batch_size, self.accumulate, self.delay, self.sample_length)
        if min(*sizes, self.train_discriminator_every) < 1 or not 0 <= self.refresh <= 1 or self.temperature <= 0:
            raise ConfigError(
                f"epochs={self.epochs}, batch_size={self.batch_size}, accumulate={self.accumulate}, "
                f"delay={self.delay}, sample_length={self.sample_length}, train_discriminator_every="
                f"{self.train_discriminator_every}, refresh={self.refresh}, temperature={self.temperature}: expected "
                "sizes of 1 or more, a share of 0 to 1 and a temperature above 0"
            )
