"""NearestClassMean: classification by the nearest class mean."""

from __future__ import annotations

from torch import Tensor

from mmcl.models.readouts.base import LinearReadOut, discriminant
from mmcl.models.readouts.statistics import ClassStatistics
from mmcl.objectives.kernel.unit import directions


class NearestClassMean(LinearReadOut):
    """Classify by the nearest class mean (Mensink et al. 2013, Distance-Based Image Classification).

    ``score_c = -1/2 ||x - m_c||^2``, without the term ``||x||^2`` that all classes share. m_c is the mean embedding of
    class c. The statistics are the count and the sum of each class.

    Args:
        normalize: scale embeddings to unit length before means are computed.

    >>> import torch
    >>> readout = NearestClassMean()
    >>> readout.grow([0, 1])
    >>> readout.add(torch.tensor([[0.0, 0.0], [0.0, 2.0], [4.0, 0.0]]), torch.tensor([0, 0, 1]))
    >>> readout.solve()
    >>> readout(torch.tensor([[1.0, 0.0], [3.0, 1.0]])).argmax(1).tolist()
    [0, 1]
    """

    def __init__(self, *, normalize: bool = False) -> None:
        super().__init__(ClassStatistics("none"))
        self.normalize = normalize

    def transform(self, embeddings: Tensor) -> Tensor:
        """Scale embeddings to unit length, if so set."""
        return directions(embeddings) if self.normalize else embeddings

    def solution(self) -> dict[str, Tensor]:
        """Compute weight and bias."""
        return discriminant(self.statistics)
