"""Parameter groups of an optimizer whose model grows and whose plugins may have parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer


def plugin_parameters(plugins: Iterable[Any]) -> list[nn.Parameter]:
    """Return the parameters of the plugins that have a method ``parameters()``."""
    return [parameter for plugin in plugins if hasattr(plugin, "parameters") for parameter in plugin.parameters()]


def add_parameters(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    """Add the parameters that the optimizer lacks as its first group, without weight decay.

    The last group stays last, because parameters that the model grows join it.
    """
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if added := [parameter for parameter in parameters if id(parameter) not in known]:
        optimizer.add_param_group({"params": added, "weight_decay": 0.0})
        optimizer.param_groups.insert(0, optimizer.param_groups.pop())


def reset_optimizer(optimizer: Optimizer, parameters: Iterable[nn.Parameter], learning_rates: Sequence[float]) -> None:
    """Clear an optimizer's state and give it the parameters that the model has now.

    Args:
        optimizer: changed in place.
        parameters: current parameters. Those that require a gradient stay in their group or join the last one; all
            others leave the optimizer.
        learning_rates: learning rate of each group.

    >>> import torch
    >>> old, new = (nn.Parameter(torch.zeros(size)) for size in (2, 3))
    >>> optimizer = torch.optim.SGD([old], lr=0.1)
    >>> reset_optimizer(optimizer, [new], [0.5])
    >>> optimizer.param_groups[0]["params"][0] is new, optimizer.param_groups[0]["lr"]
    (True, 0.5)
    """
    current = {id(parameter): parameter for parameter in parameters if parameter.requires_grad}
    for group in optimizer.param_groups:
        group["params"] = [current.pop(id(parameter)) for parameter in group["params"] if id(parameter) in current]
    optimizer.param_groups[-1]["params"].extend(current.values())
    optimizer.state.clear()
    for group, rate in zip(optimizer.param_groups, learning_rates, strict=True):
        group.pop("initial_lr", None)
        group["lr"] = rate
