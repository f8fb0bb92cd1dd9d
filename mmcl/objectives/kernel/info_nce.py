"""weighted_info_nce: the weighted InfoNCE loss that all contrastive objectives are defined with.

Large batches are computed in tiles of the similarity matrix. This holds O(batch x dim + block_size^2) numbers, and
gives the same value and gradient as the full matrix. If queries and keys are the same tensor, half of the similarities
suffice.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.errors import ConfigError, ShapeError
from mmcl.objectives.kernel.base import Dense, Pairs
from mmcl.objectives.kernel.batch import Batch, reciprocal
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_features, check_finite_tensors, precise, refuse_overflow
from mmcl.objectives.kernel.logsumexp import dense_similarities, is_symmetric, pairwise_logsumexp
from mmcl.objectives.kernel.pairs import Identity
from mmcl.objectives.kernel.products import product_type, uses_kernels
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
    its gradient path; if all rows are such, the result is 0. W may be nonzero where N is zero. Half
    precision is computed in float32; on a GPU, products keep the features' precision or have autocast's.

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
    product = product_type(queries, keys)
    with torch.autocast(queries.device.type, enabled=False):
        alike = queries is keys and extra_keys is None
        batch = Batch.of(queries, keys, pairs, temperature, product, normalize=normalize, alike=alike, gather=gather)
        extra = None if extra_keys is None else _extra(batch.factors.queries, extra_keys, normalize)
        loss = _RowTerms.of(batch, extra, normalize_rows, coefficient, block_size).reduced(reduction, batch.processes)
        return loss if normalize else refuse_overflow(loss, "features that are not normalized")


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
    pairs, product = _optional("denominator", denominator), product_type(queries, keys)
    with torch.autocast(queries.device.type, enabled=False):
        alike = queries is keys
        batch = Batch.of(queries, keys, pairs, temperature, product, normalize=normalize, alike=alike, gather=gather)
        (q, k, products), compared = batch.factors, batch.pairs.get("denominator")
        return pairwise_logsumexp(q, k, compared, block_size=block_size, products=products)[0]


class _RowTerms(NamedTuple):
    """The terms of each row's loss, ``factor * logsumexp - scale * dot``, each ``(queries,)``."""

    sums: Tensor  # logsumexp over the denominator
    dots: Tensor  # weighted sum of similarities
    factor: Tensor | None = None  # None for 1, as are the next two
    scale: Tensor | None = None
    counts: Tensor | None = None  # whether the row takes part in the mean

    @classmethod
    def of(
        cls,
        batch: Batch,
        extra: Tensor | None,
        normalize_rows: bool,
        coefficient: Tensor | None,
        block_size: int | None,
    ) -> _RowTerms:
        (q, k, products), weights, compared = batch.factors, batch.pairs["weights"], batch.pairs.get("denominator")
        held = dense_similarities(q, k, block_size)
        own = _own_keys(batch, held)
        sums, _, own_dots = pairwise_logsumexp(
            q, k, compared, diagonal=own, block_size=block_size, similarities=held, products=products
        )
        dots = weights.row_dots(q, k, held) if own is None else own_dots
        if extra is not None:
            sums = torch.logaddexp(sums, extra.logsumexp(1))
        simple = own is not None and coefficient is None and not batch.processes and _never_empty(compared)
        if simple and uses_kernels(q):
            return cls(sums, dots)
        mass = weights.row_sums(q)
        scale = reciprocal(mass) if normalize_rows else torch.ones_like(mass)
        factor = mass * scale if coefficient is None else _checked_coefficient(coefficient, mass)
        counts = ((mass != 0) | (factor != 0)) & ~sums.isneginf()
        return cls(torch.where(counts, sums, 0), dots, factor, torch.where(counts, scale, 0), counts)

    def reduced(self, reduction: Literal["mean", "none"], processes: Processes | None) -> Tensor:
        if reduction not in ("mean", "none"):
            raise ConfigError(f"reduction is {reduction!r}, expected 'mean' or 'none'")
        if self.factor is None or self.scale is None or self.counts is None:
            losses = self.sums - self.dots
            return losses if reduction == "none" else losses.mean()
        if reduction == "none":
            return self.factor * self.sums - self.scale * self.dots
        rows = self.counts.sum()
        rows = processes.stack(rows).sum() if processes else rows
        return (self.factor @ self.sums - self.scale @ self.dots) / rows.clamp(min=1)


def _own_keys(batch: Batch, held: Tensor | None) -> int | None:
    """Return the offset of the one positive of each query if its similarity comes with the logsumexp, else None."""
    (q, k, _), weights, compared = batch.factors, batch.pairs["weights"], batch.pairs.get("denominator")
    if isinstance(weights, Identity) and weights.mirrored and q is k and held is None and uses_kernels(q):
        return weights.shift if is_symmetric(compared) else None
    return weights.diagonal


def _never_empty(compared: Pairs | None) -> bool:
    """Whether each query is compared with a key."""
    return compared is None or (isinstance(compared, Identity) and compared.differ and compared.count > 1)


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
