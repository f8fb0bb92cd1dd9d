"""Optimal transport with equal marginals, by Sinkhorn's algorithm."""

from __future__ import annotations

import math

import torch
from torch import Tensor


@torch.no_grad()
def transport_plan(
    cost: Tensor, *, epsilon: float = 0.05, iterations: int = 1000, tolerance: float | None = None
) -> Tensor:
    """Return the entropic transport plan between rows and columns of equal mass.

    ::

        plan = argmin_P <P, cost> - epsilon H(P)        rows of P add up to 1 / rows, columns to 1 / columns

    Sinkhorn's algorithm (Cuturi 2013, arXiv 1306.0895) in logarithms. The last step is that of the columns, so that
    their sums are exact and those of the rows approximate.

    Args:
        cost: ``(..., rows, columns)``, finite.
        epsilon: weight of the entropy, greater than 0. Smaller values make sharper plans and need more iterations.
        iterations: largest number of iterations.
        tolerance: stop when no potential changes by more than this, in units of the cost. None for all iterations,
            which reads no value of a tensor.

    >>> transport_plan(torch.tensor([[0.0, 9.0], [1.0, 9.5]]), epsilon=0.1).mul(2).round()  # not nearest, but balanced
    tensor([[1., 0.],
            [0., 1.]])
    """
    scaled = -cost / epsilon
    rows, columns = (math.log(size) for size in scaled.shape[-2:])
    left, right = scaled.new_zeros(scaled.shape[:-1]), scaled.new_zeros((*scaled.shape[:-2], scaled.shape[-1]))
    for _ in range(iterations):
        former = left
        left = -rows - (scaled + right[..., None, :]).logsumexp(-1)
        right = -columns - (scaled + left[..., :, None]).logsumexp(-2)
        if tolerance is not None and float((left - former).abs().max()) * epsilon < tolerance:
            break
    return (scaled + left[..., :, None] + right[..., None, :]).exp()
