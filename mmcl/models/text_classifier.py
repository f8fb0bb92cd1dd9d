"""TextClassifier: the encoder of a model that writes, and a head that grows with the classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import nn

from mmcl.batch import Batch
from mmcl.models.classifier import Classified, GrowingHead
from mmcl.models.text_to_text import TextToText

if TYPE_CHECKING:
    from mmcl.rationales.discriminator import Discriminator


class TextClassifier(nn.Module):
    """Classify texts by what a student's encoder makes of them: the mean over its tokens, then a growing head.

    The student's decoder takes no part in that, and can be taught to explain
    (:class:`~mmcl.strategies.rationale_distillation.RationaleDistillation`).

    Args:
        student: reads, and may write.
        discriminator: judges what it writes, where that is learnt too; trained and saved with the model.

    >>> student = TextToText.from_scratch(["set an alarm"] * 3, vocabulary=60, dim=16, layers=1, heads=2)
    >>> model = TextClassifier(student)
    >>> model.grow([0, 1])
    >>> model(Batch(text=["set an alarm", "an alarm"])).logits.shape
    torch.Size([2, 2])
    """

    def __init__(self, student: TextToText, discriminator: Discriminator | None = None) -> None:
        super().__init__()
        self.student, self.discriminator = student, discriminator
        self.head = GrowingHead(int(student.model.config.d_model))

    def grow(self, labels: Iterable[int]) -> None:
        """Open the head for classes."""
        self.head.grow(labels)

    def forward(self, batch: Batch) -> Classified:
        tokens = self.student.batch(batch["text"]).to(self.head.weight.device)
        states, mask = self.student.embed(tokens), tokens["source_mask"][:, :, None]
        embedding = states.masked_fill(~mask, 0.0).sum(1) / mask.sum(1).clamp(min=1)
        return Classified(self.head(embedding), embedding)
