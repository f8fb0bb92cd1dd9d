"""weighted_info_nce: the weighted InfoNCE loss that all contrastive objectives are defined with.

Large batches are computed in tiles of the similarity matrix. This holds O(batch x dim + block_size^2) numbers, and
gives the same value and gradient as the full matrix. If queries and keys are the same tensor, half of the similarities
suffice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmcl.arguments import takes_tensors
from mmcl.errors import ConfigError, ShapeError
from mmcl.objectives.kernel.base import Dense, Pairs
from mmcl.objectives.kernel.factors import similarity_factors
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_features, check_finite_tensors, precise, refuse_overflow
from mmcl.objectives.kernel.logsumexp import dense_similarities, pairwise_logsumexp
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.temperature import Temperature


@takes_tensors
def weighted_info_nce(
    queries: Tensor,
    keys: Tensor,
    weights: Pairs | Tensor,
    *,
    denominator: Pairs | Tensor | None = None,
    temperature: Temperature = 0.1,
    normalize: bool = True,
    normalize_rows: bool = True,
    coefficient: Tensor | None = None,
    extra_keys: Tensor | None = None,
    block_size: int | None = None,
    gather: bool = False,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Return the InfoNCE loss of each query against all keys, with weighted positives.

    With s_ij = <q_i, k_j> / temperature, weights W >= 0 and a denominator N::

        loss_i = c_i log sum_k N_ik exp(s_ik) - sum_j W_ij s_ij,    c_i = sum_j W_ij

    The result is the mean over rows that have weight. A row without weight or without compared keys counts 0 and keeps
    its gradient path; if all rows are such, the result is 0. W may be nonzero where N is zero. Half precision is
    computed in float32, also under autocast.

    Args:
        queries, keys: ``(queries, dim)`` and ``(keys, dim)``.
        weights: W, :mod:`~mmcl.objectives.kernel.pairs` or a tensor ``(queries, keys)``, boolean or non-negative.
        denominator: N, in the same forms; None for all keys. It gets no gradient.
        temperature: greater than 0: a number, a scalar tensor, a module that returns one, or ``(queries,)``.
        normalize: scale queries and keys to unit length.
        normalize_rows: scale each row of W to sum 1. False keeps its sum as the factor of the logsumexp.
        coefficient: c, ``(queries,)``, in place of the row sums. Rows with a nonzero c or sum count in the mean.
        extra_keys: additional keys of each query, ``(queries, extra, dim)``.
        block_size: rows and columns of a tile; None for automatic. A size of at least the batch is dense.
        gather: compare with the keys of all processes of ``torch.distributed``; a tensor of weights has their columns.
            Losses and gradients of the processes add up to those of the whole batch. DistributedDataParallel averages
            gradients: multiply the loss by the number of processes.
        reduction: ``"mean"`` over rows that have weight, or ``"none"`` for the loss of each query, ``(queries,)``.

    Raises:
        ShapeError: incompatible shapes.
        InputError: features not finite or not floating point, negative or all-zero weights, invalid temperature or
            block size; without ``normalize``, features with overflowing products.
        ConfigError: ``gather`` without a process group, or unknown reduction.
        TrainingError: a second derivative of a batch of several tiles.

    >>> queries, keys = torch.eye(2), torch.eye(2)
    >>> round(weighted_info_nce(queries, keys, torch.eye(2), temperature=1.0).item(), 4)  # log(e + 1) - 1
    0.3133
    """
    check_features(queries=queries, keys=keys)
    pairs = {"weights": _pairs("weights", weights)} | _optional("denominator", denominator)
    with torch.autocast(queries.device.type, enabled=False):
        alike = queries is keys and extra_keys is None
        batch = _Batch.of(queries, keys, pairs, temperature, normalize=normalize, alike=alike, gather=gather)
        extra = None if extra_keys is None else _extra(batch.queries, extra_keys, normalize)
        loss = _RowTerms.of(batch, extra, normalize_rows, coefficient, block_size).reduced(reduction, batch.processes)
        return loss if normalize else refuse_overflow(loss, "features that are not normalized")


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
    with torch.autocast(queries.device.type, enabled=False):
        given = {"forward": forward, "backward": backward}
        q, k, pairs, processes = _Batch.of(queries, keys, given, temperature, normalize=True, gather=gather)
        forward, backward = pairs["forward"], pairs["backward"]
        diagonal = backward.diagonal if forward.diagonal is None else forward.diagonal
        held = dense_similarities(q, k, block_size)
        sums, key_sums, own_dots = pairwise_logsumexp(
            q, k, columns=True, diagonal=diagonal, block_size=block_size, similarities=held
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
        scale, key_scale = (_reciprocal(m) if normalize_rows else torch.ones_like(m) for m in (mass, key_mass))
        totals = (
            (mass * scale) @ sums - scale @ dots,
            (key_mass * key_scale)[own] @ key_sums[own] - key_scale @ key_dots,
        )
        counts = torch.stack([(m != 0 if skip_empty else torch.ones_like(m)).sum() for m in (mass, key_mass[own])])
        counts = (processes.stack(counts).sum(0) if processes else counts).clamp(min=1)
        return totals[0] / counts[0], totals[1] / counts[1]


@takes_tensors
def log_denominators(
    queries: Tensor,
    keys: Tensor,
    denominator: Pairs | Tensor | None = None,
    *,
    temperature: Temperature = 0.1,
    normalize: bool = True,
    block_size: int | None = None,
    gather: bool = False,
) -> Tensor:
    """Return the log-denominator of each query, ``log sum_k N_ik exp(s_ik)``, ``(queries,)``.

    Arguments and errors are those of :func:`weighted_info_nce`. A query without compared keys has minus infinity, and
    gradient 0.

    >>> log_denominators(torch.eye(2), torch.eye(2), temperature=1.0).exp()  # e + 1
    tensor([3.7183, 3.7183])
    """
    check_features(queries=queries, keys=keys)
    pairs = _optional("denominator", denominator)
    with torch.autocast(queries.device.type, enabled=False):
        batch = _Batch.of(queries, keys, pairs, temperature, normalize=normalize, alike=queries is keys, gather=gather)
        return pairwise_logsumexp(batch.queries, batch.keys, batch.pairs.get("denominator"), block_size=block_size)[0]


class _Batch(NamedTuple):
    """Scaled queries of this process, keys of all processes, and the pairs between them."""

    queries: Tensor
    keys: Tensor
    pairs: Mapping[str, Pairs]
    processes: Processes | None

    @classmethod
    def of(
        cls,
        queries: Tensor,
        keys: Tensor,
        pairs: Mapping[str, Pairs],
        temperature: Temperature,
        *,
        normalize: bool,
        alike: bool = False,
        gather: bool,
    ) -> _Batch:
        q, k = similarity_factors(queries, keys, temperature, normalize=normalize, alike=alike, per_query=True)
        processes = Processes.of(k) if gather else None
        if processes:
            k, pairs = processes.gather(k), {name: each.gathered(processes) for name, each in pairs.items()}
        for name, each in pairs.items():
            if each.shape != (len(q), len(k)):
                raise ShapeError(f"{name} has shape {each.shape}, expected (queries, keys) = {(len(q), len(k))}")
        return cls(q, k, pairs, processes)


class _RowTerms(NamedTuple):
    """The terms of each row's loss, ``factor * logsumexp - scale * dot``, each ``(queries,)``."""

    factor: Tensor
    sums: Tensor  # logsumexp over the denominator
    scale: Tensor
    dots: Tensor  # weighted sum of similarities
    counts: Tensor  # whether the row takes part in the mean

    @classmethod
    def of(
        cls,
        batch: _Batch,
        extra: Tensor | None,
        normalize_rows: bool,
        coefficient: Tensor | None,
        block_size: int | None,
    ) -> _RowTerms:
        q, k, weights = batch.queries, batch.keys, batch.pairs["weights"]
        held = dense_similarities(q, k, block_size)
        sums, _, own_dots = pairwise_logsumexp(
            q,
            k,
            batch.pairs.get("denominator"),
            diagonal=weights.diagonal,
            block_size=block_size,
            similarities=held,
        )
        dots = own_dots if weights.diagonal is not None else weights.row_dots(q, k, held)
        if extra is not None:
            sums = torch.logaddexp(sums, extra.logsumexp(1))
        mass = weights.row_sums(q)
        scale = _reciprocal(mass) if normalize_rows else torch.ones_like(mass)
        factor = mass * scale if coefficient is None else _checked_coefficient(coefficient, mass)
        counts = ((mass != 0) | (factor != 0)) & ~sums.isneginf()
        return cls(factor, torch.where(counts, sums, 0), scale, dots, counts)

    def reduced(self, reduction: Literal["mean", "none"], processes: Processes | None) -> Tensor:
        scale = torch.where(self.counts, self.scale, 0)
        if reduction == "none":
            return self.factor * self.sums - scale * self.dots
        if reduction != "mean":
            raise ConfigError(f"reduction is {reduction!r}, expected 'mean' or 'none'")
        rows = self.counts.sum()
        rows = processes.stack(rows).sum() if processes else rows
        return (self.factor @ self.sums - scale @ self.dots) / rows.clamp(min=1)


def _pairs(name: str, given: Pairs | Tensor) -> Pairs:
    return given if isinstance(given, Pairs) else Dense(given, name)


def _optional(name: str, given: Pairs | Tensor | None) -> dict[str, Pairs]:
    return {} if given is None else {name: _pairs(name, given)}


def _checked_coefficient(coefficient: Tensor, mass: Tensor) -> Tensor:
    if coefficient.shape != mass.shape:
        raise ShapeError(f"coefficient has shape {tuple(coefficient.shape)}, expected ({len(mass)},)")
    if coefficient.is_floating_point():
        check_finite_tensors(coefficient=coefficient)
    return coefficient.to(mass.dtype)


def _extra(queries: Tensor, extra_keys: Tensor, normalize: bool) -> Tensor:
    """Return the similarities of each query with its additional keys, ``(queries, extra)``."""
    check_finite_tensors(extra_keys=extra_keys)
    if extra_keys.dim() != 3 or (extra_keys.shape[0], extra_keys.shape[2]) != queries.shape:
        raise ShapeError(
            f"extra_keys has shape {tuple(extra_keys.shape)}, expected (queries, extra, dim) with "
            f"{len(queries)} queries and dim {queries.shape[1]}"
        )
    (flat,) = precise(extra_keys.flatten(0, 1))
    extra = (unit(flat) if normalize else flat).to(queries.dtype).view_as(extra_keys)
    return torch.einsum("qd,qed->qe", queries, extra)


def _reciprocal(mass: Tensor) -> Tensor:
    """Return ``1 / mass``, and 0 for a mass that is zero or so small that the reciprocal could be infinite."""
    usable = mass.abs() >= torch.finfo(mass.dtype).tiny
    return torch.where(usable, 1 / torch.where(usable, mass, 1), 0)
