"""Differentiable gather of rows across the processes of ``torch.distributed``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from mmcl import distributed
from mmcl.errors import ConfigError, ShapeError

_KINDS = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.bool)
_DIMS = 5  # number of compared dimensions


@dataclass(frozen=True)
class Processes:
    """Distribution of a batch over processes, whose numbers of rows may differ.

    Args:
        sizes: number of rows of each process.
        rank: rank of this process.

    >>> shared = Processes((3, 2), rank=1)
    >>> shared.total, shared.own
    (5, slice(3, 5, None))
    """

    sizes: tuple[int, ...]
    rank: int

    @classmethod
    def of(cls, rows: Tensor) -> Processes:
        """Collect the number of rows of each process. This is a collective call.

        Raises:
            ConfigError: ``torch.distributed`` has no process group.
            ShapeError: the rows of another process have another shape or dtype.
            ProcessError: another process has ended, or did not respond within the timeout of the group.
        """
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            raise ConfigError(
                "gather=True needs a process group of torch.distributed: call torch.distributed.init_process_group "
                "first, or set gather=False"
            )
        return cls(_sizes(rows), torch.distributed.get_rank())

    @property
    def total(self) -> int:
        """Number of rows of all processes."""
        return sum(self.sizes)

    @property
    def own(self) -> slice:
        """Slice of this process among the rows of all processes."""
        offset = sum(self.sizes[: self.rank])
        return slice(offset, offset + self.sizes[self.rank])

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes in rank order, ``(total, ...)``.

        The gradient of a row is the sum over all processes. If the processes' losses add up to a total loss, so do
        their gradients.

        Raises:
            ShapeError: the rows of another process have another shape or dtype, or a process has another number of rows
                than in ``sizes``.
            ProcessError: another process has ended, or did not respond within the timeout of the group.
        """
        sizes = _sizes(rows)
        if sizes != self.sizes:
            raise ShapeError(
                f"the processes have {list(sizes)} rows, expected {list(self.sizes)}: pass the whole batch"
            )
        return _Gather.apply(rows, self)

    def stack(self, tensor: Tensor) -> Tensor:
        """Return the equally shaped tensors of all processes, ``(processes, ...)``, with gradient."""
        return Processes((1,) * len(self.sizes), self.rank).gather(tensor[None])


def _sizes(rows: Tensor) -> tuple[int, ...]:
    """Return the number of rows of each process, after a check of shapes and dtypes, which backends do not make."""
    shape = list(rows.shape[1:])
    kind = _KINDS.index(rows.dtype) if rows.dtype in _KINDS else len(_KINDS)
    described = [len(rows), kind, len(shape), *(shape + [0] * _DIMS)[:_DIMS]]
    own = torch.tensor(described, device=rows.device)
    found = [torch.zeros_like(own) for _ in range(torch.distributed.get_world_size())]
    with distributed.together("to compare the shapes of a gather"):
        torch.distributed.all_gather(found, own)
    all_described = [one.tolist() for one in found]
    for rank, other in enumerate(all_described):
        if other[1:] != described[1:]:
            raise ShapeError(
                f"process {torch.distributed.get_rank() + 1} gathers rows of {_named(described)}, process {rank + 1} "
                f"of {_named(other)}: expected equal shapes and dtypes"
            )
    return tuple(one[0] for one in all_described)


def _named(described: list[int]) -> str:
    _, kind, dims, *shape = described
    name = str(_KINDS[kind]) if kind < len(_KINDS) else "another type"
    return f"shape {tuple(shape[:dims])} in {name}"


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        # Backends gather only tensors of equal size.
        padded = rows.new_zeros(max(processes.sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in processes.sizes]
        with distributed.together("to gather rows"):
            torch.distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, processes.sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        with distributed.together("to add up gradients of gathered rows"):
            torch.distributed.all_reduce(gradient)
        return gradient[ctx.processes.own], None
