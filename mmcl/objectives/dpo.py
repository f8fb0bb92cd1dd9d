"""Length-normalized DPO of delta learning: prefer one answer to another, relative to a reference model."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mmcl.arguments import takes_tensors
from mmcl.errors import InputError, LabelError, ShapeError
from mmcl.objectives.kernel.inputs import check_finite_tensors, checks_values, poisoned, precise
from mmcl.objectives.temperature import positive


@takes_tensors
def length_normalized_dpo(
    chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, *, beta: float = 5.0
) -> Tensor:
    """Return the DPO loss of pairs of answers, with the mean log-probability of each answer's tokens.

    With c and r the log-probabilities of the chosen and the rejected answer, and c' and r' those of the reference::

        loss = mean of -log sigmoid(beta ((c - r) - (c' - r')))

    In delta learning, the chosen answer is by the stronger of two weak models, and no answer need be correct. The loss
    is ``dpo_norm`` of its released code (scottgeng00/delta_learning); the text of the paper was not at hand. Learning
    rates there are 5e-8 to 5e-7.

    Args:
        chosen, rejected: log-probabilities by the trained model, from :func:`mean_log_probabilities`, ``(batch,)``.
        reference_chosen, reference_rejected: those by the model before training, ``(batch,)``; without gradient.
        beta: greater than 0; larger values keep the model closer to the reference.

    Raises:
        ShapeError: not one number for each pair.
        InputError: not floating point, or not finite; an invalid beta.

    >>> one, zero = torch.tensor([-1.0]), torch.tensor([0.0])
    >>> round(length_normalized_dpo(zero, one, zero, zero, beta=1.0).item(), 4)  # log(1 + 1/e)
    0.3133
    """
    given = {
        "chosen": chosen,
        "rejected": rejected,
        "reference_chosen": reference_chosen,
        "reference_rejected": reference_rejected,
    }
    for name, each in given.items():
        if each.dim() != 1 or each.shape != chosen.shape:
            raise ShapeError(
                f"{name} has shape {tuple(each.shape)}, expected one log-probability for each pair, ({len(chosen)},)"
            )
    check_finite_tensors(**given)
    scale = positive("beta", beta)
    with torch.autocast(chosen.device.type, enabled=False):
        better, worse, reference_better, reference_worse = precise(*given.values())
        margins = (better - worse) - (reference_better - reference_worse).detach()
        losses = poisoned(softplus(-scale * margins, threshold=50), margins.isfinite())
        return losses.sum() / max(len(losses), 1)


@takes_tensors
def mean_log_probabilities(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the mean log-probability of the tokens of each answer, ``(batch,)``.

    Args:
        logits: of the token at each step, ``(batch, steps, tokens)``. For a causal model, shift them by one step.
        tokens: the answer, integers ``(batch, steps)``. Those outside of the mask may be any.
        mask: whether a token belongs to the answer, boolean ``(batch, steps)``; False for the question and padding.

    Raises:
        ShapeError: shapes that do not match, or a mask that is not boolean.
        LabelError: tokens that are not integers.
        InputError: logits that are not finite, an empty answer, or a token beyond the logits. The result is NaN where
            values are not checked at once.

    >>> mean_log_probabilities(torch.zeros(1, 2, 4), torch.tensor([[1, 3]]), torch.ones(1, 2, dtype=torch.bool)).exp()
    tensor([0.2500])
    """
    if logits.dim() != 3 or tokens.shape != logits.shape[:2] or mask.shape != tokens.shape or mask.dtype != torch.bool:
        raise ShapeError(
            f"logits has shape {tuple(logits.shape)}, tokens {tuple(tokens.shape)}, mask {tuple(mask.shape)} in "
            f"{mask.dtype}: expected (batch, steps, tokens), and twice (batch, steps), the mask in torch.bool"
        )
    if tokens.is_floating_point() or tokens.is_complex():
        raise LabelError(f"tokens is of type {tokens.dtype}, expected integers; convert it with .long()")
    check_finite_tensors(logits=logits)
    known = ((tokens >= 0) & (tokens < logits.shape[2])) | ~mask
    counts = mask.sum(1)
    valid = known.all(1) & (counts > 0)
    if checks_values(logits) and not bool(valid.all()):
        row = int((~valid).nonzero()[0])
        if not counts[row]:
            raise InputError(f"answer {row} is empty: its mask is False at all steps; leave its pair out")
        token = int(tokens[row][~known[row]][0])
        raise InputError(f"answer {row} has token {token}, expected 0 to {logits.shape[2] - 1}, as logits has columns")
    with torch.autocast(logits.device.type, enabled=False):
        (values,) = precise(logits)
        own = values.gather(2, (tokens * (known & mask)).long()[:, :, None])[:, :, 0]
        logs = torch.where(mask, own - values.logsumexp(2), 0)
        return poisoned(logs.sum(1) / counts.clamp(min=1), valid)
