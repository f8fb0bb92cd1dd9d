"""Distillation losses on logits, features and relations between samples. The teacher gets no gradient.

On a GPU and under ``torch.compile``, invalid values make a loss NaN or infinite instead of raising an error; see
:class:`~mmcl.objectives.Objective`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, mse_loss, smooth_l1_loss

from mmcl.arguments import takes_tensors
from mmcl.errors import ShapeError
from mmcl.objectives.kernel.inputs import check_finite_tensors, checks_values, precise, refuse_overflow
from mmcl.objectives.kernel.unit import rescaling, unit
from mmcl.objectives.temperature import Temperature, temperature_of, weight_of


@takes_tensors
def logit_distillation(student: Tensor, teacher: Tensor, temperature: Temperature = 2.0) -> Tensor:
    """Return the KL divergence between the softened class probabilities of teacher and student.

    ``temperature^2 mean over samples of KL(softmax(teacher / temperature) || softmax(student / temperature))``. The
    square keeps the scale of the gradient independent of the temperature. Hinton et al. 2015, section 2.

    Args:
        student: logits, ``(batch, classes)``.
        teacher: logits of the same classes, ``(batch, classes)``.
        temperature: greater than 0.

    Raises:
        ShapeError: the shapes differ, or are not ``(batch, classes)``.
        InputError: logits that are not finite (leave out unseen classes), or an invalid temperature.

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


@takes_tensors
def feature_distillation(student: Tensor, teacher: Tensor, *, normalize: bool = False) -> Tensor:
    """Return the mean squared error between the features of student and teacher.

    ``mean over samples and dimensions of (s - t)^2``, as in FitNets (Romero et al. 2015, equation 3) up to a constant.
    With ``normalize`` both are scaled to unit length, and the loss is
    ``mean over samples of |s - t|^2 = 2 - 2 cos(s, t)``.

    Args:
        student: ``(batch, dim)``.
        teacher: ``(batch, dim)``.
        normalize: compare directions only.

    Raises:
        ShapeError: the shapes differ, or are not ``(batch, dim)``.
        InputError: features that are not finite, or with overflowing squares.

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


@takes_tensors
def relational_distillation(
    student: Tensor, teacher: Tensor, *, distance_weight: float = 1.0, angle_weight: float = 2.0
) -> Tensor:
    """Return the Huber loss between the pairwise distances and angles of student and teacher.

    ``distance_weight * distance + angle_weight * angle``, with Huber(x) = x^2 / 2 up to 1 and |x| - 1/2 beyond::

        distance = mean over i != j of            Huber(|s_i - s_j| / mu_s - |t_i - t_j| / mu_t)
        angle    = mean over distinct i, j, k of  Huber(cos of the angle at s_j between s_i and s_k  -  the same of t)

    with mu the mean distance over i != j. Student and teacher may have different dimensions. The angles need batch^3
    numbers. The distance term is 0 for fewer than two samples, and the angle term for fewer than three.

    RKD (Park et al. 2019, arXiv 1904.05068), RKD-D and RKD-A, with the paper's ratio of weights. Differs from the
    paper: means instead of sums.

    Args:
        student: ``(batch, dim)``.
        teacher: features of the same batch, ``(batch, dim)``.
        distance_weight: 0 or greater.
        angle_weight: 0 or greater.

    Raises:
        ShapeError: not two dimensions, or different batch sizes.
        InputError: features that are not finite, or a weight that is negative or not a number.

    >>> corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> round(relational_distillation(corners, 3 * corners).item(), 4)
    0.0
    >>> line = torch.tensor([[0.0], [1.0], [2.0]])
    >>> round(relational_distillation(line, corners, angle_weight=0.0).item(), 4)
    0.1075
    """
    check_finite_tensors(student=student, teacher=teacher)
    if student.dim() != 2 or teacher.dim() != 2 or len(student) != len(teacher):
        raise ShapeError(
            f"student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}: expected (batch, dim) with "
            "equal batch"
        )
    of_distances = weight_of("distance_weight", distance_weight)
    of_angles = weight_of("angle_weight", angle_weight)
    student, teacher = (_rescaled(features) for features in precise(student, teacher.detach()))
    loss, count = 0 * student.sum(), len(student)
    distinct = ~torch.eye(count, dtype=torch.bool, device=student.device)
    if _present(of_distances) and count > 1:
        one, other = (_distances(features, distinct) for features in (student, teacher))
        loss = loss + of_distances * _mean_huber(one, other, count * (count - 1))
    if _present(of_angles) and count > 2:
        triples = distinct[:, :, None] & distinct[:, None, :] & distinct[None, :, :]  # (j, i, k)
        one, other = (_selected(_angles(features), triples) for features in (student, teacher))
        loss = loss + of_angles * _mean_huber(one, other, count * (count - 1) * (count - 2))
    return loss


def _present(weight: float | Tensor) -> bool:
    return True if isinstance(weight, Tensor) and not checks_values(weight) else bool(weight)


def _selected(values: Tensor, counts: Tensor) -> Tensor:
    """Return the values that count; where a selection would wait for the device, all values, with 0 for the others."""
    return values[counts] if checks_values(counts) else values * counts


def _mean_huber(one: Tensor, other: Tensor, total: int) -> Tensor:
    """Return the mean Huber loss over the ``total`` selected values."""
    return smooth_l1_loss(one, other) * (one.numel() / total)


def _rescaled(features: Tensor) -> Tensor:
    """Rescale all features by one factor against overflow of squares; relative distances and angles do not change."""
    if not len(features):
        return features
    return features * rescaling((features - features[:1]).detach().norm())


def _alike(student: Tensor, teacher: Tensor, last: str) -> list[Tensor]:
    check_finite_tensors(student=student, teacher=teacher)
    if student.shape != teacher.shape or student.dim() != 2:
        raise ShapeError(
            f"student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}: expected equal shapes "
            f"(batch, {last})"
        )
    return precise(student, teacher.detach())


def _distances(features: Tensor, pairs: Tensor) -> Tensor:
    """Return the selected distances divided by their mean; those of duplicates have no gradient."""
    squares = _selected((features[:, None] - features[None, :]).square().sum(2), pairs)
    distances = torch.where(squares == 0, 1, squares).sqrt() * (squares != 0)
    mean = distances.mean() * (distances.numel() / (len(features) * (len(features) - 1)))
    return distances / torch.where(mean == 0, 1, mean)


def _angles(features: Tensor) -> Tensor:
    """Return the cosine of the angle at j between i and k, ``(j, i, k)``."""
    count, dim = features.shape
    directions = unit((features[None, :] - features[:, None]).reshape(-1, dim)).view(count, count, dim)
    return directions @ directions.transpose(1, 2)
