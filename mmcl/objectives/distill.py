"""Distillation: make a student answer as its teacher does."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from mmcl.errors import ShapeError


def logit_distillation(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """Return the divergence of the student's class probabilities from the teacher's, both softened.

    ``temperature^2 mean over samples of KL(softmax(teacher / temperature) || softmax(student / temperature))``; the
    square keeps the size of the gradient when the temperature changes. Hinton et al. 2015, section 2. The teacher gets
    no gradient.

    Args:
        student: logits ``(batch, classes)``.
        teacher: logits of the same classes, ``(batch, classes)``.
        temperature: greater than 0.

    Raises:
        ShapeError: the two are not of one shape.

    >>> import torch
    >>> logits = torch.tensor([[2.0, 0.0]])
    >>> round(logit_distillation(torch.zeros(1, 2), logits, temperature=1.0).item(), 4)
    0.3278
    >>> logit_distillation(logits, logits).item()
    0.0
    """
    if student.shape != teacher.shape or student.dim() != 2:
        raise ShapeError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ: expected (batch, classes) twice"
        )
    target = log_softmax(teacher.detach() / temperature, dim=1)
    divergence = kl_div(log_softmax(student / temperature, dim=1), target, reduction="batchmean", log_target=True)
    return divergence * temperature**2
