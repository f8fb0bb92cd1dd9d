"""The one function that every contrastive objective is made of."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmcl.errors import ConfigError, ShapeError
from mmcl.objectives.kernel.base import Dense, Pairs
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_features, check_finite, precise, refuse_overflow
from mmcl.objectives.kernel.logsumexp import held_similarities, pairwise_logsumexp
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.temperature import Temperature, temperature_of


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
    """Compare each query with all keys, and pull it towards those that have weight.

    With s_ij = <q_i, k_j> / temperature, weights W >= 0 and a denominator N::

        loss_i = c_i log sum_k N_ik exp(s_ik) - sum_j W_ij s_ij,    c_i = sum_j W_ij

    and the result is the mean over the rows that have weight. A row without weight, or compared with nothing, counts 0
    and keeps its gradient path; without any other row the result is 0. Entries of W may lie outside N. Half precision
    is computed in float32, under autocast too.

    Large batches are computed a tile of similarities at a time, which holds O(batch x dim + block_size^2) numbers and
    gives the same value and gradient. Queries contrasted with themselves, handed over as one and the same tensor, need
    half of the similarities.

    Args:
        queries: ``(queries, dim)``.
        keys: ``(keys, dim)``.
        weights: W, as :mod:`~mmcl.objectives.kernel.pairs` or as a tensor ``(queries, keys)``, boolean or non-negative.
        denominator: N, which keys a query is compared with, likewise; None for all. It gets no gradient.
        temperature: greater than 0: a number, a tensor of no dimensions, a module that returns one, or one number for
            each query, ``(queries,)``.
        normalize: scale queries and keys to unit length first.
        normalize_rows: scale each row of W to sum 1; False keeps the row's mass as the factor of its logsumexp.
        coefficient: c, ``(queries,)``, where it is not the row's mass; rows count where it or the mass is not 0.
        extra_keys: ``(queries, extra, dim)``: further keys that only this query is compared with.
        block_size: rows and columns of a tile; None chooses; as many as there are rows or more holds all at once.
        gather: compare with the keys of all processes of ``torch.distributed``. The sum of what the processes return
            is the loss of the joined batch, and so is the gradient; DistributedDataParallel takes the mean over
            processes: multiply the loss by their number there. A tensor of weights then has columns for all keys.
        reduction: ``"mean"`` over the rows that have weight, or ``"none"``: the loss of each query, ``(queries,)``.

    Raises:
        ShapeError: the shapes do not fit together.
        InputError: features that are not finite or no floating point, weights that are negative or all zero, a
            temperature or block size that cannot be; without ``normalize``, features whose products overflow.
        ConfigError: gather without a process group, or an unknown reduction.
        TrainingError: a second derivative of a batch of several tiles.

    >>> queries, keys = torch.eye(2), torch.eye(2)
    >>> round(weighted_info_nce(queries, keys, torch.eye(2), temperature=1.0).item(), 4)  # log(e + 1) - 1
    0.3133
    """
    check_features(queries=queries, keys=keys)
    if reduction not in ("mean", "none"):
        raise ConfigError(f"reduction is {reduction!r}, expected 'mean' or 'none'")
    pairs = _pairs("weights", weights)
    compared = denominator if denominator is None else _pairs("denominator", denominator)
    with torch.autocast(queries.device.type, enabled=False):
        q, k = _factors(queries, keys, temperature, normalize, alike=queries is keys and extra_keys is None)
        processes = Processes.of(k) if gather else None
        if processes:
            k, pairs = processes.gather(k), pairs.gathered(processes)
            compared = None if compared is None else compared.gathered(processes)
        for name, given in (("weights", pairs), ("denominator", compared)):
            if given is not None and given.shape != (len(q), len(k)):
                raise ShapeError(f"{name} has shape {given.shape}, expected (queries, keys) = {(len(q), len(k))}")
        held = held_similarities(q, k, block_size)
        sums, _, own_dots = pairwise_logsumexp(
            q, k, compared, diagonal=pairs.diagonal, block_size=block_size, similarities=held
        )
        dots = own_dots if pairs.diagonal is not None else pairs.row_dots(q, k, held)
        if extra_keys is not None:
            sums = torch.logaddexp(sums, _extra(q, extra_keys, normalize).logsumexp(1))
        mass = pairs.row_sums(q)
        if coefficient is not None:
            if coefficient.shape != mass.shape:
                raise ShapeError(f"coefficient has shape {tuple(coefficient.shape)}, expected ({len(q)},)")
            if coefficient.is_floating_point():
                check_finite(coefficient=coefficient)
        scale = _reciprocal(mass) if normalize_rows else torch.ones_like(mass)
        factor = mass * scale if coefficient is None else coefficient.to(mass.dtype)
        counts = ((mass != 0) | (factor != 0)) & ~sums.isneginf()
        sums = torch.where(counts, sums, 0)
        if reduction == "none":
            loss = factor * sums - torch.where(counts, scale, 0) * dots
        else:
            total = factor @ sums - torch.where(counts, scale, 0) @ dots
            rows = counts.sum()
            loss = total / (processes.stack(rows).sum() if processes else rows).clamp(min=1)
        return loss if normalize else refuse_overflow(loss, "features that are not normalized")


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
    """Return :func:`weighted_info_nce` of the queries among the keys, and of the keys among the queries, in one sweep.

    Arguments are as there, and all pairs are compared; here they are each time of shape ``(queries, keys)``, so that
    the weights of ``backward``, with which a query pulls a key, are normalised along their columns.

    Args:
        forward: how much each key pulls a query.
        backward: how much each query pulls a key.
        skip_empty: take the means over the rows that have weight; False: over all rows.

    >>> from mmcl.objectives.kernel.pairs import Identity
    >>> forward, backward = two_way_info_nce(torch.eye(2), torch.eye(2), Identity(2), Identity(2), temperature=1.0)
    >>> round(forward.item(), 4), round(backward.item(), 4)
    (0.3133, 0.3133)
    """
    check_features(queries=queries, keys=keys)
    with torch.autocast(queries.device.type, enabled=False):
        q, k = _factors(queries, keys, temperature, True, alike=False)
        processes = Processes.of(k) if gather else None
        if processes:
            k, forward, backward = processes.gather(k), forward.gathered(processes), backward.gathered(processes)
        for name, given in (("forward", forward), ("backward", backward)):
            if given.shape != (len(q), len(k)):
                raise ShapeError(f"{name} weights have shape {given.shape}, expected {(len(q), len(k))}")
        diagonal = backward.diagonal if forward.diagonal is None else forward.diagonal
        held = held_similarities(q, k, block_size)
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
            # What a process has of a key's sum is over its own queries; each process then counts its own keys.
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
    """Return the log-denominator of each query on its own, ``log sum_k N_ik exp(s_ik)``, ``(queries,)``.

    Arguments and errors are those of :func:`weighted_info_nce`. A query that is compared with nothing has minus
    infinity, and gradient 0.

    >>> log_denominators(torch.eye(2), torch.eye(2), temperature=1.0).exp()  # e + 1
    tensor([3.7183, 3.7183])
    """
    check_features(queries=queries, keys=keys)
    compared = denominator if denominator is None else _pairs("denominator", denominator)
    with torch.autocast(queries.device.type, enabled=False):
        q, k = _factors(queries, keys, temperature, normalize, alike=queries is keys)
        if gather:
            processes = Processes.of(k)
            k, compared = processes.gather(k), None if compared is None else compared.gathered(processes)
        if compared is not None and compared.shape != (len(q), len(k)):
            raise ShapeError(f"denominator has shape {compared.shape}, expected (queries, keys) = {(len(q), len(k))}")
        return pairwise_logsumexp(q, k, compared, block_size=block_size)[0]


def _pairs(name: str, given: Pairs | Tensor) -> Pairs:
    return given if isinstance(given, Pairs) else Dense(given, name)


def _factors(
    queries: Tensor, keys: Tensor, temperature: Temperature, normalize: bool, alike: bool
) -> tuple[Tensor, Tensor]:
    """Return two tensors whose products are the similarities; one and the same where the sides are alike."""
    value = temperature_of(temperature, rows=len(queries))
    q, k = precise(queries, keys)
    scale = 1 / value
    if isinstance(scale, Tensor):
        scale = scale.to(q)
        alike, scale = alike and scale.dim() == 0, scale[:, None] if scale.dim() else scale
    if alike:
        q = unit(q, scale**0.5) if normalize else q * scale**0.5
        return q, q
    return (unit(q, scale), unit(k)) if normalize else (q * scale, k)


def _extra(queries: Tensor, extra_keys: Tensor, normalize: bool) -> Tensor:
    check_finite(extra_keys=extra_keys)
    if extra_keys.dim() != 3 or (extra_keys.shape[0], extra_keys.shape[2]) != queries.shape:
        raise ShapeError(
            f"extra_keys has shape {tuple(extra_keys.shape)}, expected (queries, extra, dim) with "
            f"{len(queries)} queries and dim {queries.shape[1]}"
        )
    (flat,) = precise(extra_keys.flatten(0, 1))
    extra = (unit(flat) if normalize else flat).to(queries.dtype).view_as(extra_keys)
    return torch.einsum("qd,qed->qe", queries, extra)


def _reciprocal(mass: Tensor) -> Tensor:
    there = mass.abs() >= torch.finfo(mass.dtype).tiny  # of less, the reciprocal may be infinite
    return torch.where(there, 1 / torch.where(there, mass, 1), 0)
