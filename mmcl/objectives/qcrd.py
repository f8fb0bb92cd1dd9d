"""QCRD's losses: rationales that are good are drawn near, those that are not are pushed off, each by its quality."""

from __future__ import annotations

from numbers import Real
from typing import Literal, get_args

import torch
from torch import Tensor

from mmcl.errors import ConfigError, InputError, ShapeError
from mmcl.objectives.kernel.inputs import check_finite, precise
from mmcl.objectives.temperature import check_weight

Scheme = Literal["min_max", "max_min", "mean", "weighted_mean", "sampling"]


def quality_contrast(
    positive_losses: Tensor,
    negative_losses: Tensor,
    positive_scores: Tensor,
    negative_scores: Tensor,
    positive_mask: Tensor | None = None,
    negative_mask: Tensor | None = None,
    *,
    beta: float = 0.2,
    margin: float = 3.0,
    scheme: Scheme = "min_max",
) -> Tensor:
    """Return QCRD's contrast of several good and bad rationales of each input, as a student writes them.

    With l the student's loss of a rationale, s its quality within [0, 1], and the sets of each input's rationales::

        positive = s+ min_j l+_j                                           equation 6
        negative = (1 - s-) min(max_j l-_j - margin, 0)                    equation 7, with its margin
        L_cl     = mean over inputs of (positive - beta negative)          equation 3

    s+ and s- are of the rationale that the minimum and the maximum name. An input without a good rationale, or without
    a bad one, adds nothing to that side.

    QCRD, Wang et al., arXiv 2405.13014. Readings, where the paper leaves it open: which rationale's quality counts;
    that no gradient goes through the quality. The paper prints the minimum for bad rationales in one place; its text,
    equation 7 and Table 5 say maximum.

    Args:
        positive_losses, negative_losses: mean loss over the tokens of each rationale, ``(batch, rationales)``.
        positive_scores, negative_scores: of the same shapes, within [0, 1].
        positive_mask, negative_mask: which of them are there, boolean and of the same shapes; None for all.
        beta: weight of bad rationales, 0 or more.
        margin: loss from which on a bad rationale is far enough.
        scheme: how many become one: ``"min_max"``, or as compared in Table 5 ``"max_min"``, ``"mean"``,
            ``"weighted_mean"`` (by s+ and by 1 - s-, a reading) and ``"sampling"`` (one at random).

    Raises:
        ShapeError: shapes that do not fit.
        InputError: losses or scores that are not finite, scores outside [0, 1], a beta or margin that cannot be.
        ConfigError: an unknown scheme.

    >>> good, bad = torch.tensor([[1.2, 0.8]]), torch.tensor([[2.5, 1.0]])
    >>> value = quality_contrast(good, bad, torch.tensor([[0.5, 0.9]]), torch.tensor([[0.1, 0.4]]))
    >>> round(value.item(), 4)  # 0.9 * 0.8 - 0.2 * (1 - 0.1) * (2.5 - 3)
    0.81
    """
    if scheme not in get_args(Scheme):
        raise ConfigError(f"scheme is '{scheme}', expected one of {', '.join(get_args(Scheme))}")
    check_weight(beta=beta)
    if isinstance(margin, bool) or not isinstance(margin, Real) or not abs(margin) < torch.inf:
        raise InputError(f"margin is {margin!r}, expected a finite number")
    good, bad = precise(positive_losses, negative_losses)
    good_mask = _checked(good, positive_scores, positive_mask, "positive")
    bad_mask = _checked(bad, negative_scores, negative_mask, "negative")
    if len(good) != len(bad):
        raise ShapeError(
            f"there are good rationales of {len(good)} inputs and bad ones of {len(bad)}, expected as many"
        )
    # What is not there may hold anything, NaN too, and takes part in no product.
    good, bad = good.masked_fill(~good_mask, 0), bad.masked_fill(~bad_mask, 0)
    weights = (
        positive_scores.detach().to(good.dtype).masked_fill(~good_mask, 0),
        1 - negative_scores.detach().to(bad.dtype).masked_fill(~bad_mask, 0),
    )
    outer = {"min_max": ("min", "max"), "max_min": ("max", "min")}.get(scheme, (scheme, scheme))
    positive, s = _one_of_many(good, weights[0], good_mask, outer[0])
    negative, t = _one_of_many(bad, weights[1], bad_mask, outer[1])
    off = torch.where(bad_mask.any(1), t * (negative - margin).clamp(max=0), 0)
    return (torch.where(good_mask.any(1), s * positive, 0) - beta * off).sum() / max(len(good), 1)


def discriminator_loss(
    positive_scores: Tensor,
    negative_scores: Tensor,
    positive_mask: Tensor | None = None,
    negative_mask: Tensor | None = None,
) -> Tensor:
    """Return the loss of QCRD's discriminator, which is to score good rationales above bad ones.

    ``L_D = mean over inputs of -log(sum_j exp(s+_j) / sum_j exp(s-_j))``, equation 2 of QCRD (Wang et al., arXiv
    2405.13014); below the line are bad rationales alone. An input that lacks one of the two kinds does not count; 0
    where none counts.

    Args:
        positive_scores, negative_scores: ``(batch, rationales)``.
        positive_mask, negative_mask: which of them are there; None for all.

    Raises:
        ShapeError: shapes that do not fit.
        InputError: scores that are not finite, or outside [0, 1].

    >>> round(discriminator_loss(torch.tensor([[0.9, 0.7]]), torch.tensor([[0.1]])).item(), 4)
    -1.3981
    """
    good, bad = precise(positive_scores, negative_scores)
    good_mask = _checked(good, positive_scores, positive_mask, "positive")
    bad_mask = _checked(bad, negative_scores, negative_mask, "negative")
    if len(good) != len(bad):
        raise ShapeError(
            f"there are good rationales of {len(good)} inputs and bad ones of {len(bad)}, expected as many"
        )
    both = good_mask.any(1) & bad_mask.any(1)
    # Of the inputs that count alone: a sum over nothing would be minus infinity, whose gradient is no number.
    above = good[both].masked_fill(~good_mask[both], -torch.inf).logsumexp(1)
    below = bad[both].masked_fill(~bad_mask[both], -torch.inf).logsumexp(1)
    return (below - above).sum() / both.sum().clamp(min=1)


def mutual_information_loss(
    explain_logits: Tensor,
    predict_logits: Tensor,
    explain_mask: Tensor | None = None,
    predict_mask: Tensor | None = None,
) -> Tensor:
    """Return MI's loss, which draws the words of the rationale to those of the label.

    ``-sum_v p_v log q_v`` where q and p are the largest probability of each token over the steps of the rationale and
    of the label, made to sum to 1 (a reading); p is a constant. Mean over inputs.

    The mutual-information objective of Chen et al. (arXiv 2403.03348) as QCRD compares with it, whose weight is 0.1.

    Args:
        explain_logits, predict_logits: ``(batch, steps, tokens)``; steps may differ.
        explain_mask, predict_mask: which steps are there, boolean ``(batch, steps)``; None for all.

    Raises:
        ShapeError: shapes that do not fit, no step or no token.
        InputError: logits that are not finite where a step is there.

    >>> logits = torch.zeros(1, 2, 4)
    >>> round(mutual_information_loss(logits, logits).item(), 4)  # log 4
    1.3863
    """
    explain, predict = precise(explain_logits, predict_logits)
    if explain.dim() != 3 or predict.dim() != 3 or (len(explain), explain.shape[2]) != (len(predict), predict.shape[2]):
        raise ShapeError(
            f"explain_logits is {tuple(explain.shape)} and predict_logits {tuple(predict.shape)}, expected "
            "(batch, steps, tokens) of one batch and one vocabulary"
        )
    answer = _largest("predict_logits", predict.detach(), predict_mask)
    words = _largest("explain_logits", explain, explain_mask)
    return -(answer.exp() * words).sum() / max(len(words), 1)


def _largest(name: str, logits: Tensor, mask: Tensor | None) -> Tensor:
    """Logarithm of the largest probability of each token over the steps, made to sum to 1, ``(batch, tokens)``."""
    if not logits.shape[1] or not logits.shape[2]:
        raise ShapeError(f"{name} is {tuple(logits.shape)}, expected (batch, steps, tokens), one or more of the latter")
    if mask is not None:
        if mask.shape != logits.shape[:2]:
            raise ShapeError(f"the mask of {name} is {tuple(mask.shape)}, expected {tuple(logits.shape[:2])}")
        mask = mask.bool()
        logits = logits.masked_fill(~mask[:, :, None], 0)
    check_finite(**{name: logits})
    logs = logits.log_softmax(2)
    if mask is not None:
        logs = logs.masked_fill(~mask[:, :, None], torch.finfo(logs.dtype).min)
    return logs.amax(1).log_softmax(1)


def _checked(losses: Tensor, scores: Tensor, mask: Tensor | None, name: str) -> Tensor:
    """The mask, after a look at what belongs to it."""
    mask = torch.ones_like(losses, dtype=torch.bool) if mask is None else mask
    if losses.dim() != 2 or losses.shape != scores.shape or losses.shape != mask.shape:
        raise ShapeError(
            f"{name} losses {tuple(losses.shape)}, scores {tuple(scores.shape)} and mask {tuple(mask.shape)}: expected "
            "(batch, rationales) for each"
        )
    mask = mask.bool()
    held = scores.detach().to(losses.dtype).masked_fill(~mask, 0)
    check_finite(**{f"{name} losses": losses.masked_fill(~mask, 0), f"{name} scores": held})
    there = scores.detach()[mask]
    if there.numel() and not bool(((there >= 0) & (there <= 1)).all()):
        raise InputError(
            f"{name} scores reach from {there.min().item()} to {there.max().item()}, expected within [0, 1]"
        )
    return mask


def _one_of_many(losses: Tensor, weights: Tensor, mask: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """The loss and the weight that stand for all rationales of an input, ``(batch,)`` each; anything where none is."""
    if not losses.shape[1]:
        return losses.sum(1), weights.sum(1)
    if how in ("mean", "weighted_mean"):
        share = mask.to(losses.dtype) * (weights if how == "weighted_mean" else 1)
        share = share / share.sum(1, keepdim=True).clamp(min=torch.finfo(losses.dtype).tiny)
        held = losses.masked_fill(~mask, 0)
        return (share * held).sum(1), (share * weights).sum(1)
    if how == "sampling":
        rank = torch.rand(losses.shape, device=losses.device)
    else:
        rank = losses.detach() if how == "max" else -losses.detach()
    chosen = rank.masked_fill(~mask, -torch.inf).argmax(1, keepdim=True)
    return losses.gather(1, chosen).squeeze(1), weights.gather(1, chosen).squeeze(1)
