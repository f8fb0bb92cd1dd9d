"""The rows of all processes, with gradient, for objectives that compare across ``torch.distributed``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from mmcl import distributed
from mmcl.errors import ConfigError, ShapeError

_KINDS = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.bool)
_DIMS = 5  # dimensions of a tensor that are compared one by one


@dataclass(frozen=True)
class Processes:
    """How the rows of a batch are spread over the processes; they need not be equally many.

    Args:
        sizes: rows of each process.
        rank: which process this is.

    >>> shared = Processes((3, 2), rank=1)
    >>> shared.total, shared.own
    (5, slice(3, 5, None))
    """

    sizes: tuple[int, ...]
    rank: int

    @classmethod
    def of(cls, rows: Tensor) -> Processes:
        """Ask every process for how many rows it has; all have to ask.

        Raises:
            ConfigError: ``torch.distributed`` has no process group.
            ShapeError: rows of another shape or type in another process.
            ProcessError: another process has ended, or does not arrive within the timeout of the group.
        """
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            raise ConfigError(
                "gather=True, but torch.distributed has no process group: call torch.distributed.init_process_group "
                "first, or run with gather=False"
            )
        return cls(_sizes(rows), torch.distributed.get_rank())

    @property
    def total(self) -> int:
        """Rows of all processes."""
        return sum(self.sizes)

    @property
    def own(self) -> slice:
        """Where the rows of this process lie among all."""
        offset = sum(self.sizes[: self.rank])
        return slice(offset, offset + self.sizes[self.rank])

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, ``(total, ...)``, in the order of the ranks.

        The gradient of a row is the sum of what all processes have for it: losses that add up over the processes have
        gradients that do.

        Raises:
            ShapeError: rows of another shape or type in another process, or not as many as it said.
            ProcessError: another process has ended, or does not arrive within the timeout of the group.
        """
        sizes = _sizes(rows)
        if sizes != self.sizes:
            raise ShapeError(f"the processes have {list(sizes)} rows, expected {list(self.sizes)}: give all of a batch")
        return _Gather.apply(rows, self)

    def stack(self, tensor: Tensor) -> Tensor:
        """Return the tensors of all processes, of one shape, as ``(processes, ...)``, with gradient."""
        return Processes((1,) * len(self.sizes), self.rank).gather(tensor[None])


def _sizes(rows: Tensor) -> tuple[int, ...]:
    """Rows of each process, which are of one shape and type: backends fail without a word where they differ."""
    shape = list(rows.shape[1:])
    kind = _KINDS.index(rows.dtype) if rows.dtype in _KINDS else len(_KINDS)
    described = [len(rows), kind, len(shape), *(shape + [0] * _DIMS)[:_DIMS]]
    own = torch.tensor(described, device=rows.device)
    found = [torch.zeros_like(own) for _ in range(torch.distributed.get_world_size())]
    with distributed.together("to compare the shapes of a gather"):
        torch.distributed.all_gather(found, own)
    all_described = [one.tolist() for one in found]
    for number, other in enumerate(all_described):
        if other[1:] != described[1:]:
            raise ShapeError(
                f"process {torch.distributed.get_rank() + 1} gathers rows of {_named(described)}, process {number + 1} "
                f"of {_named(other)}: expected one shape and type in all"
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
        # Backends gather blocks of equal size only.
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
