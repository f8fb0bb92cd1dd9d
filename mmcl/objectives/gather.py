"""The rows of all processes, with gradient, for objectives that compare across ``torch.distributed``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from mmcl.errors import ConfigError


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
        """
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            raise ConfigError(
                "gather=True, but torch.distributed has no process group: call torch.distributed.init_process_group "
                "first, or run with gather=False"
            )
        count = torch.tensor([len(rows)], device=rows.device)
        counts = [torch.zeros_like(count) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(counts, count)
        return cls(tuple(int(one) for one in counts), torch.distributed.get_rank())

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
        """
        return _Gather.apply(rows, self)

    def stack(self, tensor: Tensor) -> Tensor:
        """Return the tensors of all processes, of one shape, as ``(processes, ...)``, with gradient."""
        return Processes((1,) * len(self.sizes), self.rank).gather(tensor[None])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        # Backends gather blocks of equal size only.
        padded = rows.new_zeros(max(processes.sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in processes.sizes]
        torch.distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, processes.sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(gradient)
        return gradient[ctx.processes.own], None
