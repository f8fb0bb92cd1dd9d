"""MM: the multimodal contrastive loss of COCONUT, between audio and text."""

from __future__ import annotations

from torch import Tensor

from mmcl.objectives.kernel.base import Pairs
from mmcl.objectives.kernel.info_nce import weighted_info_nce
from mmcl.objectives.kernel.inputs import check_paired, checks_values
from mmcl.objectives.kernel.labels import flag_factors, flags_of, labels_of
from mmcl.objectives.kernel.pairs import SameLabel
from mmcl.objectives.kernel.products import in_float32
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature


class MMLoss(Objective):
    """Contrast audio and text in both directions, with all samples of the same label as positives.

    With P(k) the samples of anchor k's label, <., .> the cosine, and denominators over the whole batch::

        loss = mean over anchors k of  -1/|P(k)| sum_{p in P(k)} [ log softmax_i(<a_k, t_i> / temperature)_p
                                                                 + log softmax_i(<t_k, a_i> / temperature)_p ]

    The two directions are added, so that with unique labels the loss is twice the CLIP loss. There are several
    positives because texts of one label may be equal, and would be false negatives.

    COCONUT (Cappellazzo et al., arXiv 2310.02699), equation 6, as far as its published reviews confirm it. Differs from
    the paper: mean over anchors instead of the sum; the caller chooses the anchors.

    Args:
        temperature: greater than 0.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, LabelError, InputError: incompatible shapes, invalid labels, or embeddings that are not finite.

    >>> import torch
    >>> audio, text = torch.eye(2), torch.eye(2)
    >>> round(MMLoss(temperature=1.0)(audio, text, torch.tensor([0, 1])).item(), 4)  # 2 (log(e + 1) - 1)
    0.6265
    """

    takes = ("a", "b", "labels")

    def __init__(self, temperature: Temperature = 0.1, *, block_size: int | None = None, gather: bool = False) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)

    def forward(self, audio: Tensor, text: Tensor, labels: Tensor, is_anchor: Tensor | None = None) -> Tensor:
        """Return the loss of a batch, 0 without anchors.

        Args:
            audio: ``(batch, dim)``.
            text: ``(batch, dim)``.
            labels: ``(batch,)``, integers or booleans.
            is_anchor: which samples are anchors, ``(batch,)``, booleans or 0 and 1; None for all.
        """
        check_paired(audio=audio, text=text)
        labels = labels_of("labels", labels, len(audio), audio.device)
        (audio, text), products = in_float32(audio, text)
        anchors, positives = self._anchors(is_anchor, labels)
        with products:
            to_text, to_audio = (
                weighted_info_nce(one[anchors], other, positives, **self.kernel)
                for one, other in ((audio, text), (text, audio))
            )
        return to_text + to_audio

    @staticmethod
    def _anchors(is_anchor: Tensor | None, labels: Tensor) -> tuple[Tensor | slice, Pairs]:
        """Return the rows that are queries, and their positives."""
        everything = slice(None)
        if is_anchor is None:
            return everything, SameLabel(labels, labels)
        anchors = flags_of("is_anchor", is_anchor, len(labels), labels.device)
        if checks_values(anchors):
            return anchors, SameLabel(labels[anchors], labels)
        # A selection of rows would wait for the device. All rows are queries instead, and only anchors have weight.
        factors = flag_factors("is_anchor", is_anchor, len(labels), labels.device)
        return everything, SameLabel(labels, labels).scaled(factors)
