"""The logsumexp over all pairs, in both directions: the part of an objective that costs, dense or a tile at a time."""

import torch
from torch import Tensor

from mmcl.errors import TrainingError
from mmcl.objectives.pairs import Identity, Pairs, SameLabel
from mmcl.objectives.tiles import Compared, log_weights, tile_size, tiles

# Annotations here are not postponed: torch reads an operator's schema from them.


def pairwise_logsumexp(
    queries: Tensor,
    keys: Tensor,
    compared: Pairs | Tensor | None = None,
    *,
    columns: bool = False,
    block_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return ``log sum_k N_ik exp(<q_i, k_k>)`` for each query and, if asked, the same over queries for each key.

    A query that is compared with nothing has minus infinity, and gradient 0. Where queries and keys are one and the
    same tensor and N is symmetric, each similarity is computed once for its two pairs.

    Dense, all similarities are held. Blockwise, a tile of them at a time: forward keeps a running maximum and sum, as
    in Milakov and Gimelshein, arXiv 1805.02867, and backward computes the tiles again. Both give the same; products
    with ``block_size`` rows and columns a tile hold O(batch x dim + block_size^2) numbers.

    Args:
        queries: ``(queries, dim)``, float32 or float64.
        keys: ``(keys, dim)``.
        compared: N, as pairs of which each counts or not, or a boolean or non-negative matrix ``(queries, keys)``; no
            gradient. None for all pairs. Pairs other than Identity and SameLabel are written out in full.
        columns: also return the logsumexp of each key.
        block_size: rows and columns of a tile; None for dense where that is as quick, and else what suits the device;
            as many as there are rows or more is dense.

    Returns:
        ``(queries,)``, and ``(keys,)`` or, if not asked for, ``(0,)``.

    Raises:
        InputError: block_size is below 1.
        TrainingError: a second derivative is asked for, blockwise.

    >>> rows, _ = pairwise_logsumexp(torch.zeros(2, 3), torch.zeros(4, 3))
    >>> rows.exp()
    tensor([4., 4.])
    """
    size = tile_size(queries.device, block_size)
    rule = _rule(compared, queries)
    if len(queries) <= size and len(keys) <= size:
        return _dense(queries, keys, rule, columns)
    of_itself = queries is keys and not columns and _symmetric(compared)
    return torch.ops.mmcl.pairwise_logsumexp(
        queries, None if of_itself else keys, rule.labels, rule.key_labels, rule.differ, rule.matrix, columns, size
    )


def _rule(compared: Pairs | Tensor | None, like: Tensor) -> Compared:
    if compared is None:
        return Compared()
    if isinstance(compared, Identity):
        compared = compared.labelled(like.device)
    if isinstance(compared, SameLabel) and not compared.exclude_self:
        keys = compared.of_keys
        return Compared(compared.labels, keys, torch.as_tensor(compared.differ, device=keys.device).expand(len(keys)))
    return Compared(matrix=(compared.dense(like) if isinstance(compared, Pairs) else compared).detach())


def _symmetric(compared: Pairs | Tensor | None) -> bool:
    if isinstance(compared, SameLabel):
        return compared.key_labels is None and isinstance(compared.differ, bool) and not compared.exclude_self
    return compared is None or isinstance(compared, Identity)


def _dense(queries: Tensor, keys: Tensor, rule: Compared, columns: bool) -> tuple[Tensor, Tensor]:
    similarities = queries @ keys.T
    if rule.labels is not None and rule.key_labels is not None and rule.differ is not None:
        same = rule.labels[:, None] == rule.key_labels
        similarities = similarities.masked_fill(same == rule.differ, -torch.inf)
    elif rule.matrix is not None:
        similarities = similarities + log_weights(rule.matrix, similarities.dtype)
    elif similarities.numel():
        return similarities.logsumexp(1), similarities.logsumexp(0) if columns else queries.new_empty(0)
    return _safe(similarities, 1), _safe(similarities, 0) if columns else queries.new_empty(0)


def _safe(similarities: Tensor, dim: int) -> Tensor:
    """Logsumexp without the gradient 0 x infinity of a row that holds nothing but minus infinity."""
    if similarities.shape[dim] == 0:
        return similarities.sum(dim) - torch.inf
    nothing = torch.isneginf(similarities.detach().amax(dim, keepdim=True))
    sums = similarities.masked_fill(nothing, 0).logsumexp(dim)
    return sums.masked_fill(nothing.squeeze(dim), -torch.inf)


def _add_up(tile: Tensor, dim: int, highest: Tensor, total: Tensor, scratch: Tensor) -> None:
    """Take a tile into the running maximum and the sum of exponentials relative to it."""
    higher = torch.maximum(highest, tile.amax(dim))
    total.mul_(highest.sub_(higher).exp_())
    highest.copy_(higher)
    relative = torch.sub(tile, higher.unsqueeze(dim), out=scratch[: tile.numel()].view_as(tile))
    total.add_(relative.exp_().sum(dim))


@torch.library.custom_op("mmcl::pairwise_logsumexp", mutates_args=())
def _forward(
    queries: Tensor,
    keys: Tensor | None,
    labels: Tensor | None,
    key_labels: Tensor | None,
    differ: Tensor | None,
    matrix: Tensor | None,
    columns: bool,
    size: int,
) -> tuple[Tensor, Tensor]:
    count = len(queries) if keys is None else len(keys)
    lowest = torch.finfo(queries.dtype).min / 4  # not infinity, whose difference with itself is no number
    highest, total = queries.new_full((len(queries),), lowest), queries.new_zeros(len(queries))
    if keys is None:
        key_highest, key_total = highest, total  # right of the diagonal, a tile holds the pairs left of it as well
    else:
        key_highest = queries.new_full((count if columns else 0,), lowest)
        key_total = torch.zeros_like(key_highest)
    scratch = queries.new_empty(min(size, len(queries)) * min(size, count))
    with torch.autocast(queries.device.type, enabled=False):
        for row, column, tile in tiles(queries, keys, Compared(labels, key_labels, differ, matrix), size):
            _add_up(tile, 1, highest[row], total[row], scratch)
            if columns or (keys is None and row != column):
                _add_up(tile, 0, key_highest[column], key_total[column], scratch)
    rows = total.log_().add_(highest)
    return rows, queries.new_empty(0) if keys is None else key_total.log_().add_(key_highest)


@_forward.register_fake
def _(queries, keys, labels, key_labels, differ, matrix, columns, size):  # type: ignore[no-untyped-def]
    return queries.new_empty(len(queries)), queries.new_empty(len(keys) if columns else 0)


@torch.library.custom_op("mmcl::pairwise_logsumexp_backward", mutates_args=())
def _backward(
    row_gradient: Tensor,
    column_gradient: Tensor,
    rows: Tensor,
    column_sums: Tensor,
    queries: Tensor,
    keys: Tensor | None,
    labels: Tensor | None,
    key_labels: Tensor | None,
    differ: Tensor | None,
    matrix: Tensor | None,
    columns: bool,
    size: int,
    wanted: list[bool],
) -> tuple[Tensor, Tensor]:
    against = queries if keys is None else keys
    query_gradient = torch.zeros_like(queries) if wanted[0] else queries.new_empty(0)
    key_gradient = torch.zeros_like(against) if keys is not None and wanted[1] else queries.new_empty(0)
    if keys is None:
        columns, column_sums, column_gradient, key_gradient = True, rows, row_gradient, query_gradient
    # A query compared with nothing: exp(-inf - 0) is the 0 that it needs.
    rows, column_sums = rows.masked_fill(rows.isneginf(), 0), column_sums.masked_fill(column_sums.isneginf(), 0)
    scratch = queries.new_empty(min(size, len(queries)) * min(size, len(against)))
    with torch.autocast(queries.device.type, enabled=False):
        for row, column, tile in tiles(queries, keys, Compared(labels, key_labels, differ, matrix), size):
            slope = torch.sub(tile, rows[row, None], out=scratch[: tile.numel()].view_as(tile))
            slope.exp_().mul_(row_gradient[row, None])
            if columns:
                slope.add_(tile.sub_(column_sums[column]).exp_().mul_(column_gradient[column]))
            if wanted[0]:
                query_gradient[row].addmm_(slope, against[column])
            if (keys is None and row != column) or (keys is not None and wanted[1]):
                key_gradient[column].addmm_(slope.T, queries[row])
    return query_gradient, queries.new_empty(0) if keys is None else key_gradient


@_backward.register_fake
def _(row_gradient, column_gradient, rows, column_sums, queries, keys, *rest):  # type: ignore[no-untyped-def]
    wanted = rest[-1]
    of_keys = torch.empty_like(keys) if keys is not None and wanted[1] else queries.new_empty(0)
    return torch.empty_like(queries) if wanted[0] else queries.new_empty(0), of_keys


def _remember(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, ctx.columns, ctx.size = inputs
    ctx.save_for_backward(*output, *tensors)


def _differentiate(ctx, row_gradient, column_gradient):  # type: ignore[no-untyped-def]
    rows, column_sums, queries, keys, *rule = ctx.saved_tensors
    wanted = list(ctx.needs_input_grad[:2])
    of_queries, of_keys = torch.ops.mmcl.pairwise_logsumexp_backward(
        row_gradient, column_gradient, rows, column_sums, queries, keys, *rule, ctx.columns, ctx.size, wanted
    )
    return of_queries if wanted[0] else None, of_keys if wanted[1] else None, None, None, None, None, None, None


def _refuse(ctx, *gradients):  # type: ignore[no-untyped-def]
    raise TrainingError(
        "blockwise objectives have no second derivative: make block_size as large as the batch, which is the dense path"
    )


_forward.register_autograd(_differentiate, setup_context=_remember)
_backward.register_autograd(_refuse, setup_context=lambda ctx, inputs, output: None)
