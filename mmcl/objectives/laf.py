"""LAF's losses: make an extractor forget some samples, and keep what it makes of the others, without labels."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.errors import InputError, ShapeError
from mmcl.objectives.kernel.inputs import check_finite, precise, refuse_overflow
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.temperature import Temperature, check_weight, temperature_of


def saturating(errors: Tensor) -> Tensor:
    """Return ``phi(u) = exp(u / (u + 1))`` of errors of 0 or more: from 1 to e, and flat where the error is large.

    Raises:
        InputError: errors that are negative or not finite.

    >>> saturating(torch.tensor([0.0, 1.0])).tolist()
    [1.0, 1.6487212181091309]
    """
    _check_errors(errors=errors)
    return (errors / (errors + 1)).exp()


def squared_errors(reconstruction: Tensor, representation: Tensor) -> Tensor:
    """Return ``|reconstruction - representation|^2`` of each sample, ``(batch,)``, of ``(batch, dim)`` twice.

    Raises:
        ShapeError: shapes that do not fit.
        InputError: not finite, or so large that the squares are not.

    >>> squared_errors(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).tolist()
    [25.0]
    """
    _check_alike(reconstruction=reconstruction, representation=representation)
    reconstruction, representation = precise(reconstruction, representation)
    return refuse_overflow((reconstruction - representation).square().sum(1), "representations")


def vae_loss(
    reconstruction: Tensor, representation: Tensor, mean: Tensor, log_variance: Tensor, *, kl_weight: float = 0.025
) -> Tensor:
    """Return the loss of a variational autoencoder of representations.

    With e the representation, e' its reconstruction, and mu and sigma^2 those of the code::

        mean over samples of |e' - e|^2 - kl_weight / 2 sum over dims of (log(sigma^2 + 1e-8) + 1 - mu^2 - sigma^2)

    LAF, Shen et al., arXiv 2404.00506, phase (i); weight and 1e-8 as released.

    Args:
        reconstruction, representation: ``(batch, dim)``.
        mean, log_variance: of the code, ``(batch, latent)``.
        kl_weight: 0 or more.

    Raises:
        ShapeError: shapes that do not fit.
        InputError: what is not finite, codes whose variance overflows, or a weight that is no number or negative.

    >>> one = torch.ones(1, 2)
    >>> vae_loss(2 * one, one, one, 0 * one, kl_weight=1.0).item()  # 2 of the errors, 1 of the divergence
    3.0
    """
    _check_alike(mean=mean, log_variance=log_variance)
    if len(mean) != len(representation):
        raise ShapeError(f"there are {len(mean)} codes for {len(representation)} representations, expected as many")
    check_weight(kl_weight=kl_weight)
    errors = squared_errors(reconstruction, representation)
    mean, log_variance = precise(mean, log_variance)
    variance = log_variance.exp()
    divergence = -((variance + 1e-8).log() + 1 - mean.square() - variance).sum(1) / 2
    loss = (errors + kl_weight * divergence).sum() / max(len(errors), 1)
    return refuse_overflow(loss, "codes or representations")


def extractor_unlearning(remain_errors: Tensor, forget_errors: Tensor, *, phi: bool = True) -> Tensor:
    """Return LAF's loss that unlearns: few errors of an autoencoder of all data, many of one of what is forgotten.

    ``L_UE = sum over remaining samples of phi(|h(e) - e|^2) - sum over forgotten ones of phi(|h_f(e) - e|^2)`` with e
    the representation as the extractor gives it now, and h and h_f the two autoencoders, which stay as they are.

    LAF, Shen et al., arXiv 2404.00506, phase (ii). ``phi`` is :func:`saturating`, as released; without it errors count
    as they are, which the paper's text may mean.

    Args:
        remain_errors, forget_errors: of :func:`squared_errors`, ``(batch,)``.
        phi: whether errors are bounded.

    Raises:
        ShapeError, InputError: errors that are not ``(batch,)``, negative or not finite.

    >>> extractor_unlearning(torch.tensor([1.0]), torch.tensor([3.0]), phi=False).item()
    -2.0
    """
    _check_errors(remain_errors=remain_errors, forget_errors=forget_errors)
    kept, forgotten = (saturating(each) if phi else each for each in precise(remain_errors, forget_errors))
    return refuse_overflow(kept.sum() - forgotten.sum(), "errors")


def representation_alignment(
    remain: Tensor, remain_before: Tensor, forget: Tensor, forget_before: Tensor, temperature: Temperature = 20.0
) -> Tensor:
    """Return LAF's loss that holds the representations of what remains, and moves those of what is forgotten.

    With d = 1 - cos(now, before) of each sample::

        L_RA = sum over remaining i of log(exp(d_i) / sum over forgotten j of exp(d_j / temperature))

    LAF, Shen et al., arXiv 2404.00506, phase (iii), as released: the temperature stands below the line alone.

    Args:
        remain, remain_before: representations of remaining samples now and before, ``(batch, dim)``.
        forget, forget_before: those of forgotten ones, ``(forgotten, dim)``, one or more.
        temperature: greater than 0.

    Raises:
        ShapeError: shapes that do not fit, or no forgotten sample.
        InputError: representations that are not finite, or a temperature that cannot be.

    >>> kept, turned = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> representation_alignment(kept, kept, turned, kept, temperature=1.0).item()  # log(exp(0) / exp(1))
    -1.0
    """
    _check_alike(remain=remain, remain_before=remain_before)
    _check_alike(forget=forget, forget_before=forget_before)
    if not len(forget):
        raise ShapeError("forget has 0 samples, expected at least 1")
    moved, turned = _distances(remain, remain_before), _distances(forget, forget_before)
    return moved.sum() - len(moved) * torch.logsumexp(turned / temperature_of(temperature), 0)


def _distances(now: Tensor, before: Tensor) -> Tensor:
    now, before = precise(now, before.detach())
    return 1 - (unit(now) * unit(before)).sum(1)


def _check_errors(**errors: Tensor) -> None:
    check_finite(**errors)
    for name, given in errors.items():
        if not torch.compiler.is_compiling() and bool((given < 0).any()):
            row = int((given.detach() < 0).nonzero()[0, 0])
            raise InputError(f"{name}: row {row} is {given[row].min().item():g}, expected squared errors of 0 or more")


def _check_alike(**two: Tensor) -> None:
    (name, one), (other_name, other) = two.items()
    if one.dim() != 2 or one.shape != other.shape:
        raise ShapeError(
            f"{name} is {tuple(one.shape)} and {other_name} {tuple(other.shape)}, expected (batch, dim) twice"
        )
    check_finite(**two)
