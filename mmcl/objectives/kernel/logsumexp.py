"""pairwise_logsumexp: logsumexp over the rows and columns of a similarity matrix, dense or in tiles."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmcl.objectives.kernel import strips
from mmcl.objectives.kernel.base import Pairs
from mmcl.objectives.kernel.pairs import Identity, SameLabel
from mmcl.objectives.kernel.products import Products, uses_kernels
from mmcl.objectives.kernel.tiles import Compared, log_weights, refuse_second_derivative, tile_size, tiles


def pairwise_logsumexp(
    queries: Tensor,
    keys: Tensor,
    compared: Pairs | Tensor | None = None,
    *,
    columns: bool = False,
    diagonal: int | None = None,
    block_size: int | None = None,
    similarities: Tensor | None = None,
    products: Products | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``log sum_k N_ik exp(<q_i, k_k>)`` for each query and, optionally, the same over queries for each key.

    A query without compared keys has minus infinity, and gradient 0. If queries and keys are the same tensor and N is
    symmetric, each similarity is computed once for its two pairs.

    The dense path stores all similarities. The blockwise path stores one tile, O(batch x dim + block_size^2) numbers.
    Its forward pass keeps a running maximum and sum, as in Milakov and Gimelshein, arXiv 1805.02867. Its backward pass
    computes the tiles again. Both paths give the same result.

    Args:
        queries: ``(queries, dim)``, float32 or float64.
        keys: ``(keys, dim)``.
        compared: N, as pairs with entries 0 and 1, or as a boolean or non-negative matrix ``(queries, keys)``; without
            gradient. None for all pairs. Pairs other than Identity and SameLabel are stored in full.
        columns: also return the logsumexp of each key.
        diagonal: also return ``<q_i, k_(diagonal + i)>``, which needs no further tensor of the size of the features
            here. With the kernels, it may be half of the rows if queries and keys are the same: two stacked views.
        block_size: rows and columns of a tile. None for dense if that is as fast, else a size that suits the device. A
            size of at least the numbers of rows is dense.
        similarities: result of :func:`dense_similarities`, if it is needed elsewhere as well.
        products: queries and keys in half precision, on a GPU; None to multiply them as they are.

    Returns:
        Logsumexp of the queries ``(queries,)``, of the keys ``(keys,)``, and the diagonal ``(queries,)``. The latter
        two are ``(0,)`` if not requested.

    Raises:
        InputError: ``block_size`` is below 1.
        TrainingError: a second derivative is requested on the blockwise path.

    >>> rows, _, _ = pairwise_logsumexp(torch.zeros(2, 3), torch.zeros(4, 3))
    >>> rows.exp()
    tensor([4., 4.])
    """
    if isinstance(compared, Identity):
        compared = compared.labelled(queries.device)
    rule = _rule(compared, queries)
    if _is_dense(queries, keys, block_size):
        own = queries.new_empty(0) if diagonal is None else _own(queries, keys, diagonal)
        return *_dense(queries @ keys.T if similarities is None else similarities, rule, columns), own
    kernels = uses_kernels(queries, keys)
    size = 0 if kernels and block_size is None else tile_size(queries.device, block_size)  # 0: as much as fits
    mirrored = diagonal is None or (kernels and 2 * diagonal == len(queries))
    of_itself = queries is keys and not columns and mirrored and is_symmetric(compared)
    against, place = None if of_itself else keys, -1 if diagonal is None else diagonal
    given = (None,) * 4 if products is None else products
    return torch.ops.mmcl.pairwise_logsumexp(
        queries, against, rule.labels, rule.key_labels, rule.differ, rule.matrix, *given, columns, place, size
    )


def dense_similarities(queries: Tensor, keys: Tensor, block_size: int | None = None) -> Tensor | None:
    """Return ``queries keys^T`` if it fits into one tile, else None.

    >>> dense_similarities(torch.eye(2), torch.eye(2), block_size=1) is None
    True
    """
    return queries @ keys.T if _is_dense(queries, keys, block_size) else None


def _is_dense(queries: Tensor, keys: Tensor, block_size: int | None) -> bool:
    """Whether similarities are stored in full; the kernels do so only if ``block_size`` asks for it."""
    size = tile_size(queries.device, block_size)
    if block_size is None and uses_kernels(queries, keys):
        return False
    return max(len(queries), len(keys)) <= size


def _own(queries: Tensor, keys: Tensor, diagonal: int) -> Tensor:
    return torch.einsum("qd,qd->q", queries, keys[diagonal : diagonal + len(queries)])


def _rule(compared: Pairs | Tensor | None, like: Tensor) -> Compared:
    if compared is None:
        return Compared()
    if isinstance(compared, SameLabel) and not compared.exclude_self:
        keys = compared.of_keys
        return Compared(compared.labels, keys, compared.differs(keys.device))
    return Compared(matrix=(compared.dense(like) if isinstance(compared, Pairs) else compared).detach())


def is_symmetric(compared: Pairs | Tensor | None) -> bool:
    """Whether N is known to be symmetric, for queries that are also the keys.

    >>> is_symmetric(None), is_symmetric(SameLabel(torch.tensor([0, 1]))), is_symmetric(torch.ones(2, 2))
    (True, True, False)
    """
    if isinstance(compared, SameLabel):
        return compared.key_labels is None and isinstance(compared.differ, bool) and not compared.exclude_self
    return compared is None or (isinstance(compared, Identity) and compared.keys is None and not compared.shift)


def _dense(similarities: Tensor, rule: Compared, columns: bool) -> tuple[Tensor, Tensor]:
    if rule.labels is not None and rule.key_labels is not None and rule.differ is not None:
        same = rule.labels[:, None] == rule.key_labels
        similarities = similarities.masked_fill(same == rule.differ, -torch.inf)
    elif rule.matrix is not None:
        similarities = similarities + log_weights(rule.matrix, similarities.dtype)
    elif similarities.numel():
        return similarities.logsumexp(1), similarities.logsumexp(0) if columns else similarities.new_empty(0)
    return _safe(similarities, 1), _safe(similarities, 0) if columns else similarities.new_empty(0)


def _safe(similarities: Tensor, dim: int) -> Tensor:
    """Logsumexp with gradient 0 instead of NaN for rows that are all minus infinity."""
    if similarities.shape[dim] == 0:
        return similarities.sum(dim) - torch.inf
    nothing = torch.isneginf(similarities.detach().amax(dim, keepdim=True))
    sums = similarities.masked_fill(nothing, 0).logsumexp(dim)
    return sums.masked_fill(nothing.squeeze(dim), -torch.inf)


def _add_up(tile: Tensor, dim: int, highest: Tensor, total: Tensor, scratch: Tensor) -> None:
    """Update the running maximum and the sum of exponentials relative to it with a tile."""
    higher = torch.maximum(highest, tile.amax(dim))
    total.mul_(highest.sub_(higher).exp_())
    highest.copy_(higher)
    relative = torch.sub(tile, higher.unsqueeze(dim), out=scratch[: tile.numel()].view_as(tile))
    total.add_(relative.exp_().sum(dim))


# A torch.library operator is one node for autograd and torch.compile, independent of the number of tiles. (The
# decorator custom_op would do the same, but imports the compiler at the first call.)
_RULE = (
    "Tensor? labels, Tensor? key_labels, Tensor? differ, Tensor? matrix, "
    "Tensor? half_queries, Tensor? half_keys, Tensor? query_scale, Tensor? key_scale"
)
torch.library.define(
    "mmcl::pairwise_logsumexp",
    f"(Tensor queries, Tensor? keys, {_RULE}, bool columns, int diagonal, int size) -> (Tensor, Tensor, Tensor)",
)
torch.library.define(
    "mmcl::pairwise_logsumexp_backward",
    "(Tensor? row_gradient, Tensor? column_gradient, Tensor? own_gradient, Tensor rows, Tensor column_sums, "
    f"Tensor queries, Tensor? keys, {_RULE}, bool columns, int diagonal, int size, bool[] wanted) -> (Tensor, Tensor)",
)


@torch.library.impl("mmcl::pairwise_logsumexp", "CompositeExplicitAutograd")
def _forward(queries, keys, labels, key_labels, differ, matrix, *rest):  # type: ignore[no-untyped-def]
    *half, columns, diagonal, size = rest
    rule = Compared(labels, key_labels, differ, matrix)
    if uses_kernels(queries, queries if keys is None else keys):
        with torch.autocast(queries.device.type, enabled=False):
            return strips.logsumexp(_products(queries, keys, *half), rule, columns, diagonal, size)
    count = len(queries) if keys is None else len(keys)
    lowest = torch.finfo(queries.dtype).min / 4  # not infinity, because inf - inf is NaN
    highest, total = queries.new_full((len(queries),), lowest), queries.new_zeros(len(queries))
    if keys is None:
        key_highest, key_total = highest, total  # a tile right of the diagonal also stands for its transpose
    else:
        key_highest = queries.new_full((count if columns else 0,), lowest)
        key_total = torch.zeros_like(key_highest)
    scratch = queries.new_empty(min(size, len(queries)) * min(size, count))
    with torch.autocast(queries.device.type, enabled=False):
        for row, column, tile in tiles(queries, keys, rule, size):
            _add_up(tile, 1, highest[row], total[row], scratch)
            if columns or (keys is None and row != column):
                _add_up(tile, 0, key_highest[column], key_total[column], scratch)
    rows = total.log_().add_(highest)
    column_sums = queries.new_empty(0) if keys is None else key_total.log_().add_(key_highest)
    return rows, column_sums, queries.new_empty(0) if diagonal < 0 else _own(queries, keys, diagonal)


def _products(queries, keys, half_queries, half_keys, query_scale, key_scale):  # type: ignore[no-untyped-def]
    if half_queries is None:
        return Products(queries, keys)
    return Products(half_queries, None if keys is None else half_keys, query_scale, key_scale)


@torch.library.register_fake("mmcl::pairwise_logsumexp")
def _(queries, keys, labels, key_labels, differ, matrix, *rest):  # type: ignore[no-untyped-def]
    *_, columns, diagonal, _ = rest
    count = len(queries)
    sizes = (count, len(keys) if columns else 0, 0 if diagonal < 0 else count)
    return tuple(queries.new_empty(size) for size in sizes)


@torch.library.impl("mmcl::pairwise_logsumexp_backward", "CompositeExplicitAutograd")
def _backward(row_gradient, column_gradient, own_gradient, rows, column_sums, *rest):  # type: ignore[no-untyped-def]
    queries, keys, *middle, columns, diagonal, size, wanted = rest
    rule, half = Compared(*middle[:4]), middle[4:]
    if uses_kernels(queries, queries if keys is None else keys):
        given = (row_gradient, column_gradient, own_gradient)
        with torch.autocast(queries.device.type, enabled=False):
            return strips.logsumexp_backward(
                _products(queries, keys, *half), rule, (rows, column_sums), given, diagonal, size, wanted
            )
    against = queries if keys is None else keys
    query_gradient = torch.zeros_like(queries) if wanted[0] else queries.new_empty(0)
    key_gradient = torch.zeros_like(against) if keys is not None and wanted[1] else queries.new_empty(0)
    row_gradient = torch.zeros_like(rows) if row_gradient is None else row_gradient
    column_gradient = torch.zeros_like(column_sums) if column_gradient is None else column_gradient
    if keys is None:
        columns, column_sums, column_gradient, key_gradient = True, rows, row_gradient, query_gradient
    # For a query without compared keys, exp(-inf - 0) = 0 is the correct gradient.
    rows, column_sums = rows.masked_fill(rows.isneginf(), 0), column_sums.masked_fill(column_sums.isneginf(), 0)
    scratch = queries.new_empty(min(size, len(queries)) * min(size, len(against)))
    with torch.autocast(queries.device.type, enabled=False):
        for row, column, tile in tiles(queries, keys, rule, size):
            slope = torch.sub(tile, rows[row, None], out=scratch[: tile.numel()].view_as(tile))
            slope.exp_().mul_(row_gradient[row, None])
            if columns:
                slope.add_(tile.sub_(column_sums[column]).exp_().mul_(column_gradient[column]))
            if wanted[0]:
                query_gradient[row].addmm_(slope, against[column])
            if (keys is None and row != column) or (keys is not None and wanted[1]):
                key_gradient[column].addmm_(slope.T, queries[row])
    if own_gradient is not None and diagonal >= 0:
        own = slice(diagonal, diagonal + len(queries))
        if wanted[0]:
            query_gradient.addcmul_(own_gradient[:, None], keys[own])
        if wanted[1]:
            key_gradient[own].addcmul_(own_gradient[:, None], queries)
    return query_gradient, queries.new_empty(0) if keys is None else key_gradient


@torch.library.register_fake("mmcl::pairwise_logsumexp_backward")
def _(row_gradient, column_gradient, own_gradient, rows, column_sums, *rest):  # type: ignore[no-untyped-def]
    queries, keys, *_, wanted = rest
    of_keys = torch.empty_like(keys) if keys is not None and wanted[1] else queries.new_empty(0)
    return torch.empty_like(queries) if wanted[0] else queries.new_empty(0), of_keys


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.columns, ctx.diagonal, ctx.size = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[:2], *tensors)


def _differentiate(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    refuse_second_derivative()
    wanted = list(ctx.needs_input_grad[:2])
    of_queries, of_keys = torch.ops.mmcl.pairwise_logsumexp_backward(
        *gradients, *ctx.saved_tensors, ctx.columns, ctx.diagonal, ctx.size, wanted
    )
    return of_queries if wanted[0] else None, of_keys if wanted[1] else None, *[None] * 11


torch.library.register_autograd("mmcl::pairwise_logsumexp", _differentiate, setup_context=_remember)
