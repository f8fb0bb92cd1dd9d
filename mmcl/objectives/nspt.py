"""NSPT: negatives from the student, positives from the teacher (COCONUT)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mmcl.errors import ConfigError, ShapeError
from mmcl.objectives.kernel import weighted_info_nce


@dataclass(frozen=True)
class NSPTLoss:
    """Hold rehearsal samples where the teacher had them, away from where the student has the rest of the batch.

    For each rehearsal sample k (an anchor), with s the student's and T the teacher's embedding, P(k) the rehearsal
    samples of k's label with k itself among them, and <., .> the cosine::

        loss_k = - 1/|P(k)| sum_{p in P(k)} <s_k, T_p> / temperature  +  log sum of the denominator

    and the result is the mean over anchors, 0 if there is none. The denominator is one of

    * ``literal``: exp(<s_k, s_i> / temperature) over every sample i of the batch, k itself included. As it holds no
      positive it is no softmax, and the loss can be negative.
    * ``proper``: the positives exp(<s_k, T_p> / temperature) and the student's samples of other labels.

    COCONUT (Cappellazzo et al., arXiv 2310.02699), equation 5, as far as its published reviews confirm it.
    Differs from the paper: the sum over anchors is a mean, and ``proper`` is ours. The teacher gets no gradient.

    Raises:
        ConfigError: the denominator is neither of the two.
        ShapeError: embeddings, labels and flags are not of one batch.

    >>> student, labels = torch.eye(2), torch.tensor([0, 1])
    >>> loss = NSPTLoss(temperature=1.0, denominator="proper")(student, student, labels, torch.tensor([True, False]))
    >>> round(loss.item(), 4)  # log(e + 1) - 1
    0.3133
    """

    temperature: float | Tensor = 0.1
    denominator: Literal["literal", "proper"] = "literal"

    def __post_init__(self) -> None:
        if self.denominator not in ("literal", "proper"):
            raise ConfigError(f"denominator is {self.denominator!r}, expected 'literal' or 'proper'")

    def __call__(self, student: Tensor, teacher: Tensor, labels: Tensor, is_rehearsal: Tensor) -> Tensor:
        """Return the loss of one batch.

        Args:
            student: ``(batch, dim)``.
            teacher: ``(batch, dim)``; only its rehearsal rows are used.
            labels: ``(batch,)``.
            is_rehearsal: which samples come from the memory, boolean ``(batch,)``.
        """
        if student.shape != teacher.shape or labels.shape != student.shape[:1] or is_rehearsal.shape != labels.shape:
            raise ShapeError(
                f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}, labels {tuple(labels.shape)} and "
                f"is_rehearsal {tuple(is_rehearsal.shape)} are not of one batch: "
                "expected (batch, dim) twice and (batch,) twice"
            )
        same = labels[is_rehearsal][:, None] == labels[None, :]  # (anchors, batch)
        positives = same & is_rehearsal[None, :]
        outside = torch.zeros_like(same)
        if self.denominator == "literal":
            compared = torch.cat([outside, torch.ones_like(same)], dim=1)
        else:
            compared = torch.cat([positives, ~same], dim=1)
        return weighted_info_nce(
            student[is_rehearsal],
            torch.cat([teacher.detach(), student]),
            torch.cat([positives, outside], dim=1),
            denominator=compared,
            temperature=self.temperature,
        )
