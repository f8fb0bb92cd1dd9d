"""Distillation: make a student answer, represent, or relate as its teacher does. The teacher gets no gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, mse_loss, smooth_l1_loss

from mmcl.errors import ShapeError
from mmcl.objectives.kernel.inputs import check_finite, precise, refuse_overflow
from mmcl.objectives.kernel.unit import rescaling, unit
from mmcl.objectives.temperature import Temperature, check_weight, temperature_of


def logit_distillation(student: Tensor, teacher: Tensor, temperature: Temperature = 2.0) -> Tensor:
    """Return the divergence of the student's class probabilities from the teacher's, both softened.

    ``temperature^2 mean over samples of KL(softmax(teacher / temperature) || softmax(student / temperature))``; the
    square keeps the size of the gradient when the temperature changes. Hinton et al. 2015, section 2.

    Args:
        student: logits ``(batch, classes)``.
        teacher: logits of the same classes, ``(batch, classes)``.
        temperature: greater than 0.

    Raises:
        ShapeError: the two are not of one shape ``(batch, classes)``.
        InputError: logits that are not finite (leave out classes that have not arrived), a temperature that cannot be.

    >>> logits = torch.tensor([[2.0, 0.0]])
    >>> round(logit_distillation(torch.zeros(1, 2), logits, temperature=1.0).item(), 4)
    0.3278
    >>> logit_distillation(logits, logits).item()
    0.0
    """
    student, teacher = _alike(student, teacher, "classes")
    value = temperature_of(temperature)
    target = log_softmax(teacher / value, dim=1)
    divergence = kl_div(log_softmax(student / value, dim=1), target, reduction="sum", log_target=True)
    return refuse_overflow(divergence / max(len(student), 1) * value**2, "logits")


def feature_distillation(student: Tensor, teacher: Tensor, *, normalize: bool = False) -> Tensor:
    """Return how far the student's features are from the teacher's.

    ``mean over samples and dimensions of (s - t)^2``, as FitNets (Romero et al. 2015, equation 3) up to a constant;
    with ``normalize`` both have unit length first, and it is ``mean over samples of |s - t|^2 = 2 - 2 cos(s, t)``.

    Args:
        student: ``(batch, dim)``.
        teacher: ``(batch, dim)``.
        normalize: compare directions only.

    Raises:
        ShapeError: the two are not of one shape ``(batch, dim)``.
        InputError: features that are not finite, or so large that their squares are not.

    >>> feature_distillation(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).item()
    12.5
    >>> feature_distillation(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 5.0]]), normalize=True).item()
    2.0
    """
    student, teacher = _alike(student, teacher, "dim")
    if not student.numel():
        return student.sum()
    if normalize:
        return mse_loss(unit(student), unit(teacher)) * student.shape[1]
    return refuse_overflow(mse_loss(student, teacher), "features")


def relational_distillation(
    student: Tensor, teacher: Tensor, *, distance_weight: float = 1.0, angle_weight: float = 2.0
) -> Tensor:
    """Return how far distances and angles between the student's samples are from those between the teacher's.

    ``distance_weight * distance + angle_weight * angle``, with Huber(x) = x^2 / 2 up to 1 and |x| - 1/2 beyond::

        distance = mean over i != j of        Huber(|s_i - s_j| / mu_s - |t_i - t_j| / mu_t)
        angle    = mean over i, j, k apart of Huber(cos of the angle at s_j between s_i and s_k  -  the same of t)

    with mu the mean distance over i != j, so that student and teacher may have different dims. Angles hold batch^3
    numbers. Fewer than two samples have no distance, and fewer than three no angle: those count 0.

    RKD (Park et al. 2019, arXiv 1904.05068), RKD-D and RKD-A; the ratio of the weights is theirs. Differs from the
    paper: means in place of sums.

    Args:
        student: ``(batch, dim)``.
        teacher: ``(batch, dim)``, of the same batch.
        distance_weight: 0 or more.
        angle_weight: 0 or more.

    Raises:
        ShapeError: the two are not features of one batch.
        InputError: features that are not finite, a weight that is no number or negative.

    >>> corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> round(relational_distillation(corners, 3 * corners).item(), 4)
    0.0
    >>> line = torch.tensor([[0.0], [1.0], [2.0]])
    >>> round(relational_distillation(line, corners, angle_weight=0.0).item(), 4)
    0.1075
    """
    check_finite(student=student, teacher=teacher)
    if student.dim() != 2 or teacher.dim() != 2 or len(student) != len(teacher):
        raise ShapeError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} are not of one batch: "
            "expected (batch, dim) twice"
        )
    check_weight(distance_weight=distance_weight, angle_weight=angle_weight)
    student, teacher = (_moderate(features) for features in precise(student, teacher.detach()))
    loss = 0 * student.sum()
    apart = ~torch.eye(len(student), dtype=torch.bool, device=student.device)
    if distance_weight and len(student) > 1:
        loss = loss + distance_weight * smooth_l1_loss(_distances(student, apart), _distances(teacher, apart))
    if angle_weight and len(student) > 2:
        triples = apart[:, :, None] & apart[:, None, :] & apart[None, :, :]  # (j, i, k)
        loss = loss + angle_weight * smooth_l1_loss(_angles(student)[triples], _angles(teacher)[triples])
    return loss


def _moderate(features: Tensor) -> Tensor:
    """Scale all features alike, which changes neither relative distances nor angles, so that squares stay in range."""
    if not len(features):
        return features
    apart = (features - features[:1]).detach()
    return features * rescaling(apart.norm())


def _alike(student: Tensor, teacher: Tensor, last: str) -> list[Tensor]:
    check_finite(student=student, teacher=teacher)
    if student.shape != teacher.shape or student.dim() != 2:
        raise ShapeError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ: expected (batch, {last}) twice"
        )
    return precise(student, teacher.detach())


def _distances(features: Tensor, apart: Tensor) -> Tensor:
    """Distances of all pairs relative to their mean, ``(pairs,)``; those of duplicates have no gradient."""
    squares = (features[:, None] - features[None, :]).square().sum(2)[apart]
    distances = torch.where(squares > 0, squares, 1).sqrt() * (squares > 0)
    mean = distances.mean()
    return distances / torch.where(mean > 0, mean, 1)


def _angles(features: Tensor) -> Tensor:
    """Cosine of the angle at j between i and k, ``(j, i, k)``."""
    count, dim = features.shape
    directions = unit((features[None, :] - features[:, None]).reshape(-1, dim)).view(count, count, dim)
    return directions @ directions.transpose(1, 2)
