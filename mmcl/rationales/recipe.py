"""Recipe: settings of rationale distillation."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmcl.errors import ConfigError
from mmcl.precision import Precision
from mmcl.rationales.terms import Weights


@dataclass(frozen=True)
class Recipe:
    """How a student is trained.

    Rates and sizes of QCRD are not printed; these are those of Distilling step-by-step, which it builds on.

    Args:
        epochs: each of them ``epoch_batches`` batches.
        epoch_batches: None for a pass over all lessons.
        batch_size: lessons a step.
        accumulate: batches whose gradients make one step.
        learning_rate: of AdamW, which falls to 0 in a straight line.
        clip_norm: largest norm of the gradient; None to leave it as it is.
        precision: ``"bf16-mixed"`` runs the student in bfloat16 where that is safe.
        weights: of the terms.
        delay: of ``qcrd``, j: snapshots ago that the student was, which bad rationales are sampled from.
        temperature: of these samples.
        refresh: share of an epoch's lessons whose sample is drawn anew; others keep what was drawn before.
        sample_length: tokens of a sample at most.
        train_discriminator_every: epochs from one in which the discriminator learns to the next.
    """

    epochs: int = 10
    epoch_batches: int | None = None
    batch_size: int = 64
    accumulate: int = 1
    learning_rate: float = 5e-5
    clip_norm: float | None = 1.0
    precision: Precision = "32"
    weights: Weights = field(default_factory=Weights)
    delay: int = 5
    temperature: float = 1.5
    refresh: float = 1.0
    sample_length: int = 64
    train_discriminator_every: int = 1

    def __post_init__(self) -> None:
        sizes = (self.epochs, self.batch_size, self.accumulate, self.delay, self.sample_length)
        if min(*sizes, self.train_discriminator_every) < 1 or not 0 <= self.refresh <= 1 or self.temperature <= 0:
            raise ConfigError(
                f"epochs={self.epochs}, batch_size={self.batch_size}, accumulate={self.accumulate}, "
                f"delay={self.delay}, sample_length={self.sample_length}, train_discriminator_every="
                f"{self.train_discriminator_every}, refresh={self.refresh}, temperature={self.temperature}: expected "
                "sizes of 1 or more, a share of 0 to 1 and a temperature above 0"
            )
