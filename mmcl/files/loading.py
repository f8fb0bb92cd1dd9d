"""Loading of states into modules, optimizers and schedules; errors name the first tensor that does not fit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mmcl.errors import CheckpointError
from mmcl.freeze import trainable_state

T = TypeVar("T")

#: Parts of a parameter's name that wrappers add: torch.compile, DataParallel, DistributedDataParallel, AveragedModel,
#: Lightning Fabric, FSDP and activation checkpointing.
WRAPPERS = frozenset(("_orig_mod", "module", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))

# Entries of torch's optimizer states that have the shape of the parameter.
_LIKE_PARAMETER = frozenset(
    (
        "exp_avg",
        "exp_avg_sq",
        "max_exp_avg_sq",
        "exp_inf",
        "momentum_buffer",
        "square_avg",
        "grad_avg",
        "acc_delta",
        "sum",
    )
)


def plain_name(name: str) -> str:
    """Return the name of a parameter without the parts added by wrappers.

    >>> plain_name("module.encoder._orig_mod.layers.0.weight")
    'encoder.layers.0.weight'
    """
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def match_names(given: Mapping[str, T], own: Iterable[str]) -> dict[str, T]:
    """Rename the keys of ``given`` to those in ``own`` that differ only by wrapper prefixes.

    Exact matches come first. A name without a match, or with several, is kept.

    >>> match_names({"_orig_mod.weight": 1, "other": 2}, ["module.weight", "bias"])
    {'module.weight': 1, 'other': 2}
    """
    own = list(own)
    matched = {name: given[name] for name in own if name in given}
    open_names: dict[str, list[str]] = defaultdict(list)
    for name in own:
        if name not in matched:
            open_names[plain_name(name)].append(name)
    for name, value in given.items():
        if name not in matched:
            places = open_names.get(plain_name(name), [])
            matched[places.pop() if len(places) == 1 else name] = value
    return matched


def load_state(module: nn.Module, state: Any, what: str, *, required: Collection[str] | None = None) -> None:
    """Load tensors into a module, which is left unchanged if they do not fit.

    Args:
        module: module to load into; its frozen parameters may be absent from ``state``.
        state: tensors by name, with or without the prefixes of wrappers (:data:`WRAPPERS`).
        what: name of the state, for errors.
        required: names that ``state`` must have; None for all but frozen parameters.

    Raises:
        CheckpointError: tensors are missing, unknown, or have another shape or kind of number; the message counts them
            and names the first.

    >>> load_state(nn.Linear(2, 1), {"weight": nn.Linear(2, 1).weight}, "the model's state")
    Traceback (most recent call last):
    ...
    mmcl.errors.CheckpointError: the model's state lacks 1 of 2 tensors, first 'bias': expected the state of this model
    """
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{what} is of type {type(state).__name__}, expected tensors by name")
    own = module.state_dict()
    given = match_names(state, own)
    needed = trainable_state(module).keys() if required is None else required
    if missing := [name for name in own if name in needed and name not in given]:
        raise CheckpointError(
            f"{what} lacks {len(missing)} of {len(needed)} tensors, first '{missing[0]}': expected the state of this "
            "model"
        )
    if unknown := [name for name in given if name not in own]:
        raise CheckpointError(
            f"{what} has {len(unknown)} tensors that {type(module).__name__} does not have, first '{unknown[0]}': "
            "expected the state of this model"
        )
    if wrong := [name for name in given if not _fits(module, name, own[name], given[name])]:
        name = wrong[0]
        raise CheckpointError(
            f"{what} has {len(wrong)} tensors that do not fit, first '{name}' {_described(given[name])}, expected "
            f"{_described(own[name])}: expected the state of this model"
        )
    try:
        module.load_state_dict(given, strict=False)
    except RuntimeError as error:  # from modules that resize on loading, such as a growing head
        reason = next((line.strip() for line in str(error).splitlines() if "mismatch" in line), str(error))
        raise CheckpointError(f"{what} does not fit ({reason}): expected the state of this model") from None


def load_optimizer(optimizer: Optimizer, state: Any, what: str) -> None:
    """Load the state of an optimizer.

    Raises:
        CheckpointError: parameter groups, settings or tensor shapes differ from those of this optimizer.

    >>> one, two = ([nn.Parameter(Tensor(2)) for _ in range(count)] for count in (1, 2))
    >>> from torch.optim import SGD
    >>> load_optimizer(SGD(two, 0.1), SGD(one, 0.1).state_dict(), "the optimizer's state")
    Traceback (most recent call last):
    ...
    mmcl.errors.CheckpointError: the optimizer's state has groups of [1] parameters, expected [2]: ...
    """
    saved, own = entry(state, "param_groups", what), optimizer.param_groups
    sizes, expected = ([len(group["params"]) for group in groups] for groups in (saved, own))
    if sizes != expected:
        raise CheckpointError(
            f"{what} has groups of {sizes} parameters, expected {expected}: create the optimizer with the same groups"
        )
    known = {name for group in own for name in group} | {"initial_lr"}
    if unknown := sorted({name for group in saved for name in group} - known):
        raise CheckpointError(
            f"{what} has settings that {type(optimizer).__name__} does not have, first '{unknown[0]}': expected the "
            "state of such an optimizer"
        )
    places = [place for group in saved for place in group["params"]]
    parameters = dict(zip(places, (each for group in own for each in group["params"]), strict=True))
    for place, values in entry(state, "state", what).items():
        for name, value in values.items():
            if name in _LIKE_PARAMETER and value is not None and value.shape != parameters[place].shape:
                raise CheckpointError(
                    f"{what} has '{name}' of shape {tuple(value.shape)} for parameter {place}, expected "
                    f"{tuple(parameters[place].shape)}: expected the state of this model's optimizer"
                )
    optimizer.load_state_dict(state)


def load_schedule(schedule: Any, state: Any, what: str) -> None:
    """Load the state of a learning rate schedule.

    Raises:
        CheckpointError: ``schedule`` is None and ``state`` is not, or vice versa.
    """
    if (schedule is None) != (state is None):
        there, wanted = ("no schedule", "one") if state is None else ("a schedule", "none")
        raise CheckpointError(f"{what} has {there} of the learning rate, expected {wanted}: use the same settings")
    if schedule is not None:
        schedule.load_state_dict(state)


def entry(state: Any, name: str, what: str) -> Any:
    """Return an entry of a state.

    Raises:
        CheckpointError: the entry is missing.

    >>> entry({"epoch": 3}, "epoch", "the trainer's state")
    3
    """
    if not isinstance(state, Mapping) or name not in state:
        raise CheckpointError(f"{what} has no '{name}': expected what state_dict() returned")
    return state[name]


def check_same(saved: object, own: Mapping[str, Any], what: str) -> None:
    """Check that a state was created with the same settings.

    Args:
        saved: settings of the state; None if it does not record them.
        own: current settings.
        what: name of the state, for errors.

    Raises:
        CheckpointError: a setting differs; the message names the first, with both values.

    >>> check_same({"batch_size": 8}, {"batch_size": 16}, "the trainer's state")
    Traceback (most recent call last):
    ...
    mmcl.errors.CheckpointError: the trainer's state was made with batch_size 8, expected 16: use the same settings
    """
    for name, value in own.items():
        if isinstance(saved, Mapping) and name in saved and saved[name] != value:
            raise CheckpointError(f"{what} was made with {name} {saved[name]}, expected {value}: use the same settings")


def class_name(value: object) -> str | None:
    """Return the name of an object's class, or None for None.

    >>> class_name(nn.Linear(1, 1)), class_name(None)
    ('Linear', None)
    """
    return None if value is None else type(value).__name__


def _fits(module: nn.Module, name: str, own: object, given: Any) -> bool:
    if not isinstance(own, Tensor):
        return True
    if not isinstance(given, Tensor) or given.is_floating_point() != own.is_floating_point():
        return False
    owner = module.get_submodule(name.rpartition(".")[0])
    takes_sizes = type(owner)._load_from_state_dict is not nn.Module._load_from_state_dict
    return takes_sizes or name.endswith("_extra_state") or given.shape == own.shape


def _described(value: object) -> str:
    return f"{tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else f"of type {type(value).__name__}"


def plain_state(schedule: Any) -> dict[str, Any]:
    """Return the state of a learning rate schedule without functions, which checkpoints cannot hold.

    >>> schedule = torch.optim.lr_scheduler.LambdaLR(torch.optim.SGD([torch.zeros(1)], lr=0.1), lambda step: 1.0)
    >>> plain_state(schedule)["last_epoch"]
    0
    """
    state: dict[str, Any] = schedule.state_dict()
    return {name: value for name, value in state.items() if isinstance(value, (int, float, str, list, bool))}


StateT = TypeVar("StateT")


def snapshot(state: StateT) -> StateT:
    """Return a copy of nested dicts and lists with tensors copied to the CPU.

    A tensor that occurs twice, such as a tied weight, is a single tensor in the copy too.

    >>> weight = torch.zeros(1)
    >>> before = snapshot({"one": weight, "two": [weight]})
    >>> _ = weight.fill_(5.0)
    >>> before, before["one"] is before["two"][0]
    ({'one': tensor([0.]), 'two': [tensor([0.])]}, True)
    """
    copies: dict[tuple[object, ...], Tensor] = {}

    def copy(value: object) -> Any:
        if isinstance(value, dict):
            return {name: copy(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [copy(each) for each in value]
        if not isinstance(value, Tensor):
            return value
        if not value.numel() or value.layout != torch.strided:
            return value.detach().to("cpu", copy=True)
        place = (value.data_ptr(), value.device, value.dtype, value.shape, value.stride())
        if place not in copies:
            copies[place] = value.detach().to("cpu", copy=True)
        return copies[place]

    copied: StateT = copy(state)
    return copied
