"""Ranks: the processes that train one model together, on one machine or several, launched by Lightning Fabric.

Every process has a part of each batch. What a process computes is its share of the loss of the whole batch: losses and
gradients of all processes add up to those of one process that has the whole batch. Without :func:`launch` there is one
process, and all of this does nothing.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from mmcl.errors import ConfigError, ProcessError

T = TypeVar("T")


def launch(devices: int, nodes: int = 1, device: str = "cpu") -> None:
    """Start the other processes of a run, or join those that ``torchrun`` or SLURM started; nothing for 1 device.

    The command is run again for each further device of this machine; the same command is to be run on each node, with
    ``MASTER_ADDR``, ``MASTER_PORT`` and ``NODE_RANK`` set, where nothing else starts it there.

    Args:
        devices: processes on each node, each with a device of its own; ``cpu`` is divided among them.
        nodes: machines.
        device: ``"cpu"`` or ``"cuda"``.

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

    patient = DDPStrategy(timeout=timedelta(days=1))  # others wait while the first encodes a whole data set
    fabric = Fabric(accelerator=device, devices=devices, num_nodes=nodes, strategy=patient)
    fabric.launch()


def leave() -> None:
    """End what :func:`launch` began, in all processes: one that ends with threads of a group may crash as it does."""
    if count() > 1:
        with _together():
            _group().barrier()
        _group().destroy_process_group()


def count() -> int:
    """Return how many processes there are."""
    group = _group()
    return 1 if group is None else int(group.get_world_size())


def number() -> int:
    """Return which of them this is, from 0."""
    group = _group()
    return 0 if group is None else int(group.get_rank())


def is_first() -> bool:
    """Return whether this process is the one that writes."""
    return number() == 0


def from_first(value: T) -> T:
    """Return the value of the first process: plain data, arrays of which are best few."""
    if count() == 1:
        return value
    box = [value]
    with _together():
        _group().broadcast_object_list(box, device=_place())
    return box[0]


def everyones(value: T) -> list[T]:
    """Return the values of all processes, by rank."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    with _together():
        _group().all_gather_object(values, value)
    return values


def total(value: float) -> float:
    """Return the sum of a number over all processes."""
    if count() == 1:
        return value
    import torch

    tensor = torch.tensor(float(value), dtype=torch.float64, device=_place())
    with _together():
        _group().all_reduce(tensor)
    return tensor.item()


def added_up(values: dict[str, float]) -> dict[str, float]:
    """Return the sums over all processes, by name; a name may be missing in some."""
    parts = everyones(values)
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}


def own_part(rows: Any) -> Any:
    """Return this process's part of a batch's rows; sizes differ by one at most.

    >>> import torch
    >>> own_part(torch.arange(3))
    tensor([0, 1, 2])
    """
    return rows if count() == 1 else rows.tensor_split(count())[number()]


def add_gradients(parameters: Iterable[Any]) -> None:
    """Add up the gradients of all processes, in place; a parameter that none has a gradient of keeps none."""
    if count() == 1:
        return
    import torch

    trained = [each for each in parameters if each.requires_grad]
    with _together():
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


def copy_first(model: Any) -> None:
    """Give a model the weights that it has in the first process."""
    if count() == 1:
        return
    with _together():
        for tensor in model.state_dict().values():
            _group().broadcast(tensor, src=0)


def part_generators() -> None:
    """Seed the generators of all processes but the first from its state, so that each draws something else."""
    if count() == 1:
        return
    import torch

    from mmcl.seeding import seed_everything

    state = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).digest()
    seed = from_first(int.from_bytes(state[:4], "big"))
    if not is_first():
        seed_everything((seed + number()) % 2**32)


@contextmanager
def first_goes_ahead() -> Iterator[None]:
    """Let the first process do something before the others, which find what it has cached."""
    if not is_first():
        from_first(None)
    yield
    if is_first():
        from_first(None)


def was_left(error: BaseException) -> bool:
    """Return whether an error says that another process of this run is gone."""
    return isinstance(error, ProcessError) or (count() > 1 and _is_of_network(error))


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessError(
            f"process {number() + 1} of {count()} cannot reach another ({' '.join(str(error).split())[:120]}): one has "
            "ended; what it said stands above, if it could say something"
        ) from None


def _is_of_network(error: BaseException) -> bool:
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in said for word in ("gloo", "nccl", "connection", "socket"))


def _group() -> Any:
    """torch.distributed, where there is a group of several; without loading torch."""
    torch = sys.modules.get("torch")
    there = torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed if torch is not None and there else None


def _place() -> Any:
    import torch

    return torch.device("cuda", torch.cuda.current_device()) if _group().get_backend() == "nccl" else None
