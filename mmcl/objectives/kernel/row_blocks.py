"""Losses that are computed for blocks of rows against all keys, and the hardest negatives of each row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmcl.objectives.kernel.tiles import tile_size


def sum_of_blocks(
    block_loss: Callable[..., Tensor], rows: Sequence[Tensor], keys: Sequence[Tensor], block_size: int | None
) -> Tensor:
    """Return the sum of a loss over blocks of rows, with one block of similarities in memory at a time.

    The backward pass computes each block again. For losses that need whole rows of the similarity matrix, such as a
    ranking or a weight that depends on the softmax.

    Args:
        block_loss: function of the position of the block's first row, its rows and all keys, which returns a scalar or
            several sums ``(sums,)``. It must not draw random numbers.
        rows: tensors with one row per query, which are split into blocks.
        keys: tensors that each block takes whole.
        block_size: number of rows of a block; None for automatic.

    Raises:
        InputError: ``block_size`` is not an integer of 1 or more.

    >>> queries, keys = torch.eye(3), torch.eye(3)
    >>> sum_of_blocks(lambda start, rows, keys: (rows @ keys.T).sum() * start, [queries], [keys], 2)
    tensor(2.)
    """
    size = tile_size(rows[0].device, block_size)
    total = 0 * torch.stack([each.sum() for each in (*rows, *keys) if each.is_floating_point()]).sum()
    for start in range(0, len(rows[0]), size):
        block = [each[start : start + size] for each in rows]
        total = total + checkpoint(block_loss, start, *block, *keys, use_reentrant=False, preserve_rng_state=False)
    return total


def own_columns(similarities: Tensor, offset: int) -> Tensor:
    """Return the column of each row's own key, ``(rows, 1)``: ``offset`` for the first row, then one more each.

    >>> own_columns(torch.zeros(2, 4), 1).tolist()
    [[1], [2]]
    """
    return torch.arange(offset, offset + len(similarities), device=similarities.device)[:, None]


def hardest_negatives(rows: Tensor, keys: Tensor, offset: int, share: float) -> Tensor:
    """Return whether each key is among the given share of a row's most similar negatives, boolean ``(rows, keys)``.

    Equally hard negatives are all kept. The selection has no gradient.

    Args:
        rows: ``(rows, dim)``.
        keys: ``(keys, dim)``.
        offset: column of the first row's positive.
        share: share of the negatives, in (0, 1]. At least one is kept.

    >>> hardest_negatives(torch.ones(1, 1), torch.tensor([[9.0], [1.0], [2.0]]), 0, 0.5)
    tensor([[False, False,  True]])
    """
    rows, keys = rows.detach(), keys.detach()
    similarities = rows @ keys.T
    positives = own_columns(similarities, offset)
    similarities = similarities.scatter(1, positives, -torch.inf)
    kept = min(max(1, math.ceil(share * (len(keys) - 1))), len(keys))
    lowest = similarities.topk(kept, dim=1).values[:, -1:]
    # Similarities of equally hard negatives differ by rounding, which depends on the block.
    slack = 8 * torch.finfo(rows.dtype).eps * rows.norm(dim=1, keepdim=True)
    return (similarities >= lowest - slack).scatter(1, positives, False)


def masked_logsumexp(values: Tensor, mask: Tensor) -> Tensor:
    """Return the logsumexp of each row over a mask; 0 without gradient for a row whose mask is False throughout.

    Args:
        values: ``(rows, keys)``.
        mask: boolean ``(rows, keys)``.

    >>> masked_logsumexp(torch.zeros(2, 3), torch.tensor([[True, True, False], [False] * 3]))
    tensor([0.6931, 0.0000])
    """
    some = mask.any(1)
    sums = values.masked_fill(~mask & some[:, None], -torch.inf).logsumexp(1)
    return torch.where(some, sums, 0)
