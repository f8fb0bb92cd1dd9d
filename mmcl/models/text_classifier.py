"""TextClassifier: the encoder of a text-to-text model and a growing head."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import nn

from mmcl.arguments import takes_tensors
from mmcl.batch import Batch
from mmcl.models.classifier import Classified
from mmcl.models.heads.growing import GrowingHead
from mmcl.models.text_to_text import TextToText

if TYPE_CHECKING:
    from mmcl.rationales.discriminator import Discriminator


class TextClassifier(nn.Module):
    """Classify texts: encoder of a student -> mean over tokens -> growing head.

    The student's decoder is not used to classify. It can be trained to generate rationales, see
    :class:`~mmcl.strategies.rationale_distillation.RationaleDistillation`.

    Args:
        student: text-to-text model.
        discriminator: scores generated rationales, if it is trained as well. It is trained and saved with the model.

    Attributes:
        names: class names by label if the model was loaded, else empty.

    >>> student = TextToText.from_scratch(["set an alarm"] * 3, vocabulary=60, dim=16, layers=1, heads=2)
    >>> model = TextClassifier(student)
    >>> model.grow([0, 1])
    >>> model(Batch(text=["set an alarm", "an alarm"])).logits.shape
    torch.Size([2, 2])
    """

    names: tuple[str, ...] = ()

    def __init__(self, student: TextToText, discriminator: Discriminator | None = None) -> None:
        super().__init__()
        self.student, self.discriminator = student, discriminator
        self.head = GrowingHead(int(student.model.config.d_model))

    def grow(self, labels: Iterable[int]) -> None:
        """Add the columns of ``labels`` to the head."""
        self.head.grow(labels)

    @takes_tensors
    def forward(self, batch: Batch) -> Classified:
        """Return logits ``(batch, classes)`` and embeddings ``(batch, dim)``."""
        tokens = self.student.batch(batch["text"]).to(self.head.weight.device)
        states, mask = self.student.embed(tokens), tokens["source_mask"][:, :, None]
        embedding = states.masked_fill(~mask, 0.0).sum(1) / mask.sum(1).clamp(min=1)
        return Classified(self.head(embedding), embedding)
