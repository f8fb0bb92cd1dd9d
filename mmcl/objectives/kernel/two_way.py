"""two_way_info_nce: the weighted InfoNCE loss of queries against keys and of keys against queries, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmcl.arguments import takes_tensors
from mmcl.objectives.kernel.base import Pairs
from mmcl.objectives.kernel.batch import Batch, reciprocal
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_features
from mmcl.objectives.kernel.logsumexp import dense_similarities, pairwise_logsumexp
from mmcl.objectives.kernel.paired import paired_info_nce, takes_pairs
from mmcl.objectives.kernel.products import product_type, uses_kernels
from mmcl.objectives.temperature import Temperature, temperature_of


@takes_tensors
def two_way_info_nce(
    queries: Tensor,
    keys: Tensor,
    forward: Pairs,
    backward: Pairs,
    *,
    temperature: Temperature = 0.1,
    normalize_rows: bool = True,
    skip_empty: bool = True,
    block_size: int | None = None,
    gather: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return :func:`weighted_info_nce` in both directions, queries to keys and keys to queries, in one pass.

    Other arguments are those of :func:`weighted_info_nce`; all pairs are compared. Both weights have shape
    ``(queries, keys)``, so that those of ``backward`` are normalized along columns.

    Args:
        forward: weight of each key for a query.
        backward: weight of each query for a key.
        skip_empty: take the means over rows that have weight; False for all rows.

    >>> from mmcl.objectives.kernel.pairs import Identity
    >>> forward, backward = two_way_info_nce(torch.eye(2), torch.eye(2), Identity(2), Identity(2), temperature=1.0)
    >>> round(forward.item(), 4), round(backward.item(), 4)
    (0.3133, 0.3133)
    """
    check_features(queries=queries, keys=keys)
    product = product_type(queries, keys)
    with torch.autocast(queries.device.type, enabled=False):
        single_node = takes_pairs(queries, keys, block_size=block_size, gather=gather)
        if single_node and _are_paired(queries, keys, forward, backward):
            return paired_info_nce(queries, keys, 1 / temperature_of(temperature, rows=len(queries)), product)
        given = {"forward": forward, "backward": backward}
        batch = Batch.of(queries, keys, given, temperature, product, normalize=True, gather=gather)
        (q, k, products), pairs, processes = batch
        forward, backward = pairs["forward"], pairs["backward"]
        diagonal = _diagonal(forward, backward, processes) if uses_kernels(q, k) else _own_diagonal(forward, backward)
        held = dense_similarities(q, k, block_size)
        sums, key_sums, own_dots = pairwise_logsumexp(
            q, k, columns=True, diagonal=diagonal, block_size=block_size, similarities=held, products=products
        )
        dots = own_dots if forward.diagonal is not None else forward.row_dots(q, k, held)
        if backward.diagonal is not None:
            key_dots = pad(own_dots, (backward.diagonal, len(k) - backward.diagonal - len(q)))
        else:
            key_dots = backward.column_dots(q, k, held)
        mass, key_mass = forward.row_sums(q), backward.column_sums(q)
        if processes:
            # A process has the sums of all keys over its own queries. After this, each process counts its own keys.
            key_sums = processes.stack(key_sums).logsumexp(0)
            key_mass = processes.stack(key_mass).sum(0)
        own = processes.own if processes else slice(None)
        scale, key_scale = (reciprocal(m) if normalize_rows else torch.ones_like(m) for m in (mass, key_mass))
        total = (mass * scale) @ sums - scale @ dots
        key_total = (key_mass * key_scale)[own] @ key_sums[own] - key_scale @ key_dots
        counts = torch.stack([(m != 0 if skip_empty else torch.ones_like(m)).sum() for m in (mass, key_mass[own])])
        counts = (processes.stack(counts).sum(0) if processes else counts).clamp(min=1)
        return total / counts[0], key_total / counts[1]


def _are_paired(queries: Tensor, keys: Tensor, *weights: Pairs) -> bool:
    """Whether row i of each side is the positive of row i of the other."""
    shape = (len(queries), len(queries))
    return len(keys) == len(queries) and all(each.diagonal == 0 and each.shape == shape for each in weights)


def _own_diagonal(forward: Pairs, backward: Pairs) -> int | None:
    return backward.diagonal if forward.diagonal is None else forward.diagonal


def _diagonal(forward: Pairs, backward: Pairs, processes: Processes | None) -> int:
    """Return the offset of the keys that are nearest to the queries: the kernels do not round their slopes."""
    found = _own_diagonal(forward, backward)
    return found if found is not None else processes.own.start if processes else 0
