"""SigLIP: each pair is a question of its own, whether the two belong together."""

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mmcl.errors import TrainingError
from mmcl.objectives.gather import Processes
from mmcl.objectives.inputs import Temperature, check_paired, precise, temperature_of, unit
from mmcl.objectives.pairs import Identity
from mmcl.objectives.tiles import tile_size, tiles

# Annotations here are not postponed: torch reads an operator's schema from them.


@dataclass(frozen=True)
class SigLIPLoss:
    """Tell pairs that belong together from all others, each by a logistic regression of its own.

    With <., .> the cosine, z_ii = 1 and z_ij = -1 else::

        loss = -1/n sum_ij log sigmoid(z_ij (<a_i, b_j> / temperature + bias))

    Zhai et al. 2023 (arXiv 2303.15343), equation 1 and algorithm 1. No row needs to know of another: it is no contrast
    by a softmax, and has a function of its own.

    Args:
        temperature: greater than 0; the paper learns 1 / temperature, from 10.
        bias: a number or a tensor of no dimensions; the paper learns it, from -10.
        block_size, gather: as of ``weighted_info_nce``.

    Raises:
        ShapeError, InputError, ConfigError: as of ``weighted_info_nce``; sides that are not paired.
        TrainingError: a second derivative of a batch of several tiles.

    >>> round(SigLIPLoss(temperature=1.0, bias=0.0)(torch.eye(1), torch.eye(1)).item(), 4)  # log(1 + 1/e)
    0.3133
    """

    temperature: Temperature = 0.1
    bias: float | Tensor = -10.0
    _: KW_ONLY
    block_size: int | None = None
    gather: bool = False

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the loss of paired rows ``(batch, dim)``."""
        check_paired(a=a, b=b)
        with torch.autocast(a.device.type, enabled=False):
            queries, keys = precise(a, b)
            queries, keys = unit(queries, 1 / temperature_of(self.temperature)), unit(keys)
            bias = torch.as_tensor(self.bias, dtype=queries.dtype, device=queries.device)
            own, total = Identity(len(a)), len(a)
            if self.gather:
                processes = Processes.of(keys)
                keys, own, total = processes.gather(keys), own.gathered(processes), processes.total
            # log sigmoid(-x) = -softplus(x) for all pairs; those that belong together have log sigmoid(x), x more.
            together = own.row_dots(queries, keys).sum() + len(a) * bias
            return (_pairwise_softplus(queries, keys, bias, self.block_size) - together) / max(total, 1)


def _pairwise_softplus(queries: Tensor, keys: Tensor, bias: Tensor, block_size: int | None) -> Tensor:
    """Return ``sum_ij log(1 + exp(<q_i, k_j> + bias))``."""
    size = tile_size(queries.device, block_size)
    if len(queries) <= size and len(keys) <= size:
        return softplus(queries @ keys.T + bias).sum()
    return torch.ops.mmcl.pairwise_softplus(queries, keys, bias, size)


@torch.library.custom_op("mmcl::pairwise_softplus", mutates_args=())
def _forward(queries: Tensor, keys: Tensor, bias: Tensor, size: int) -> Tensor:
    total = torch.zeros_like(bias)
    with torch.autocast(queries.device.type, enabled=False):
        for _, _, tile in tiles(queries, keys, None, size):
            total += softplus(tile.add_(bias)).sum()
    return total


@torch.library.custom_op("mmcl::pairwise_softplus_backward", mutates_args=())
def _backward(
    gradient: Tensor, queries: Tensor, keys: Tensor, bias: Tensor, size: int, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    of_queries, of_keys, of_bias = (
        torch.zeros_like(one) if needed else one.new_empty(0)
        for one, needed in zip((queries, keys, bias), wanted, strict=True)
    )
    with torch.autocast(queries.device.type, enabled=False):
        for row, column, tile in tiles(queries, keys, None, size):
            slope = tile.add_(bias).neg_().exp_().add_(1).reciprocal_().mul_(gradient)  # quicker than sigmoid_
            if wanted[0]:
                of_queries[row].addmm_(slope, keys[column])
            if wanted[1]:
                of_keys[column].addmm_(slope.T, queries[row])
            if wanted[2]:
                of_bias += slope.sum()
    return of_queries, of_keys, of_bias


@_forward.register_fake
def _(queries, keys, bias, size):  # type: ignore[no-untyped-def]
    return torch.empty_like(bias)


@_backward.register_fake
def _(gradient, queries, keys, bias, size, wanted):  # type: ignore[no-untyped-def]
    sides = (queries, keys, bias)
    return tuple(
        torch.empty_like(one) if needed else one.new_empty(0) for one, needed in zip(sides, wanted, strict=True)
    )


def _remember(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, ctx.size = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, gradient):  # type: ignore[no-untyped-def]
    wanted = list(ctx.needs_input_grad[:3])
    found = torch.ops.mmcl.pairwise_softplus_backward(gradient, *ctx.saved_tensors, ctx.size, wanted)
    return *(one if needed else None for one, needed in zip(found, wanted, strict=True)), None


def _refuse(ctx, *gradients):  # type: ignore[no-untyped-def]
    raise TrainingError(
        "blockwise objectives have no second derivative: make block_size as large as the batch, which is the dense path"
    )


_forward.register_autograd(_differentiate, setup_context=_remember)
_backward.register_autograd(_refuse, setup_context=lambda ctx, inputs, output: None)
