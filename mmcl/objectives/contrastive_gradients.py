"""Gradients of InfoNCE with respect to similarities, and the relative penalties of negatives, for analysis."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.objectives.kernel.factors import similarity_factors
from mmcl.objectives.kernel.inputs import check_paired
from mmcl.objectives.temperature import Temperature, temperature_of


@takes_tensors
def similarity_gradients(a: Tensor, b: Tensor, temperature: Temperature = 0.1) -> Tensor:
    """Return the derivative of each row's InfoNCE loss with respect to each of its cosines, ``(batch, batch)``.

    With P_ij = exp(s_ij / temperature) / sum_k exp(s_ik / temperature)::

        d loss_i / d s_ij = P_ij / temperature                          negatives, j != i
        d loss_i / d s_ii = -sum_{k != i} P_ik / temperature            the positive

    Each row sums to 0. Wang and Liu 2021 (arXiv 2012.09740), section 3.

    Args:
        a, b: paired embeddings, ``(batch, dim)``; the result has no gradient.
        temperature: greater than 0.

    Raises:
        ShapeError, InputError: embeddings that are not paired or not finite, or an invalid temperature.

    >>> similarity_gradients(torch.eye(2), torch.eye(2).flip(0), temperature=1.0)  # 1 - 1 / (1 + e)
    tensor([[-0.7311,  0.7311],
            [ 0.7311, -0.7311]])
    """
    check_paired(a=a, b=b)
    with torch.no_grad():
        queries, keys, _ = similarity_factors(a, b, temperature)
        shares = (queries @ keys.T).softmax(1)
        return (shares - torch.eye(len(a), dtype=shares.dtype, device=shares.device)) / temperature_of(temperature)


@takes_tensors
def relative_penalties(a: Tensor, b: Tensor, temperature: Temperature = 0.1) -> Tensor:
    """Return how strongly InfoNCE pushes each negative away, relative to all negatives, ``(batch, batch)``.

    ::

        r_ij = exp(s_ij / temperature) / sum_{k != i} exp(s_ik / temperature),  r_ii = 0

    Each row sums to 1. A small temperature puts all of the penalty on the hardest negative, a large one spreads it
    evenly. Wang and Liu 2021 (arXiv 2012.09740), section 3.

    Args:
        a, b: paired embeddings, ``(batch, dim)``, of at least two samples; the result has no gradient.
        temperature: greater than 0.

    Raises:
        ShapeError, InputError: embeddings that are not paired or not finite, or an invalid temperature.

    >>> a, b = torch.tensor([[1.0, 0.0]] * 3), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> relative_penalties(a, b)[0]
    tensor([0.0000, 0.5000, 0.5000])
    """
    check_paired(a=a, b=b)
    with torch.no_grad():
        queries, keys, _ = similarity_factors(a, b, temperature)
        own = torch.eye(len(a), dtype=torch.bool, device=queries.device)
        return (queries @ keys.T).masked_fill(own, -torch.inf).softmax(1)
