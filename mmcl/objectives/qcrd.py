"""Losses of QCRD: contrastive distillation of rationales, weighted by their quality.

On a GPU and under ``torch.compile``, invalid values make a loss NaN or infinite instead of raising an error; see
:class:`~mmcl.objectives.Objective`.
"""

from __future__ import annotations

from numbers import Real
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.errors import ConfigError, InputError, ShapeError
from mmcl.objectives.kernel.inputs import check_finite_tensors, checks_values, poisoned, precise
from mmcl.objectives.temperature import weight_of

Scheme = Literal["min_max", "max_min", "mean", "weighted_mean", "sampling"]


@takes_tensors
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
    """Return QCRD's contrastive loss over several positive and negative rationales per input.

    With l the student's loss of a rationale, s its quality in [0, 1], and one set of rationales per input::

        positive = s+ min_j l+_j                                           equation 6
        negative = (1 - s-) min(max_j l-_j - margin, 0)                    equation 7, with its margin
        L_cl     = mean over inputs of (positive - beta negative)          equation 3

    s+ and s- belong to the rationales that attain the minimum and the maximum. An input without positive rationales has
    no positive term, and one without negative rationales no negative term.

    QCRD, Wang et al., arXiv 2405.13014. The paper leaves open which rationale's quality counts, and whether the quality
    gets gradients; here it gets none. The paper prints a minimum over negatives in one place; its text, equation 7 and
    Table 5 say maximum.

    Args:
        positive_losses, negative_losses: mean token loss of each rationale, ``(batch, rationales)``.
        positive_scores, negative_scores: quality of each rationale, in [0, 1], of the same shapes.
        positive_mask, negative_mask: which rationales exist, boolean, of the same shapes; None for all.
        beta: weight of the negative term, 0 or greater.
        margin: loss above which a negative rationale does not count.
        scheme: selection per input: ``"min_max"``, or from Table 5 ``"max_min"``, ``"mean"``, ``"weighted_mean"`` (by
            s+ and 1 - s-, our reading) and ``"sampling"`` (one at random).

    Raises:
        ShapeError: incompatible shapes.
        InputError: losses or scores that are not finite, scores outside [0, 1], or an invalid beta or margin.
        ConfigError: unknown scheme.

    >>> good, bad = torch.tensor([[1.2, 0.8]]), torch.tensor([[2.5, 1.0]])
    >>> value = quality_contrast(good, bad, torch.tensor([[0.5, 0.9]]), torch.tensor([[0.1, 0.4]]))
    >>> round(value.item(), 4)  # 0.9 * 0.8 - 0.2 * (1 - 0.1) * (2.5 - 3)
    0.81
    """
    if scheme not in get_args(Scheme):
        raise ConfigError(f"scheme is '{scheme}', expected one of {', '.join(get_args(Scheme))}")
    weight = weight_of("beta", beta)
    if isinstance(margin, bool) or not isinstance(margin, Real) or not abs(margin) < torch.inf:
        raise InputError(f"margin is {margin!r}, expected a finite number")
    positives, negatives = _rationales(
        (positive_losses, positive_scores, positive_mask), (negative_losses, negative_scores, negative_mask)
    )
    best, worst = {"min_max": ("min", "max"), "max_min": ("max", "min")}.get(scheme, (scheme, scheme))
    positive_loss, quality = _selected(positives, positives.scores, best)
    negative_loss, badness = _selected(negatives, 1 - negatives.scores, worst)
    positive = torch.where(positives.mask.any(1), quality * positive_loss, 0)
    negative = torch.where(negatives.mask.any(1), badness * (negative_loss - margin).clamp(max=0), 0)
    return (positive - weight * negative).sum() / max(len(positive), 1)


@takes_tensors
def discriminator_loss(
    positive_scores: Tensor,
    negative_scores: Tensor,
    positive_mask: Tensor | None = None,
    negative_mask: Tensor | None = None,
) -> Tensor:
    """Return the loss of QCRD's discriminator, which learns to score positive rationales above negative ones.

    ``L_D = mean over inputs of -log(sum_j exp(s+_j) / sum_j exp(s-_j))``, equation 2 of QCRD (Wang et al., arXiv
    2405.13014). The denominator has only negative rationales. Inputs without positive or without negative rationales do
    not count; without any counting input the loss is 0.

    Args:
        positive_scores, negative_scores: ``(batch, rationales)``.
        positive_mask, negative_mask: which rationales exist; None for all.

    Raises:
        ShapeError: incompatible shapes.
        InputError: scores that are not finite or outside [0, 1].

    >>> round(discriminator_loss(torch.tensor([[0.9, 0.7]]), torch.tensor([[0.1]])).item(), 4)
    -1.3981
    """
    positives, negatives = _rationales(
        (positive_scores, positive_scores, positive_mask), (negative_scores, negative_scores, negative_mask)
    )
    both = positives.mask.any(1) & negatives.mask.any(1)
    # Only over inputs that count: the logsumexp of an empty set is minus infinity, with a gradient of NaN.
    above, below = (_log_sums(side, both) for side in (positives, negatives))
    return (below - above).sum() / both.sum().clamp(min=1)


def _log_sums(side: _Rationales, counts: Tensor) -> Tensor:
    """Return the logsumexp of each counting input; where a selection would wait for the device, also 0 for others."""
    if checks_values(counts):
        return side.losses[counts].masked_fill(~side.mask[counts], -torch.inf).logsumexp(1)
    if not side.losses.shape[1]:
        return side.losses.sum(1)
    scores = side.losses.masked_fill(~side.mask & counts[:, None], -torch.inf)
    return scores.logsumexp(1) * counts  # NaN stays


@takes_tensors
def mutual_information_loss(
    explain_logits: Tensor,
    predict_logits: Tensor,
    explain_mask: Tensor | None = None,
    predict_mask: Tensor | None = None,
) -> Tensor:
    """Return the mutual-information loss, which aligns the words of the rationale with those of the label.

    ``-sum_v p_v log q_v``, mean over inputs. q and p are the largest probability of each token over the steps of the
    rationale and of the label, normalized to sum 1 (our reading). p is a constant.

    The mutual-information objective of Chen et al. (arXiv 2403.03348), a baseline of QCRD with weight 0.1.

    Args:
        explain_logits, predict_logits: ``(batch, steps, tokens)``; the numbers of steps may differ.
        explain_mask, predict_mask: which steps exist, boolean ``(batch, steps)``; None for all.

    Raises:
        ShapeError: incompatible shapes, no step or no token.
        InputError: logits of existing steps that are not finite.

    >>> logits = torch.zeros(1, 2, 4)
    >>> round(mutual_information_loss(logits, logits).item(), 4)  # log 4
    1.3863
    """
    explain, predict = precise(explain_logits, predict_logits)
    if explain.dim() != 3 or predict.dim() != 3 or (len(explain), explain.shape[2]) != (len(predict), predict.shape[2]):
        raise ShapeError(
            f"explain_logits has shape {tuple(explain.shape)} and predict_logits {tuple(predict.shape)}: expected "
            "(batch, steps, tokens) with equal batch and tokens"
        )
    label = _largest("predict_logits", predict.detach(), predict_mask)
    rationale = _largest("explain_logits", explain, explain_mask)
    return -(label.exp() * rationale).sum() / max(len(rationale), 1)


def _largest(name: str, logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return the log of each token's largest probability over steps, normalized to sum 1, ``(batch, tokens)``."""
    if not logits.shape[1] or not logits.shape[2]:
        raise ShapeError(
            f"{name} has shape {tuple(logits.shape)}: expected (batch, steps, tokens) with 1 or more of each"
        )
    if mask is not None:
        if mask.shape != logits.shape[:2]:
            raise ShapeError(f"mask of {name} has shape {tuple(mask.shape)}, expected {tuple(logits.shape[:2])}")
        mask = mask.bool()
        logits = logits.masked_fill(~mask[:, :, None], 0)
    check_finite_tensors(**{name: logits})
    if not checks_values(logits):
        logits = poisoned(logits, logits.isfinite().all())
    logs = logits.log_softmax(2)
    if mask is not None:
        logs = logs.masked_fill(~mask[:, :, None], torch.finfo(logs.dtype).min)
    return logs.amax(1).log_softmax(1)


class _Rationales(NamedTuple):
    """Losses, scores and mask of one kind of rationales, ``(batch, rationales)`` each, 0 where the mask is False."""

    losses: Tensor
    scores: Tensor
    mask: Tensor


_Given = tuple[Tensor, Tensor, Tensor | None]


def _rationales(positive: _Given, negative: _Given) -> tuple[_Rationales, _Rationales]:
    """Validate losses, scores and masks. Masked values may be NaN, so that they are set to 0."""
    positive_losses, negative_losses = precise(positive[0], negative[0])
    positives = _checked(positive_losses, *positive[1:], "positive")
    negatives = _checked(negative_losses, *negative[1:], "negative")
    if len(positives.losses) != len(negatives.losses):
        raise ShapeError(
            f"got positive rationales of {len(positives.losses)} inputs and negative ones of "
            f"{len(negatives.losses)}, expected equal numbers of inputs"
        )
    return positives, negatives


def _checked(losses: Tensor, scores: Tensor, mask: Tensor | None, name: str) -> _Rationales:
    mask = torch.ones_like(losses, dtype=torch.bool) if mask is None else mask
    if losses.dim() != 2 or losses.shape != scores.shape or losses.shape != mask.shape:
        raise ShapeError(
            f"{name} losses have shape {tuple(losses.shape)}, scores {tuple(scores.shape)} and mask "
            f"{tuple(mask.shape)}: expected equal (batch, rationales)"
        )
    mask = mask.bool()
    losses, values = losses.masked_fill(~mask, 0), scores.detach().to(losses.dtype).masked_fill(~mask, 0)
    check_finite_tensors(**{f"{name} losses": losses, f"{name} scores": values})
    valid = ((values >= 0) & (values <= 1)).all()
    if not checks_values(values, losses):
        losses = poisoned(losses, valid & losses.isfinite().all())
    elif not bool(valid):
        present = scores.detach()[mask]
        raise InputError(
            f"{name} scores range from {present.min().item()} to {present.max().item()}, expected values in [0, 1]"
        )
    return _Rationales(losses, values, mask)


def _selected(rationales: _Rationales, weights: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Return one loss and one weight per input, ``(batch,)`` each; arbitrary for an input without rationales."""
    losses, mask = rationales.losses, rationales.mask
    if not losses.shape[1]:
        return losses.sum(1), weights.sum(1)
    if how in ("mean", "weighted_mean"):
        share = mask.to(losses.dtype) * (weights if how == "weighted_mean" else 1)
        share = share / share.sum(1, keepdim=True).clamp(min=torch.finfo(losses.dtype).tiny)
        return (share * losses).sum(1), (share * weights).sum(1)
    if how == "sampling":
        rank = torch.rand(losses.shape, device=losses.device)
    else:
        rank = losses.detach() if how == "max" else -losses.detach()
    chosen = rank.masked_fill(~mask, -torch.inf).argmax(1, keepdim=True)
    return losses.gather(1, chosen).squeeze(1), weights.gather(1, chosen).squeeze(1)
