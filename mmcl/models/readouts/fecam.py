"""FeCAM: classification by the Mahalanobis distance to class means, with a covariance for each class."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmcl.config.numbers import NonNegative, Positive
from mmcl.errors import ConfigError
from mmcl.models.readouts.base import ReadOut
from mmcl.models.readouts.statistics import ClassStatistics
from mmcl.objectives.kernel.unit import directions

Covariance = Literal["class", "shared", "diagonal"]
_CHUNK = 2**20  # numbers of the covariances that are inverted at once; more do not fit into a processor's cache
_SMALL = 64  # dimensions of a triangular matrix that is inverted in one step


class FeCAM(ReadOut):
    """Mahalanobis distance to class means (FeCAM, Goswami et al. 2023, arXiv 2309.14062).

        z       = sign(x) |x|^tukey
        S_c     = 1/(n_c - 1) sum (z - m_c)(z - m_c)^T
        S'_c    = S_c + g1 V1 I + g2 V2 (1 - I)
        R_c,ij  = S'_c,ij / sqrt(S'_c,ii S'_c,jj)
        score_c = -1/2 (z' - m'_c)^T R_c^-1 (z' - m'_c)

    m_c is the mean of z of class c. V1 is the mean of the diagonal of S_c, and V2 that of the other entries. z' and m'
    are z and m scaled to unit length. Shrinkage makes covariances invertible when a class has fewer samples than there
    are dimensions. With one sample S_c is zero, and S'_c is the identity.

    The statistics are the count, the sum and the second moments of each class: ``classes * dim^2`` numbers for a
    covariance by class. ``shared`` pools the scatter of all classes and divides it by n, ``diagonal`` keeps variances.

    Differs from the paper: m_c is the mean of transformed embeddings, where the published code transforms the mean.
    Tukey's transform keeps the sign of negative values, where the paper's features are positive.

    Args:
        covariance: ``"class"``, ``"shared"`` by all classes, or ``"diagonal"`` of each class.
        tukey: exponent of Tukey's transform; 1 for none.
        shrinkage: g1, weight of the mean variance.
        off_diagonal: g2, weight of the mean covariance; no effect on ``diagonal``.
        normalize: scale covariances to correlations, or a diagonal to unit length.
        unit_length: scale embeddings and means to unit length before distances.
        max_gigabytes: largest size of the second moments, in units of 1e9 bytes.

    Attributes:
        center: mean of the scaled class means, ``(dim,)``.
        means: whitened class means relative to it, ``(classes, dim)``.
        factors: inverse Cholesky factors of the covariances, or inverse standard deviations.

    Raises:
        ConfigError: the second moments are larger than ``max_gigabytes``, or a covariance is singular.

    >>> readout = FeCAM(tukey=1.0, unit_length=False)
    >>> readout.grow([0, 1])
    >>> readout.add(torch.tensor([[0.0, 9.0], [0.0, -9.0], [3.0, 0.1], [3.0, -0.1]]), torch.tensor([0, 0, 1, 1]))
    >>> readout.solve()
    >>> readout(torch.tensor([[0.5, 5.0], [2.9, 0.0]])).argmax(1).tolist()
    [0, 1]
    """

    center: Tensor
    means: Tensor
    factors: Tensor

    def __init__(
        self,
        *,
        covariance: Covariance = "class",
        tukey: Positive = 0.5,
        shrinkage: NonNegative = 1.0,
        off_diagonal: NonNegative = 1.0,
        normalize: bool = True,
        unit_length: bool = True,
        max_gigabytes: Positive = 4.0,
    ) -> None:
        if covariance not in ("class", "shared", "diagonal"):
            raise ConfigError(f"covariance is '{covariance}', expected class, shared or diagonal")
        if not tukey > 0 or shrinkage < 0 or off_diagonal < 0:
            raise ConfigError(
                f"tukey is {tukey}, shrinkage {shrinkage} and off_diagonal {off_diagonal}: expected tukey above 0, the "
                "others 0 or more"
            )
        super().__init__(ClassStatistics(covariance))
        self.covariance, self.tukey, self.shrinkage, self.off_diagonal = covariance, tukey, shrinkage, off_diagonal
        self.normalize, self.unit_length, self.max_gigabytes = normalize, unit_length, max_gigabytes
        self.register_buffer("center", torch.empty(0))
        self.register_buffer("means", torch.empty(0, 0))
        self.register_buffer("factors", torch.empty(0, 0) if covariance == "diagonal" else torch.empty(0, 0, 0))

    def transform(self, embeddings: Tensor) -> Tensor:
        """Return Tukey's transform of embeddings."""
        return embeddings if self.tukey == 1 else embeddings.sign() * embeddings.abs().pow(self.tukey)

    def solution(self) -> dict[str, Tensor]:
        """Compute means and inverse factors of the covariances."""
        means = self._scaled(self.statistics.means())
        center = means[self.statistics.counts > 0].mean(0)
        factors = self._deviations() if self.covariance == "diagonal" else self._inverse_factors()
        return {"center": center, "means": _whitened(factors, (means - center).to(factors)), "factors": factors}

    def expect(self, dim: int, classes: int) -> None:
        """Allocate the solution, without statistics, to load that of an exported model."""
        shapes = {"class": (classes, dim, dim), "shared": (1, dim, dim), "diagonal": (classes, dim)}
        self.center, self.means = torch.empty(dim), torch.empty(classes, dim)
        self.factors, self.seen = torch.empty(shapes[self.covariance]), torch.empty(classes, dtype=torch.bool)

    def scores(self, transformed: Tensor) -> Tensor:
        """Return half the negative squared distance to each class, ``(batch, classes)``."""
        centered = self._scaled(transformed) - self.center
        if self.covariance == "diagonal":
            cross = centered @ (self.factors * self.means).T
            lengths = centered.square() @ self.factors.square().T
        else:
            white = centered @ self.factors.mT  # (classes or 1, batch, dim)
            is_shared = self.covariance == "shared"
            cross = white[0] @ self.means.T if is_shared else (white @ self.means[:, :, None])[..., 0].T
            lengths = white.square().sum(2).T
        return cross - 0.5 * (lengths + self.means.square().sum(1))

    def _scaled(self, transformed: Tensor) -> Tensor:
        return directions(transformed) if self.unit_length else transformed

    def _deviations(self) -> Tensor:
        """Inverse standard deviations ``(classes, dim)``."""
        variances = self.statistics.within() / (self.statistics.counts - 1).clamp(min=1)[:, None]
        variances = variances + self.shrinkage * variances.mean(1, keepdim=True)
        variances = torch.where(variances.sum(1, keepdim=True) > 0, variances, 1.0)
        if self.normalize:
            variances = directions(variances)
        if bool((variances <= 0).any()):
            raise self._singular(int((variances <= 0).any(1).nonzero()[0]))
        self._warn_of_few()
        return variances.rsqrt()

    def _inverse_factors(self) -> Tensor:
        """Inverse Cholesky factors of the covariances, ``(classes or 1, dim, dim)`` in float32."""
        counts, dim = self.statistics.counts, self.statistics.dim
        divisors = counts.sum().clamp(min=1)[None] if self.covariance == "shared" else (counts - 1).clamp(min=1)
        found, size = torch.empty(len(divisors), dim, dim, device=counts.device), max(1, _CHUNK // dim**2)
        for start in range(0, len(divisors), size):
            labels = slice(start, start + size)
            scatter = self.statistics.within() if self.covariance == "shared" else self.statistics.within(labels)
            covariances = self._shrunk(scatter.reshape(-1, dim, dim).div_(divisors[labels, None, None]))
            factors, failed = torch.linalg.cholesky_ex(covariances)
            if bool(failed.any()):
                raise self._singular(start + int(failed.nonzero()[0, 0]))
            inverse = inverse_of_lower(factors)
            if self.normalize:  # S' = L L^T and R = D^-1 S' D^-1, so the inverse factor of R is L^-1 D
                inverse *= covariances.diagonal(dim1=1, dim2=2).sqrt()[:, None, :]
            found[labels] = inverse
        self._warn_of_few()
        return found

    def _warn_of_few(self) -> None:
        """Warn of covariances that only shrinkage makes invertible, or of variances that are unknown."""
        dim, counts = self.statistics.dim, self.statistics.counts[self.statistics.counts > 0]
        needed = {"class": dim + 1, "shared": dim + len(counts), "diagonal": 2}[self.covariance]
        available = counts.sum()[None] if self.covariance == "shared" else counts
        few = available[available < needed]
        if not len(few):
            return
        whose = "all classes" if self.covariance == "shared" else f"{len(few):,} of {len(counts):,} classes"
        kind = "variances" if self.covariance == "diagonal" else "covariances"
        alone = ", with one sample on the identity" if int(few.min()) == 1 else ""
        self.warn_once(
            f"fecam has {int(few.min()):,} samples or more for {kind} of {whose} in {dim:,} dimensions, but they need "
            f"{needed:,}: they stand on shrinkage {self.shrinkage:g} (readout.fecam.shrinkage){alone}"
        )

    def _shrunk(self, covariances: Tensor) -> Tensor:
        """Shrink covariances ``(classes, dim, dim)``, in place."""
        dim = covariances.shape[-1]
        diagonal = covariances.diagonal(dim1=1, dim2=2)
        variance = diagonal.mean(1)[:, None]
        off_diagonal = (covariances.sum((1, 2)) - diagonal.sum(1)) / max(dim * (dim - 1), 1)
        shrunk_diagonal = diagonal + self.shrinkage * variance
        covariances += (self.off_diagonal * off_diagonal)[:, None, None]
        diagonal.copy_(shrunk_diagonal)
        covariances[variance[:, 0] <= 0] = torch.eye(dim, dtype=covariances.dtype, device=covariances.device)
        return covariances

    def _singular(self, label: int) -> ConfigError:
        shared, counts = self.covariance == "shared", self.statistics.counts
        whose, samples = ("all classes", int(counts.sum())) if shared else (f"class {label}", int(counts[label]))
        lower = f", or off_diagonal below {self.off_diagonal:g}" if self.off_diagonal else ""
        return ConfigError(
            f"the covariance of {whose} ({samples:,} samples in {self.statistics.dim:,} dimensions) is singular: set "
            f"shrinkage (readout.fecam.shrinkage) above {self.shrinkage:g}{lower}"
        )

    def _resize(self, classes: int = 0, dim: int = 0) -> None:
        classes, dim = max(classes, len(self.statistics.counts)), dim or self.statistics.dim
        needed = 8 * dim**2 * (1 if self.covariance == "shared" else classes)
        if self.covariance != "diagonal" and needed > 1e9 * self.max_gigabytes:
            switch = "diagonal" if self.covariance == "shared" else "shared or diagonal"
            raise ConfigError(
                f"covariances of {classes:,} classes in {dim:,} dimensions need {needed:,} bytes, expected at most "
                f"{1e9 * self.max_gigabytes:,.0f}: set covariance (readout.fecam.covariance) to {switch}, or "
                "max_gigabytes higher"
            )
        super()._resize(classes, dim)


def _whitened(factors: Tensor, means: Tensor) -> Tensor:
    """Return means ``(classes, dim)`` multiplied by inverse factors, one for each class or one for all."""
    if factors.dim() == 2:
        return factors * means
    return means @ factors[0].T if len(factors) == 1 else (factors @ means[:, :, None])[..., 0]


def inverse_of_lower(factors: Tensor) -> Tensor:
    """Invert lower triangular matrices ``(..., dim, dim)`` by halves.

    ``[[A, 0], [B, C]]^-1 = [[A^-1, 0], [-C^-1 B A^-1, C^-1]]`` takes a third of the operations of a solve with the
    identity, and half its time.

    >>> inverse_of_lower(torch.tensor([[2.0, 0.0], [1.0, 4.0]])).tolist()
    [[0.5, 0.0], [-0.125, 0.25]]
    """
    dim, solve = factors.shape[-1], torch.linalg.solve_triangular
    if dim <= _SMALL:
        return solve(factors, torch.eye(dim, dtype=factors.dtype, device=factors.device), upper=False)
    half = dim // 2
    first, crossed, last = factors[..., :half, :half], factors[..., half:, :half], factors[..., half:, half:]
    inverse = torch.zeros_like(factors)
    inverse[..., :half, :half], inverse[..., half:, half:] = inverse_of_lower(first), inverse_of_lower(last)
    inverse[..., half:, :half] = -solve(last, solve(first, crossed, upper=False, left=False), upper=False)
    return inverse
