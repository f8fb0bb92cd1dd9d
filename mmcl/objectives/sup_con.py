"""SupCon: the supervised contrastive loss."""

from __future__ import annotations

from torch import Tensor

from mmcl.objectives.kernel.info_nce import weighted_info_nce
from mmcl.objectives.kernel.inputs import check_features
from mmcl.objectives.kernel.labels import labels_of
from mmcl.objectives.kernel.pairs import Identity, SameLabel
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature


class SupConLoss(Objective):
    """Contrast each sample with all other samples; those of the same label are positives.

    With P(i) the other samples with i's label and <., .> the cosine::

        loss_i = -1/|P(i)| sum_{p in P(i)} log [ exp(<z_i, z_p> / temperature)
                                                 / sum_{k != i} exp(<z_i, z_k> / temperature) ]

    The result is the mean over samples that have a positive, 0 if there are none. Views of one sample are rows with the
    same label.

    Khosla et al. 2020 (arXiv 2004.11362), equation 2 (sum outside the logarithm). Differs from the paper: mean over
    samples instead of the sum; without the factor temperature / base temperature of the released code.

    Args:
        temperature: greater than 0.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, LabelError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; labels that are
            not one integer per row.

    >>> import torch
    >>> features, labels = torch.eye(2)[[0, 0, 1]], torch.tensor([5, 5, 3])
    >>> round(SupConLoss(temperature=1.0)(features, labels).item(), 4)  # log(e + 1) - 1
    0.3133
    """

    takes = ("features", "labels")

    def __init__(self, temperature: Temperature = 0.1, *, block_size: int | None = None, gather: bool = False) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of features ``(batch, dim)`` and their labels ``(batch,)``."""
        check_features(features=features)
        labels = labels_of("labels", labels, len(features), features.device)
        return weighted_info_nce(
            features,
            features,
            SameLabel(labels, exclude_self=True),
            denominator=Identity(len(features)).complement(),
            **self.kernel,
        )
