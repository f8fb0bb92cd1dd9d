"""NSPT: negative-student positive-teacher contrastive distillation (COCONUT)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmcl.errors import ConfigError, ShapeError
from mmcl.objectives.kernel.base import Pairs
from mmcl.objectives.kernel.info_nce import weighted_info_nce
from mmcl.objectives.kernel.inputs import check_features, checks_values
from mmcl.objectives.kernel.labels import flag_factors, flags_of, labels_of
from mmcl.objectives.kernel.pairs import SameLabel
from mmcl.objectives.kernel.products import in_float32
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature


class NSPTLoss(Objective):
    """Contrast rehearsal samples with positives from the teacher and negatives from the student.

    For each rehearsal sample k (an anchor), with s the student's and T the teacher's embedding, P(k) the rehearsal
    samples with k's label including k, and <., .> the cosine::

        loss_k = - 1/|P(k)| sum_{p in P(k)} <s_k, T_p> / temperature  +  log sum of the denominator

    The result is the mean over anchors, 0 without anchors. The denominator is one of

    * ``literal``: exp(<s_k, s_i> / temperature) over all samples i of the batch, including k. Without the positives it
      is not a softmax, and the loss can be negative.
    * ``proper``: the positives exp(<s_k, T_p> / temperature) and the student's samples with other labels.

    The teacher gets no gradient. COCONUT (Cappellazzo et al., arXiv 2310.02699), equation 5, as far as its published
    reviews confirm it. Differs from the paper: mean over anchors instead of the sum; ``proper`` is our addition.

    Args:
        temperature: greater than 0.
        denominator: ``"literal"`` or ``"proper"``.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ConfigError: unknown denominator.
        ShapeError, LabelError, InputError: incompatible shapes, invalid labels, or embeddings that are not finite.

    >>> student, labels = torch.eye(2), torch.tensor([0, 1])
    >>> loss = NSPTLoss(temperature=1.0, denominator="proper")(student, student, labels, torch.tensor([True, False]))
    >>> round(loss.item(), 4)  # log(e + 1) - 1
    0.3133
    """

    takes = ("student", "teacher", "labels", "is_rehearsal")

    def __init__(
        self,
        temperature: Temperature = 0.1,
        denominator: Literal["literal", "proper"] = "literal",
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        if denominator not in ("literal", "proper"):
            raise ConfigError(f"denominator is {denominator!r}, expected 'literal' or 'proper'")
        self.denominator = denominator

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor, is_rehearsal: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            student: ``(batch, dim)``.
            teacher: ``(batch, dim)``; only its rehearsal rows are used.
            labels: ``(batch,)``.
            is_rehearsal: which samples come from the memory, ``(batch,)``, booleans or 0 and 1.
        """
        check_features(student=student)
        if not isinstance(teacher, Tensor) or teacher.shape != student.shape:
            shape = tuple(teacher.shape) if isinstance(teacher, Tensor) else type(teacher).__name__
            raise ShapeError(f"teacher has shape {shape}, expected that of the student, {tuple(student.shape)}")
        labels = labels_of("labels", labels, len(student), student.device)
        given, is_rehearsal = is_rehearsal, flags_of("is_rehearsal", is_rehearsal, len(student), student.device)
        teacher = teacher.detach().masked_fill(~is_rehearsal[:, None], 0)
        check_features(student=student, teacher=teacher)
        (student, teacher), products = in_float32(student, teacher)
        if checks_values(is_rehearsal):
            anchors, teacher, of_anchors = student[is_rehearsal], teacher[is_rehearsal], labels[is_rehearsal]
            with products:
                return self._contrast(anchors, torch.cat([teacher, student]), of_anchors, of_anchors, labels)
        # A selection of rows would wait for the device. All rows are queries instead, and only anchors have weight.
        of_anchors = torch.where(is_rehearsal, labels, _NO_LABEL)
        factors = flag_factors("is_rehearsal", given, len(student), student.device)
        with products:
            return self._contrast(student, torch.cat([teacher, student]), labels, of_anchors, labels, factors)

    def _contrast(
        self,
        queries: Tensor,
        keys: Tensor,
        of_queries: Tensor,
        of_teacher: Tensor,
        of_student: Tensor,
        factors: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of queries, given the labels of queries, of the teacher's keys and of the student's keys."""
        no_teacher, no_student = (torch.full_like(labels, _NO_LABEL) for labels in (of_teacher, of_student))
        literal = self.denominator == "literal"
        # Keys are the teacher's rows, then the student's. Only the teacher's are positives.
        positives: Pairs = SameLabel(of_queries, torch.cat([of_teacher, no_student]))
        denominator = SameLabel(
            of_queries,
            torch.cat([no_teacher, no_student] if literal else [of_teacher, of_student]),
            differ=torch.cat([of_teacher.new_zeros(len(of_teacher)), of_student.new_ones(len(of_student))]).bool(),
        )
        positives = positives if factors is None else positives.scaled(factors)
        return weighted_info_nce(queries, keys, positives, denominator=denominator, **self.kernel)


_NO_LABEL = torch.iinfo(torch.long).min  # of keys that are no positives
