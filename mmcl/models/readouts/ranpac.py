"""RanPAC: ridge regression of classes on random projections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mmcl.config.numbers import Count, Positive, Size
from mmcl.errors import ConfigError
from mmcl.models.readouts.base import LinearReadOut
from mmcl.models.readouts.statistics import ClassStatistics

Activation = Literal["relu", "none"]
_RIDGES = tuple(10.0**exponent for exponent in range(-8, 9))


class RanPAC(LinearReadOut):
    """Ridge regression on random projections (RanPAC, McDonnell et al. 2023, arXiv 2307.02251).

        h      = relu(P^T x)
        G      = sum h h^T,   C = sum h y^T
        score  = h^T (G + r I)^-1 C

    P is a fixed random matrix ``(dim, projections)`` and y the one-hot class. The statistics are G, the sum of h by
    class C, and both for held-out samples. The ridge r is the one of ``ridges`` with the lowest squared error on
    held-out samples, after a fit on the others. Every fifth sample of a class is held out. The final fit is on all.
    Without held-out samples, r is the value nearest to ``trace(G) / projections``.

    Differs from the paper: the ridge is chosen with the held-out samples of all experiences so far, where the paper
    takes those of the newest. There are fewer projections than the paper's 10,000.

    Args:
        projections: number of random projections.
        activation: ``"relu"``, or ``"none"`` for linear projections.
        ridges: values to choose the ridge from; a single one is not chosen from; empty for the powers
            of 10 from 1e-8 to 1e8.
        seed: seed of the projections.

    Raises:
        ConfigError: G is singular and the ridge is too small.

    >>> readout = RanPAC(projections=16)
    >>> readout.grow([0, 1])
    >>> readout.add(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), torch.tensor([0, 0, 1]))
    >>> readout.solve()
    >>> readout(torch.tensor([[1.0, 0.2], [0.2, 1.0]])).argmax(1).tolist()
    [0, 1]
    """

    projection: Tensor
    ridge: Tensor

    def __init__(
        self,
        *,
        projections: Count = 2000,
        activation: Activation = "relu",
        ridges: Sequence[Positive] = (),
        seed: Size = 0,
    ) -> None:
        super().__init__(ClassStatistics("shared"))
        if activation not in ("relu", "none"):
            raise ConfigError(f"activation is '{activation}', expected relu or none")
        if min(ridges, default=1.0) <= 0:
            raise ConfigError(f"ridges are {list(ridges)}, expected values above 0")
        self.projections, self.activation, self.ridges, self.seed = projections, activation, tuple(ridges), seed
        self.held_out = ClassStatistics("shared")
        self.register_buffer("projection", torch.empty(0, 0))
        self.register_buffer("ridge", torch.zeros(()))

    def transformed_dim(self, dim: int) -> int:
        """Return the number of projections."""
        return self.projections

    def allocate(self, dim: int) -> None:
        """Draw the projections, if the dimension is not known yet."""
        if not len(self.projection) and dim:
            generator = torch.Generator().manual_seed(self.seed)
            self.projection = torch.randn(dim, self.projections, generator=generator).to(self.projection.device)
        super().allocate(dim)

    def expect(self, dim: int, classes: int) -> None:
        """Allocate the solution, without statistics, to load that of an exported model."""
        super().expect(dim, classes)
        self.projection = torch.empty(dim, self.projections)

    def transform(self, embeddings: Tensor) -> Tensor:
        """Return projections ``(batch, projections)`` of embeddings ``(batch, dim)``."""
        projected = embeddings @ self.projection.to(embeddings.dtype)
        return projected.relu() if self.activation == "relu" else projected

    def reset(self) -> None:
        """Forget all samples; the solution stays until :meth:`solve`."""
        super().reset()
        self.held_out.reset()

    def add(self, embeddings: Tensor, labels: Tensor, held_out: Tensor | None = None) -> None:
        """Add samples to the statistics; held-out ones also to those that the ridge is chosen with."""
        super().add(embeddings, labels)
        if held_out is not None and bool(held_out.any()) and len(self.ridges) != 1:
            self.held_out.add(self.transform(embeddings[held_out].double()), labels[held_out])

    def solution(self) -> dict[str, Tensor]:
        """Choose the ridge, and compute the weights."""
        gram = self._gram(self.statistics)
        ridge = self._chosen_ridge(gram)
        regular = gram.clone()
        regular.diagonal().add_(ridge)
        factor, failed = torch.linalg.cholesky_ex(regular)
        if int(failed):
            samples = int(self.statistics.counts.sum())
            raise ConfigError(
                f"the Gram matrix of {samples:,} samples in {self.projections:,} projections is singular with ridge "
                f"{ridge:g}: set ridges (readout.ranpac.ridges) to higher values"
            )
        weight = torch.cholesky_solve(self.statistics.sums.T, factor).T.contiguous()
        return {"weight": weight, "bias": weight.new_zeros(len(weight)), "ridge": torch.tensor(ridge)}

    def _chosen_ridge(self, gram: Tensor) -> float:
        ridges = self.ridges or _RIDGES
        if len(ridges) == 1:
            return ridges[0]
        if not int(self.held_out.counts.sum()):
            scale = float(gram.trace()) / self.projections
            return min(ridges, key=lambda ridge: abs(math.log(ridge) - math.log(max(scale, 1e-30))))
        held_gram, held_sums = self._gram(self.held_out), self.held_out.sums.T
        rank = int(self.statistics.counts.sum() - self.held_out.counts.sum())
        losses = ridge_losses(gram - held_gram, self.statistics.sums.T - held_sums, held_gram, held_sums, ridges, rank)
        return ridges[int(losses.argmin())]

    def _gram(self, statistics: ClassStatistics) -> Tensor:
        if statistics.moments is None:
            raise ConfigError(f"ranpac got statistics of kind '{statistics.kind}' without moments, expected 'shared'")
        return statistics.moments

    def _resize(self, classes: int = 0, dim: int = 0) -> None:
        super()._resize(classes, dim)
        self.held_out.resize(classes, dim)


def ridge_losses(
    gram: Tensor, sums: Tensor, held_gram: Tensor, held_sums: Tensor, ridges: Sequence[float], rank: int
) -> Tensor:
    """Return the squared error on held-out samples for each ridge, up to a constant.

    With weights ``W = (G + r I)^-1 C`` of the fit, the error is ``tr(W^T G_h W) - 2 tr(W^T C_h)``. One eigenvalue
    decomposition of G serves all ridges.

    Args:
        gram: G, ``(dim, dim)``.
        sums: C, ``(dim, classes)``.
        held_gram: G_h of the held-out samples.
        held_sums: C_h of the held-out samples.
        ridges: values of r.
        rank: largest rank of G, the number of samples of the fit.
    """
    values, vectors = eigenvectors(gram, rank)
    target, held_target = vectors.T @ sums, vectors.T @ held_sums
    quadratic = (vectors.T @ held_gram @ vectors) * (target @ target.T)
    linear = (target * held_target).sum(1)
    inverse = 1 / (values.clamp(min=0) + values.new_tensor(list(ridges))[:, None])  # (ridges, dim)
    return ((inverse @ quadratic) * inverse).sum(1) - 2 * inverse @ linear


def eigenvectors(gram: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues above 0 of a positive semidefinite matrix, and their eigenvectors.

    Eigenvalues of 0 may be among them. If the rank is below half the dimension, the matrix is first reduced to a basis
    of its image, which is that of random vectors. With the rank r, this takes ``O(dim^2 r)`` in place of ``O(dim^3)``.

    Args:
        gram: ``(dim, dim)``.
        rank: upper limit of the rank of ``gram``.

    Returns:
        Eigenvalues ``(values,)`` and eigenvectors ``(dim, values)``.

    >>> values, vectors = eigenvectors(torch.ones(4, 4), rank=1)
    >>> round(values.max().item(), 4), (vectors * values @ vectors.T).round(decimals=4).unique()
    (4.0, tensor([1.]))
    """
    if 2 * rank >= len(gram):
        return torch.linalg.eigh(gram)
    start = torch.randn(len(gram), rank, dtype=gram.dtype, generator=torch.Generator().manual_seed(0)).to(gram.device)
    basis = torch.linalg.qr(gram @ start).Q
    values, vectors = torch.linalg.eigh(basis.T @ gram @ basis)
    return values, basis @ vectors
