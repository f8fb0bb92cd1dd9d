"""Distributed training: several processes on one or more machines train one model, launched by Lightning Fabric.

Each process has a shard of every batch and computes its share of the loss of the whole batch. Losses and gradients,
summed over all processes, equal those of one process with the whole batch. Without :func:`launch` there is one process,
and every function here is trivial.
"""

from __future__ import annotations

import hashlib
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, TypeVar

from mmcl.config.numbers import Count
from mmcl.errors import ConfigError, ProcessError, ShapeError

T = TypeVar("T")
Device = Literal["cpu", "cuda"]

TIMEOUT = timedelta(minutes=30)  #: how long a process waits for another that does not arrive
PATIENCE = timedelta(days=1)  #: how long processes wait while the first does what all need, such as encoding data

# How gloo begins what it says; errors of NCCL and of the store have types of their own.
_FROM_GLOO = re.compile(r"\[(enforce fail at )?\S*\bgloo[/\\]\S+:\d+\]")
_patient: Any = None  # a group of all processes that waits for PATIENCE


class LateError(ProcessError):
    """Another process of a run that did not arrive in time; it may still be there."""


def launch(devices: Count = 1, nodes: Count = 1, device: Device = "cpu", *, timeout: timedelta = TIMEOUT) -> None:
    """Start the other processes of a run, or join those that ``torchrun`` or SLURM started; nothing for 1 device.

    The command is run again for each further device of this machine; the same command is to be run on each node, with
    ``MASTER_ADDR``, ``MASTER_PORT`` and ``NODE_RANK`` set, where nothing else starts it there.

    Args:
        devices: processes on each node, which share every batch; each has its own GPU, or a part of the CPU.
        nodes: number of machines.
        device: where models are trained.
        timeout: longest time that a process waits for another.

    Raises:
        ConfigError: numbers that cannot be, or fewer devices than that.
    """
    if devices < 1 or nodes < 1:
        raise ConfigError(f"devices={devices}, nodes={nodes}: expected 1 or more of each")
    if devices * nodes == 1:
        return
    import torch

    there = torch.cuda.device_count() if device == "cuda" else devices
    if devices > there:
        raise ConfigError(f"devices is {devices}, and this machine has {there} of {device}: take {there} or fewer")
    # Imported later, the first two would hold the group as a default of arguments, and leave() could not end it.
    import torch.distributed.nn.functional
    import torch.distributed.optim
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    strategy = DDPStrategy(timeout=timeout)
    fabric = Fabric(accelerator=device, devices=devices, num_nodes=nodes, strategy=strategy)
    fabric.launch()
    global _patient
    _patient = torch.distributed.new_group(timeout=PATIENCE, backend="gloo")


def leave() -> None:
    """End what :func:`launch` began, in all processes: one that ends with threads of a group may crash as it does."""
    global _patient
    if world_size() > 1:
        with together("at the end"):
            _group().barrier()
        _group().destroy_process_group()
        _patient = None


def world_size() -> int:
    """Number of processes."""
    group = _group()
    return 1 if group is None else int(group.get_world_size())


def rank() -> int:
    """Number of this process, from 0."""
    group = _group()
    return 0 if group is None else int(group.get_rank())


def is_main() -> bool:
    """Whether this is process 0, the one that writes."""
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
    """Return the value that process 0 has; plain data, best without large arrays."""
    if world_size() == 1:
        return value
    box = [value]
    with together("to hear of the first"):
        _group().broadcast_object_list(box, device=_place())
    return box[0]


def all_gather_object(value: T) -> list[T]:
    """Return the values of all processes, by rank."""
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
    """Return the sum of each named number over all processes; a process may lack a name."""
    parts = all_gather_object(values)
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}


def shard(rows: Any) -> Any:
    """Return this process's part of a batch's rows; sizes differ by one at most.

    >>> import torch
    >>> shard(torch.arange(3))
    tensor([0, 1, 2])
    """
    return rows if world_size() == 1 else rows.tensor_split(world_size())[rank()]


def all_reduce_gradients(parameters: Iterable[Any]) -> None:
    """Add up the gradients of all processes, in place; a parameter that none has a gradient of keeps none.

    Raises:
        ShapeError: the processes have other parameters.
        ProcessError: another has ended or does not arrive.
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
    """Give a model the weights that it has in the first process.

    Raises:
        ShapeError: the model has other parameters there.
        ProcessError: another has ended or does not arrive.
    """
    if world_size() == 1:
        return
    shapes = [(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in model.state_dict().items()]
    _check_alike("tensors of the model", (len(shapes), zlib.crc32(repr(shapes).encode())))
    with together("to copy weights"):
        for tensor in model.state_dict().values():
            _group().broadcast(tensor, src=0)


def seed_ranks() -> None:
    """Seed the generators of all processes but the first from its state, so that each draws something else."""
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
    """Let the first process do something before the others, which find what it has cached, however long it takes."""
    if not is_main():
        _wait_patiently()
    yield
    if is_main():
        _wait_patiently()


def peer_lost(error: BaseException) -> bool:
    """Return whether an error says that another process of this run is gone, or does not arrive."""
    return isinstance(error, ProcessError) or (world_size() > 1 and _is_of_group(error))


@contextmanager
def together(purpose: str) -> Iterator[None]:
    """Say which process waits for another in vain, and what for, where one has ended or does not arrive.

    Raises:
        ProcessError: torch.distributed failed within; other errors pass.
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
                f"{failed}: one did not arrive in time; look for the one that is stuck or went on"
            ) from None
        raise ProcessError(f"{failed}: one has ended; what it said stands above, if it could say something") from None


def _is_of_group(error: BaseException) -> bool:
    """Whether torch.distributed raised an error because of another process; what a user's code raises is not its."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available():
        return False
    kinds = (torch.distributed.DistBackendError, torch.distributed.DistNetworkError, torch.distributed.DistStoreError)
    return isinstance(error, kinds) or (type(error) is RuntimeError and bool(_FROM_GLOO.match(str(error))))


def _check_alike(what: str, numbers: tuple[int, ...]) -> None:
    """Raise ShapeError in all processes where they differ; what differs in size would end them without a word."""
    import torch

    both = torch.tensor([*numbers, *(-number for number in numbers)], dtype=torch.int64, device=_place())
    with together(f"to compare {what}"):
        _group().all_reduce(both, op=_group().ReduceOp.MAX)
    largest, least = both[: len(numbers)].tolist(), (-both[len(numbers) :]).tolist()
    if largest != least:
        raise ShapeError(
            f"the {what} differ between {world_size()} processes, from {least[0]} to {largest[0]} of other sizes: "
            "expected the same model in all; give all the same config and data"
        )


def _wait_patiently() -> None:
    if world_size() == 1:
        return
    with together("while the first goes ahead"):
        _group().broadcast_object_list([None], group=_patient)


def _group() -> Any:
    """torch.distributed, where there is a group of several; without loading torch."""
    torch = sys.modules.get("torch")
    there = torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed if torch is not None and there else None


def _place() -> Any:
    import torch

    return torch.device("cuda", torch.cuda.current_device()) if _group().get_backend() == "nccl" else None
