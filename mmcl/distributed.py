"""Distributed training with Lightning Fabric: several processes on one or more machines train one model.

Each process gets a shard of every batch and computes its share of the loss. Losses and gradients summed over all
processes equal those of one process with the whole batch. Without :func:`launch` there is one process, and all
functions here are trivial.
"""

from __future__ import annotations

import hashlib
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from mmcl.config.devices import Device, check_devices
from mmcl.config.numbers import Count
from mmcl.errors import ConfigError, ProcessError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)  #: how long a process waits for another
MAIN_FIRST_TIMEOUT = timedelta(days=1)  #: how long processes wait for work of rank 0 that all need, such as encoding

# Start of gloo's error messages; errors of NCCL and of the store have their own types.
_FROM_GLOO = re.compile(r"\[(enforce fail at )?\S*\bgloo[/\\]\S+:\d+\]")
_patient: Any = None  # group of all processes with MAIN_FIRST_TIMEOUT


class LateError(ProcessError):
    """Another process of the run did not arrive in time; it may still be running."""


def launch(devices: Count = 1, nodes: Count = 1, device: Device = "cpu", *, timeout: timedelta = TIMEOUT) -> None:
    """Start the other processes of a run, or join those started by ``torchrun`` or SLURM; no-op for 1 device.

    The command is started again for each further device of this machine. For several nodes, start the same command on
    each node with ``MASTER_ADDR``, ``MASTER_PORT`` and ``NODE_RANK`` set, unless a launcher does so.

    Args:
        devices: processes on each node, which share every batch; each has its own GPU, or a part of the CPU.
        nodes: number of machines.
        device: where models are trained.
        timeout: longest time that a process waits for another.

    Raises:
        ConfigError: ``devices`` or ``nodes`` is less than 1, or the machine has fewer devices.
    """
    check_devices(devices, nodes, device)
    if devices * nodes == 1:
        return
    import torch

    # Import these before launch: imported later, they would keep the group alive as a default argument after leave().
    import torch.distributed.nn.functional
    import torch.distributed.optim
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    strategy = DDPStrategy(timeout=timeout)
    fabric = Fabric(accelerator=device, devices=devices, num_nodes=nodes, strategy=strategy)
    fabric.launch()
    global _patient
    _patient = torch.distributed.new_group(timeout=MAIN_FIRST_TIMEOUT, backend="gloo")


def leave() -> None:
    """Destroy the process group, in all processes; a process that ends with threads of a live group may crash."""
    global _patient
    if world_size() > 1:
        with together("at the end"):
            _group().barrier()
        _group().destroy_process_group()
        _patient = None


def world_size() -> int:
    """Return the number of processes."""
    group = _group()
    return 1 if group is None else int(group.get_world_size())


def rank() -> int:
    """Return the rank of this process, from 0."""
    group = _group()
    return 0 if group is None else int(group.get_rank())


def is_main() -> bool:
    """Return whether this is rank 0, the process that writes files."""
    return rank() == 0


def check_single_process(what: str) -> None:
    """Refuse to run in several processes.

    Args:
        what: runs in one process only.

    Raises:
        ConfigError: there are several.
    """
    if world_size() > 1:
        raise ConfigError(f"{world_size()} processes run {what}, expected 1: set devices and nodes to 1")


def broadcast_object(value: T) -> T:
    """Return the value of rank 0; meant for plain data without large arrays."""
    if world_size() == 1:
        return value
    box = [value]
    with together("to hear of the first"):
        _group().broadcast_object_list(box, device=_place())
    return box[0]


def all_gather_object(value: T) -> list[T]:
    """Return the values of all processes, ordered by rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    with together("to exchange values"):
        _group().all_gather_object(values, value)
    return values


def all_reduce_sum(value: float) -> float:
    """Return the sum of a number over all processes."""
    if world_size() == 1:
        return value
    import torch

    tensor = torch.tensor(float(value), dtype=torch.float64, device=_place())
    with together("to add up numbers"):
        _group().all_reduce(tensor)
    return tensor.item()


def all_reduce_sums(values: dict[str, float]) -> dict[str, float]:
    """Return the sum over all processes of each named number; a process may lack a name."""
    parts = all_gather_object(values)
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}


def shard(rows: Tensor) -> Tensor:
    """Return this process's shard of a batch's rows; shard sizes differ by at most one.

    >>> import torch
    >>> shard(torch.arange(3))
    tensor([0, 1, 2])
    """
    return rows if world_size() == 1 else rows.tensor_split(world_size())[rank()]


def all_reduce_gradients(parameters: Iterable[Any]) -> None:
    """Sum gradients over all processes, in place; a parameter without a gradient in any process keeps none.

    Raises:
        ShapeError: the processes have different parameters.
        ProcessError: another process has ended or does not arrive.
    """
    if world_size() == 1:
        return
    import torch

    trained = [each for each in parameters if each.requires_grad]
    _check_alike("parameters to train", (len(trained), sum(each.numel() for each in trained)))
    if not trained:
        return
    with together("to add up gradients"):
        there = torch.tensor([each.grad is not None for each in trained], dtype=torch.int32, device=trained[0].device)
        _group().all_reduce(there, op=_group().ReduceOp.MAX)
        used = [each for each, anywhere in zip(trained, there.tolist(), strict=True) if anywhere]
        for each in used:
            if each.grad is None:
                each.grad = torch.zeros_like(each)
        if not used:
            return
        flat = torch.cat([each.grad.flatten() for each in used])
        _group().all_reduce(flat)
    for each, gradient in zip(used, flat.split([each.numel() for each in used]), strict=True):
        each.grad.copy_(gradient.view_as(each))


def broadcast_parameters(model: Any) -> None:
    """Copy the weights of rank 0 to all processes.

    Raises:
        ShapeError: the processes have different models.
        ProcessError: another process has ended or does not arrive.
    """
    if world_size() == 1:
        return
    shapes = [(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in model.state_dict().items()]
    _check_alike("tensors of the model", (len(shapes), zlib.crc32(repr(shapes).encode())))
    with together("to copy weights"):
        for tensor in model.state_dict().values():
            _group().broadcast(tensor, src=0)


def seed_ranks() -> None:
    """Seed the generators of all ranks but 0 from the state of rank 0, so that ranks draw different numbers."""
    if world_size() == 1:
        return
    import torch

    from mmcl.seeding import seed_everything

    state = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).digest()
    seed = broadcast_object(int.from_bytes(state[:4], "big"))
    if not is_main():
        seed_everything((seed + rank()) % 2**32)


@contextmanager
def main_first() -> Iterator[None]:
    """Run the body in rank 0 first, and then in the other processes, which can use what rank 0 cached."""
    if not is_main():
        _wait_patiently()
    yield
    if is_main():
        _wait_patiently()


def peer_lost(error: BaseException) -> bool:
    """Return whether an error says that another process of this run has ended or does not arrive."""
    return isinstance(error, ProcessError) or (world_size() > 1 and _is_of_group(error))


@contextmanager
def together(purpose: str) -> Iterator[None]:
    """Replace errors of torch.distributed by one that names the waiting process and its purpose.

    Raises:
        ProcessError: torch.distributed failed in the body because of another process; other errors pass.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_of_group(error):
            raise
        said = " ".join(str(error).split())[:120]
        failed = f"process {rank() + 1} of {world_size()} cannot reach another ({purpose}; {said})"
        if "timed out" in said.lower() or "timeout" in said.lower():
            raise LateError(
                f"{failed}: one did not arrive in time; look for the one that is stuck or has gone on"
            ) from None
        raise ProcessError(f"{failed}: one has ended; its error may be above") from None


def _is_of_group(error: BaseException) -> bool:
    """Return whether torch.distributed raised an error because of another process, as opposed to the user's code."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available():
        return False
    kinds = (torch.distributed.DistBackendError, torch.distributed.DistNetworkError, torch.distributed.DistStoreError)
    return isinstance(error, kinds) or (type(error) is RuntimeError and bool(_FROM_GLOO.match(str(error))))


def _check_alike(what: str, numbers: tuple[int, ...]) -> None:
    """Raise ShapeError in all processes if the numbers differ; collectives of different sizes would crash them."""
    import torch

    both = torch.tensor([*numbers, *(-number for number in numbers)], dtype=torch.int64, device=_place())
    with together(f"to compare {what}"):
        _group().all_reduce(both, op=_group().ReduceOp.MAX)
    largest, least = both[: len(numbers)].tolist(), (-both[len(numbers) :]).tolist()
    if largest != least:
        raise ShapeError(
            f"the {what} differ between {world_size()} processes, from {least[0]} to {largest[0]} of other sizes: "
            "expected the same model in all; use the same config and data"
        )


def _wait_patiently() -> None:
    if world_size() == 1:
        return
    with together("while the first goes ahead"):
        _group().broadcast_object_list([None], group=_patient)


def _group() -> Any:
    """Return ``torch.distributed`` if there is a group of several processes, without importing torch."""
    torch = sys.modules.get("torch")
    there = torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed if torch is not None and there else None


def _place() -> Any:
    import torch

    return torch.device("cuda", torch.cuda.current_device()) if _group().get_backend() == "nccl" else None
