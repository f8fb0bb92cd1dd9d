"""SigLIP: the pairwise sigmoid loss for language-image pretraining."""

from __future__ import annotations

from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mmcl.errors import InputError
from mmcl.objectives.kernel import strips
from mmcl.objectives.kernel.factors import Factors, similarity_factors
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_paired, checks_values, poisoned
from mmcl.objectives.kernel.paired import paired_sigmoid, takes_pairs
from mmcl.objectives.kernel.pairs import Identity
from mmcl.objectives.kernel.products import Products, product_type, uses_kernels
from mmcl.objectives.kernel.tiles import empty_slopes, remember_slopes, scaled_slopes, tile_size, tiles
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import HIGHEST, Temperature, temperature_of


class SigLIPLoss(Objective):
    """Binary classification of each pair of rows as matching or not, with a sigmoid.

    With <., .> the cosine, z_ii = 1 and z_ij = -1 else::

        loss = -1/n sum_ij log sigmoid(z_ij (<a_i, b_j> / temperature + bias))

    Zhai et al. 2023 (arXiv 2303.15343), equation 1 and algorithm 1. The pairs are independent: without a softmax over
    rows, the loss does not use the InfoNCE kernel.

    Args:
        temperature: greater than 0; the paper learns 1 / temperature, initially 10.
        bias: a number or a scalar tensor; the paper learns it, initially -10.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; sides that are not paired; a
            bias that is not one finite number.
        TrainingError: a second derivative of a batch of several tiles.

    >>> round(SigLIPLoss(temperature=1.0, bias=0.0)(torch.eye(1), torch.eye(1)).item(), 4)  # log(1 + 1/e)
    0.3133
    """

    def __init__(
        self,
        temperature: Temperature = 0.1,
        bias: float | Tensor = -10.0,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        self.bias = bias

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the loss of paired rows, ``(batch, dim)`` each."""
        check_paired(a=a, b=b)
        product = product_type(a, b)
        with torch.autocast(a.device.type, enabled=False):
            if takes_pairs(a, b, block_size=self.block_size, gather=self.gather):
                scale = 1 / temperature_of(self.temperature)
                return paired_sigmoid(a, b, scale, self._bias(a, torch.float32), product) / len(a)
            factors = similarity_factors(a, b, self.temperature, product=product)
            bias = self._bias(factors.queries, factors.queries.dtype)
            own, total = Identity(len(a)), len(a)
            if self.gather:
                processes = Processes.of(factors.keys)
                factors, own, total = factors.gathered(processes), own.gathered(processes), processes.total
            return _pairwise_loss(factors, bias, own.offset, self.block_size) / max(total, 1)

    def _bias(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        if isinstance(self.bias, bool) or not isinstance(self.bias, Tensor | Real):
            raise InputError(f"bias is {self.bias!r}, expected one finite number, such as the paper's initial -10")
        # A number is not copied to the device, which would wait for it.
        if isinstance(self.bias, Tensor):
            bias = self.bias.to(like.device, dtype)
        else:
            bias = torch.full((), float(self.bias), dtype=dtype, device=like.device)
        valid = bias.abs() <= HIGHEST
        if bias.dim() or (checks_values(bias) and not bool(valid)):
            raise InputError(f"bias is {bias.tolist()}, expected one finite number, such as the paper's initial -10")
        return bias if checks_values(bias) else poisoned(bias, valid)


def _pairwise_loss(factors: Factors, bias: Tensor, diagonal: int, block_size: int | None) -> Tensor:
    """Return ``-sum_ij log sigmoid(z_ij x_ij)``, where x = <q_i, k_j> + bias and z_ij is 1 at j = diagonal + i."""
    queries, keys, products = factors
    automatic = block_size is None and uses_kernels(queries, keys)
    size = tile_size(queries.device, block_size)
    if not automatic and len(queries) <= size and len(keys) <= size:
        x = queries @ keys.T + bias
        return softplus(x).sum() - x.diagonal(diagonal).sum()
    wanted = [torch.is_grad_enabled() and side.requires_grad for side in (queries, keys, bias)]
    given = (None,) * 4 if products is None else products
    return torch.ops.mmcl.pairwise_sigmoid_loss(
        queries, keys, bias, *given, diagonal, 0 if automatic else size, wanted
    )[0]


# The gradient of a tile does not depend on other tiles, so that one pass computes loss and gradient. A torch.library
# operator is one node for autograd and torch.compile, independent of the number of tiles.
torch.library.define(
    "mmcl::pairwise_sigmoid_loss",
    "(Tensor queries, Tensor keys, Tensor bias, Tensor? half_queries, Tensor? half_keys, Tensor? query_scale, "
    "Tensor? key_scale, int diagonal, int size, bool[] wanted) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
)


@torch.library.impl("mmcl::pairwise_sigmoid_loss", "CompositeExplicitAutograd")
def _forward(queries, keys, bias, half_queries, half_keys, query_scale, key_scale, *rest):  # type: ignore[no-untyped-def]
    diagonal, size, wanted = rest
    if uses_kernels(queries, keys):
        half = (half_queries, half_keys, query_scale, key_scale)
        products = Products(queries, keys) if half_queries is None else Products(*half)
        return strips.sigmoid(products, bias, diagonal, size, wanted)
    total = torch.zeros_like(bias)
    of_queries, of_keys, of_bias = (
        torch.zeros_like(one) if needed else one.new_empty(0)
        for one, needed in zip((queries, keys, bias), wanted, strict=True)
    )
    scratch = queries.new_empty(min(size, len(queries)) * min(size, len(keys)))
    # Logits beyond 80 are near the overflow of exp in float32; a norm that overflows is steep as well.
    steep = not checks_values(bias) or not bool(_highest_norm(queries) * _highest_norm(keys) + bias.abs() <= 80)
    with torch.autocast(queries.device.type, enabled=False):
        for row, column, tile in tiles(queries, keys, None, size):
            # log sigmoid(-x) = -softplus(x) for all pairs. For matching pairs, log sigmoid(x) = x - softplus(x).
            matching = _diagonal(tile.add_(bias), diagonal + row.start - column.start)
            total -= matching.sum()
            total += _softplus_to_sigmoid(tile, scratch[: tile.numel()].view_as(tile), steep)
            matching.sub_(1)
            if wanted[0]:
                of_queries[row].addmm_(tile, keys[column])
            if wanted[1]:
                of_keys[column].addmm_(tile.T, queries[row])
            if wanted[2]:
                of_bias += tile.sum()
    return total, of_queries, of_keys, of_bias


def _highest_norm(rows: Tensor) -> Tensor:
    return rows.norm(dim=1).amax() if len(rows) else rows.new_zeros(())


def _softplus_to_sigmoid(x: Tensor, scratch: Tensor, steep: bool) -> Tensor:
    """Return the sum of log(1 + exp(x)), and overwrite x with sigmoid(x), computed from the same exponential."""
    if steep:
        total = softplus(x).sum()
        x.sigmoid_()
        return total
    total = torch.log1p(x.exp_(), out=scratch).sum()
    x.div_(torch.add(x, 1, out=scratch))
    return total


def _diagonal(tile: Tensor, offset: int) -> Tensor:
    """Return a view of a diagonal, empty if it lies outside the tile."""
    return tile.diagonal(offset) if -tile.shape[0] < offset < tile.shape[1] else tile.new_empty(0)


@torch.library.register_fake("mmcl::pairwise_sigmoid_loss")
def _(queries, keys, bias, *rest):  # type: ignore[no-untyped-def]
    return empty_slopes(bias, (queries, keys, bias), rest[-1])


def _differentiate(ctx: Any, gradient: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    return *scaled_slopes(ctx, gradient), *[None] * 7


torch.library.register_autograd("mmcl::pairwise_sigmoid_loss", _differentiate, setup_context=remember_slopes)
