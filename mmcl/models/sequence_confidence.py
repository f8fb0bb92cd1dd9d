"""Confidence of decoded sequences: the geometric mean of the probabilities of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmcl.models.frame import Marker

if TYPE_CHECKING:
    from mmcl.encoders.base import Encoded
    from mmcl.models.seq2seq import SLUSeq2Seq


@torch.no_grad()
def sequence_confidence(model: SLUSeq2Seq, encoded: Encoded, sequences: Sequence[Sequence[int]]) -> Tensor:
    """Return the length-normalized probability of intent and entities, ``(batch,)``.

    ``exp(mean_t log p(token_t | tokens before, audio))`` over the tokens of intent and entities. The transcript is left
    out, because it is not part of the answer. The probabilities are those of the model itself, whatever search found
    the sequence. The model must be in evaluation mode.

    Args:
        model: sequence model.
        encoded: output of ``model.encode``.
        sequences: output of ``model.decode``, one sequence per utterance.
    """
    targets = model.targets(sequences)
    logits = model.teacher_forced(encoded, targets).double()
    chosen = logits.log_softmax(-1).gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0]
    lengths = torch.tensor([answer_length(model, sequence) for sequence in sequences], device=targets.device)
    counted = torch.arange(targets.shape[1], device=targets.device) < lengths[:, None]
    return (chosen.masked_fill(~counted, 0.0).sum(1) / lengths).exp()


def answer_length(model: SLUSeq2Seq, sequence: Sequence[int]) -> int:
    """Return the number of tokens up to the transcript; all tokens of a sequence without one."""
    separator, fill = (model.tokenizer.marker_id(marker) for marker in (Marker.SEP, Marker.FILL))
    last = max((place for place, token in enumerate(sequence) if token == separator), default=None)
    if last is None or fill in sequence[last:]:
        return max(len(sequence), 1)
    return last + 1
