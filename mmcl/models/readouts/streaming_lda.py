"""StreamingLDA: linear discriminant analysis of a stream, with one covariance shared by all classes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmcl.config.numbers import Share
from mmcl.errors import ConfigError
from mmcl.models.readouts.base import LinearReadOut, discriminant
from mmcl.models.readouts.statistics import ClassStatistics


class StreamingLDA(LinearReadOut):
    """Streaming linear discriminant analysis (SLDA, Hayes and Kanan 2020, arXiv 1909.01520).

        S      = 1/n sum_c sum_{x in c} (x - m_c)(x - m_c)^T
        L      = ((1 - e) S + e v I)^-1,   v = trace(S) / dim
        w_c    = L m_c
        score_c = w_c^T x - 1/2 m_c^T L m_c

    m_c is the mean of class c, n the number of samples, and e the shrinkage. The statistics are the count and the sum
    of each class, and one matrix of second moments.

    Shrinkage makes the covariance invertible when there are fewer samples than dimensions. ``oas`` computes it from the
    covariance and n (Chen et al. 2010, arXiv 0907.4698, equation 23). With one sample of each class S is zero, and the
    rule is the nearest class mean.

    Differs from the paper: S is the exact covariance, where the paper's running estimate depends on the order of
    samples. The identity is scaled by v, so the unit of the embeddings does not matter.

    Args:
        shrinkage: weight of the identity in the covariance, from 0 to 1, or ``"oas"``. The paper has 1e-4.

    Raises:
        ConfigError: the covariance is singular and the shrinkage is too small.

    >>> readout = StreamingLDA(shrinkage=0.1)
    >>> readout.grow([0, 1])
    >>> readout.add(torch.tensor([[0.0, 9.0], [0.0, -9.0], [1.0, 9.0], [1.0, -9.0]]), torch.tensor([0, 0, 1, 1]))
    >>> readout.solve()
    >>> readout(torch.tensor([[0.9, -5.0], [0.1, 7.0]])).argmax(1).tolist()
    [1, 0]
    """

    def __init__(self, *, shrinkage: Share | Literal["oas"] = "oas") -> None:
        super().__init__(ClassStatistics("shared"))
        if shrinkage != "oas" and not 0 <= shrinkage <= 1:
            raise ConfigError(f"shrinkage is {shrinkage}, expected 0 to 1, or 'oas'")
        self.shrinkage = shrinkage

    def solution(self) -> dict[str, Tensor]:
        """Compute weight and bias."""
        samples, dim = int(self.statistics.counts.sum()), self.statistics.dim
        covariance = self.statistics.within() / max(samples, 1)
        shrinkage = oas_shrinkage(covariance, samples) if self.shrinkage == "oas" else self.shrinkage
        variance, known = float(covariance.trace()) / dim, int((self.statistics.counts > 0).sum())
        if variance <= 0:  # one sample of each class
            self.warn_once(f"each of {known:,} classes has one sample or equal ones: slda is the nearest class mean")
            return discriminant(self.statistics)
        covariance = covariance.mul_(1 - shrinkage)
        covariance.diagonal().add_(shrinkage * variance)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if int(failed) or (shrinkage == 0 and samples - known < dim):
            raise ConfigError(
                f"the covariance of {samples:,} samples of {known:,} classes in {dim:,} dimensions is singular with "
                f"shrinkage {shrinkage:g}: set shrinkage (readout.slda.shrinkage) higher, or to oas"
            )
        if samples - known < dim:
            self.warn_once(
                f"slda has {samples:,} samples of {known:,} classes in {dim:,} dimensions, too few for a covariance: "
                f"it stands on shrinkage {shrinkage:.3g} (readout.slda.shrinkage)"
            )
        return discriminant(self.statistics, factor)


def oas_shrinkage(covariance: Tensor, samples: int) -> float:
    """Return the oracle approximating shrinkage of a covariance (Chen et al. 2010, arXiv 0907.4698, equation 23).

    ``e = (mean(S^2) + v^2) / ((n + 1)(mean(S^2) - v^2 / dim))`` with ``v = trace(S) / dim``, at most 1. As in
    scikit-learn, the paper's terms with 2 / dim are left out.

    Args:
        covariance: ``(dim, dim)``.
        samples: number of samples n that it was computed from.

    >>> oas_shrinkage(torch.diag(torch.tensor([1.0, 3.0])), samples=99)
    0.13
    """
    mean_square, variance = float(covariance.square().mean()), float(covariance.trace()) / len(covariance)
    above = (samples + 1) * (mean_square - variance**2 / len(covariance))
    return min(1.0, (mean_square + variance**2) / above) if above > 0 else 1.0
