"""MM: the multimodal contrastive loss of COCONUT, between the audio and the text of new samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmcl.errors import ShapeError
from mmcl.objectives.kernel import weighted_info_nce


@dataclass(frozen=True)
class MMLoss:
    """Bring audio and text of one label together, in both directions.

    With P(k) the samples of anchor k's label, <., .> the cosine, and denominators over the whole batch::

        loss = mean over anchors k of  -1/|P(k)| sum_{p in P(k)} [ log softmax_i(<a_k, t_i> / temperature)_p
                                                                 + log softmax_i(<t_k, a_i> / temperature)_p ]

    The two directions are added, so that with unique labels this is twice the CLIP loss. It has several positives
    because the texts of one label can be equal: as negatives they would be false ones.

    COCONUT (Cappellazzo et al., arXiv 2310.02699), equation 6, as far as its published reviews confirm it. Differs from
    the paper: a mean over anchors in place of a sum; which samples are anchors is left to the caller.

    Raises:
        ShapeError: embeddings, labels and flags are not of one batch.

    >>> audio, text = torch.eye(2), torch.eye(2)
    >>> round(MMLoss(temperature=1.0)(audio, text, torch.tensor([0, 1])).item(), 4)  # 2 (log(e + 1) - 1)
    0.6265
    """

    temperature: float | Tensor = 0.1

    def __call__(self, audio: Tensor, text: Tensor, labels: Tensor, is_anchor: Tensor | None = None) -> Tensor:
        """Return the loss of one batch, 0 if it has no anchor.

        Args:
            audio: ``(batch, dim)``.
            text: ``(batch, dim)``.
            labels: ``(batch,)``.
            is_anchor: boolean ``(batch,)``; None for all.
        """
        if audio.shape != text.shape or labels.shape != audio.shape[:1]:
            raise ShapeError(
                f"audio {tuple(audio.shape)}, text {tuple(text.shape)} and labels {tuple(labels.shape)} are not of one "
                "batch: expected (batch, dim) twice and (batch,)"
            )
        anchors = torch.ones_like(labels, dtype=torch.bool) if is_anchor is None else is_anchor
        positives = labels[anchors][:, None] == labels[None, :]
        to_text = weighted_info_nce(audio[anchors], text, positives, temperature=self.temperature)
        to_audio = weighted_info_nce(text[anchors], audio, positives, temperature=self.temperature)
        return to_text + to_audio
