"""RationaleDistillation: a plugin that trains a class-incremental text classifier on rationales as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from avalanche.core import SupervisedPlugin

from mmcl.config.numbers import Count, Size
from mmcl.errors import ConfigError, StreamError
from mmcl.models.text_classifier import TextClassifier
from mmcl.rationales.discriminator import pretrain_discriminator
from mmcl.rationales.lessons import EXPLAIN, Lesson
from mmcl.rationales.terms import Weights, contrast_losses, forward_rationales
from mmcl.rationales.voting import Voted
from mmcl.strategies.teacher import teacher_of

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class RationaleDistillation(SupervisedPlugin):
    """Train the student of a :class:`~mmcl.models.text_classifier.TextClassifier` on rationales and class labels.

    * ``dss``: ``loss = cross-entropy + (1 - alpha) / alpha CE(rationale)`` (Hsieh et al., arXiv 2305.02301);
    * ``qcrd``: ``loss = cross-entropy + (alpha2 L_cl + alpha3 decay^epoch L_D) / alpha1`` (Wang et al., arXiv
      2405.13014, equation 8).

    These are the papers' losses, divided by the weight of the label's cross-entropy, which here is computed by the
    classifier's head. The rationales of rehearsed samples are trained too.

    Differs from the paper: bad rationales are sampled once per sample from the model from before the experience, so
    the first experience has no sampled ones. The discriminator is pre-trained on the first experience and trained
    further in every experience.

    Args:
        lessons: question and rationales of each row of the data, see :func:`~mmcl.rationales.lessons.lessons_of`.
        method: ``"dss"`` or ``"qcrd"``.
        weights: weights of the loss terms.
        temperature: temperature of sampled bad rationales.
        sample_length: largest number of tokens of a sampled bad rationale.
        pretraining: pre-training steps of the discriminator of qcrd, before the first experience.
        discriminator_rate: learning rate of the pre-training.
        seed: seed of the pre-training.

    Raises:
        ConfigError: the method is unknown; alpha or alpha1 is 0, which the loss is divided by; or, when training
            begins, the model is not a TextClassifier for the method.
        StreamError: in training, the number of lessons is not the number of samples.
    """

    def __init__(
        self,
        lessons: Sequence[Lesson],
        method: Literal["dss", "qcrd"] = "dss",
        *,
        weights: Weights | None = None,
        temperature: float = 1.5,
        sample_length: Count = 32,
        pretraining: Size = 200,
        discriminator_rate: float = 5e-4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if method not in ("dss", "qcrd"):
            raise ConfigError(f"method is '{method}', expected dss or qcrd")
        self.lessons, self.method, self.weights = lessons, method, weights or Weights()
        if min(self.weights.alpha, self.weights.predict) <= 0:
            raise ConfigError("alpha or alpha1 is 0, but the loss is divided by it: expected more than 0")
        self.temperature, self.sample_length = temperature, sample_length
        self.pretraining, self.discriminator_rate, self.seed = pretraining, discriminator_rate, seed
        self.needs_teacher = method == "qcrd"
        self.sampled: dict[int, str] = {}
        self._sampled_in = -1  # number of the last experience that was prepared

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the model is a TextClassifier, with a discriminator for qcrd."""
        model = strategy.model
        if not isinstance(model, TextClassifier) or (self.method == "qcrd") != (model.discriminator is not None):
            expected = "with a discriminator" if self.method == "qcrd" else "without a discriminator"
            raise ConfigError(f"{self.method} got a {type(model).__name__}, expected a TextClassifier {expected}")

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Sample bad rationales for the training rows, or pre-train the discriminator if there is no teacher."""
        source, number = strategy.experience.source, strategy.experience.current_experience
        if len(source) != len(self.lessons):
            raise StreamError(
                f"there are {len(self.lessons)} lessons for {len(source)} samples, expected one for each sample"
            )
        if self.method == "dss" or self._sampled_in == number:
            return
        rows = strategy.dataloader.rows.tolist()
        teacher = cast("TextClassifier | None", teacher_of(strategy))
        if teacher is None:
            self._pretrain(strategy, rows)
        else:
            texts = teacher.student.write(
                [EXPLAIN + self.lessons[row].question for row in rows],
                temperature=self.temperature,
                longest=self.sample_length,
                batch_size=256,
                device=strategy.device,
            )
            self.sampled = {
                row: "" if text in self.lessons[row].positives else text for row, text in zip(rows, texts, strict=True)
            }
        self._sampled_in = number

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add the rationale terms to the loss."""
        rows = strategy.mbatch["rows"].tolist()
        lessons, student, weights = [self.lessons[row] for row in rows], strategy.model.student, self.weights
        if self.method == "dss":
            explained, _ = forward_rationales(student, lessons)
            if explained is not None:
                strategy.add_loss("explain", explained.losses.mean(), (1 - weights.alpha) / weights.alpha)
            return
        sampled = [self.sampled.get(row, "") for row in rows]
        contrast, discriminated = contrast_losses(student, strategy.model.discriminator, lessons, sampled, weights)
        epoch = strategy.experience.current_experience * strategy.train_epochs + strategy.epoch
        strategy.add_loss("contrast", contrast, weights.contrast / weights.predict)
        decayed = weights.discriminate * weights.decay**epoch
        strategy.add_loss("discriminate", discriminated, decayed / weights.predict)

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return the sampled rationales, and the number of their experience."""
        return {"rows": list(self.sampled), "texts": list(self.sampled.values()), "experience": self._sampled_in}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore the sampled rationales."""
        self.sampled = dict(zip(state["rows"], state["texts"], strict=True))
        self._sampled_in = state["experience"]

    def _pretrain(self, strategy: MMCLTemplate, rows: list[int]) -> None:
        lessons = [self.lessons[row] for row in rows]
        voted = [Voted(each.positives, each.negatives, None) for each in lessons]
        pretrain_discriminator(
            strategy.model.discriminator,
            [each.question for each in lessons],
            voted,
            steps=self.pretraining,
            learning_rate=self.discriminator_rate,
            seed=self.seed,
        )
