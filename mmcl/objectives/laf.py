"""Losses of LAF: label-free unlearning of a feature extractor.

On a GPU and under ``torch.compile``, invalid values make a loss NaN or infinite instead of raising an error; see
:class:`~mmcl.objectives.Objective`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.errors import InputError, ShapeError
from mmcl.objectives.kernel.inputs import check_finite_tensors, checks_values, poisoned, precise, refuse_overflow
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.temperature import Temperature, temperature_of, weight_of


@takes_tensors
def saturating(errors: Tensor) -> Tensor:
    """Return ``phi(u) = exp(u / (u + 1))`` of non-negative errors; it rises from 1 to e and saturates for large errors.

    Raises:
        InputError: errors that are negative or not finite.

    >>> saturating(torch.tensor([0.0, 1.0])).tolist()
    [1.0, 1.6487212181091309]
    """
    (errors,) = _checked_errors(errors=errors)
    return (errors / (errors + 1)).exp()


@takes_tensors
def squared_errors(reconstruction: Tensor, representation: Tensor) -> Tensor:
    """Return ``|reconstruction - representation|^2`` of each sample, ``(batch,)``.

    Args:
        reconstruction, representation: ``(batch, dim)``.

    Raises:
        ShapeError: the shapes differ, or are not ``(batch, dim)``.
        InputError: values that are not finite, or with overflowing squares.

    >>> squared_errors(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).tolist()
    [25.0]
    """
    _check_alike(reconstruction=reconstruction, representation=representation)
    reconstruction, representation = precise(reconstruction, representation)
    return refuse_overflow((reconstruction - representation).square().sum(1), "representations")


@takes_tensors
def vae_loss(
    reconstruction: Tensor, representation: Tensor, mean: Tensor, log_variance: Tensor, *, kl_weight: float = 0.025
) -> Tensor:
    """Return the loss of a variational autoencoder of representations.

    With e the representation, e' its reconstruction, and mu and sigma^2 mean and variance of the code::

        mean over samples of |e' - e|^2 - kl_weight / 2 sum over dims of (log(sigma^2 + 1e-8) + 1 - mu^2 - sigma^2)

    LAF, Shen et al., arXiv 2404.00506, phase (i), with the weight and the 1e-8 of the released code.

    Args:
        reconstruction, representation: ``(batch, dim)``.
        mean, log_variance: mean and log-variance of the code, ``(batch, latent)``.
        kl_weight: 0 or greater.

    Raises:
        ShapeError: incompatible shapes.
        InputError: values that are not finite, an overflowing variance, or an invalid weight.

    >>> one = torch.ones(1, 2)
    >>> vae_loss(2 * one, one, one, 0 * one, kl_weight=1.0).item()  # 2 from the errors, 1 from the divergence
    3.0
    """
    _check_alike(mean=mean, log_variance=log_variance)
    if len(mean) != len(representation):
        raise ShapeError(f"got {len(mean)} codes and {len(representation)} representations, expected equal numbers")
    weight = weight_of("kl_weight", kl_weight)
    errors = squared_errors(reconstruction, representation)
    mean, log_variance = precise(mean, log_variance)
    if not checks_values(log_variance):
        log_variance = poisoned(log_variance, log_variance.isfinite())  # of -inf, the variance would be valid
    variance = log_variance.exp()
    divergence = -((variance + 1e-8).log() + 1 - mean.square() - variance).sum(1) / 2
    loss = (errors + weight * divergence).sum() / max(len(errors), 1)
    return refuse_overflow(loss, "codes or representations")


@takes_tensors
def extractor_unlearning(remain_errors: Tensor, forget_errors: Tensor, *, phi: bool = True) -> Tensor:
    """Return LAF's unlearning loss of the extractor, from the errors of two autoencoders.

    ``L_UE = sum over remaining samples of phi(|h(e) - e|^2) - sum over forgotten ones of phi(|h_f(e) - e|^2)`` with e
    the current representation, h the autoencoder of all data, and h_f the autoencoder of the forgotten data. Both
    autoencoders are fixed.

    LAF, Shen et al., arXiv 2404.00506, phase (ii). ``phi`` is :func:`saturating`, as in the released code. The paper's
    text may mean errors without it.

    Args:
        remain_errors, forget_errors: results of :func:`squared_errors`, ``(batch,)``.
        phi: apply phi to the errors, which bounds them.

    Raises:
        ShapeError, InputError: errors that are not ``(batch,)``, negative or not finite.

    >>> extractor_unlearning(torch.tensor([1.0]), torch.tensor([3.0]), phi=False).item()
    -2.0
    """
    errors = _checked_errors(remain_errors=remain_errors, forget_errors=forget_errors)
    kept, forgotten = (saturating(each) if phi else each for each in precise(*errors))
    return refuse_overflow(kept.sum() - forgotten.sum(), "errors")


@takes_tensors
def representation_alignment(
    remain: Tensor, remain_before: Tensor, forget: Tensor, forget_before: Tensor, temperature: Temperature = 20.0
) -> Tensor:
    """Return LAF's alignment loss, which keeps remaining representations and changes forgotten ones.

    With d = 1 - cos(now, before) of each sample::

        L_RA = sum over remaining i of log(exp(d_i) / sum over forgotten j of exp(d_j / temperature))

    LAF, Shen et al., arXiv 2404.00506, phase (iii). As in the released code, only the denominator has the temperature.

    Args:
        remain, remain_before: present and former representations of remaining samples, ``(batch, dim)``.
        forget, forget_before: those of at least one forgotten sample, ``(forgotten, dim)``.
        temperature: greater than 0.

    Raises:
        ShapeError: incompatible shapes, or no forgotten sample.
        InputError: representations that are not finite, or an invalid temperature.

    >>> kept, turned = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> representation_alignment(kept, kept, turned, kept, temperature=1.0).item()  # log(exp(0) / exp(1))
    -1.0
    """
    _check_alike(remain=remain, remain_before=remain_before)
    _check_alike(forget=forget, forget_before=forget_before)
    if not len(forget):
        raise ShapeError("forget has 0 samples, expected at least 1")
    remaining, forgotten = _distances(remain, remain_before), _distances(forget, forget_before)
    return remaining.sum() - len(remaining) * torch.logsumexp(forgotten / temperature_of(temperature), 0)


def _distances(now: Tensor, before: Tensor) -> Tensor:
    now, before = precise(now, before.detach())
    return 1 - (unit(now) * unit(before)).sum(1)


def _checked_errors(**errors: Tensor) -> list[Tensor]:
    """Return errors that are finite and not negative; others are NaN where values are not checked at once."""
    check_finite_tensors(**errors)
    for name, given in errors.items():
        if checks_values(given) and bool((given < 0).any()):
            row = int((given.detach() < 0).nonzero()[0, 0])
            raise InputError(
                f"{name}: row {row} is {given[row].min().item():g}, expected squared errors of 0 or greater"
            )
    return [given if checks_values(given) else poisoned(given, given >= 0) for given in errors.values()]


def _check_alike(**two: Tensor) -> None:
    (name, one), (other_name, other) = two.items()
    if one.dim() != 2 or one.shape != other.shape:
        raise ShapeError(
            f"{name} has shape {tuple(one.shape)} and {other_name} {tuple(other.shape)}: expected equal (batch, dim)"
        )
    check_finite_tensors(**two)
