"""One function per strategy: the class-incremental loop with the plugins of a method.

Each takes a model, an optimizer, and the settings of its plugins and of the loop by name. ``help(coconut)`` lists all
of them with their defaults. To add a method to another, pass it in ``plugins``:
``coconut(..., plugins=[SequenceDistillation()])``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from typing import Any

from torch import nn
from torch.optim import Optimizer

from mmcl.config.signature import argument_texts
from mmcl.strategies.coconut import Coconut
from mmcl.strategies.distillation import LogitDistillation
from mmcl.strategies.nearest_mean import NearestMean
from mmcl.strategies.rehearsal import Rehearsal
from mmcl.strategies.template import MMCLTemplate

Preset = Callable[..., MMCLTemplate]
_GIVEN = ("self", "model", "optimizer", "plugins")


def preset(*parts: type, **fixed: Any) -> Callable[[Callable[..., list[Any]]], Preset]:
    """Decorator that makes a strategy of a function from plugins to all plugins of a method.

    The strategy's signature and docstring list the settings of ``parts`` and of the loop, which are stated in their
    constructors alone.

    Args:
        *parts: classes of plugins, whose settings the strategy has; an instance of each is given to the function.
        **fixed: settings that the strategy does not leave open.
    """

    def decorate(method_of: Callable[..., list[Any]]) -> Preset:
        settings = [_settings(part, without=fixed) for part in parts]
        loop = _settings(MMCLTemplate)

        @wraps(method_of)
        def strategy(model: nn.Module, optimizer: Optimizer, *, plugins: Sequence[Any] = (), **chosen: Any) -> Any:
            signature.bind(model, optimizer, plugins=plugins, **chosen)  # raises TypeError for an unknown setting
            made = [
                part(**{name: value for name, value in {**chosen, **fixed}.items() if name in _settings(part)})
                for part in parts
            ]
            of_loop = {name: value for name, value in chosen.items() if name in loop}
            return MMCLTemplate(model=model, optimizer=optimizer, plugins=[*method_of(*made), *plugins], **of_loop)

        first = inspect.signature(strategy, follow_wrapped=False).parameters
        own = [parameter for each in settings for parameter in each.values()]
        given = [first["model"], first["optimizer"], *own, first["plugins"], *loop.values()]
        signature = inspect.Signature(given, return_annotation=MMCLTemplate)
        told: Any = strategy
        told.__signature__, told.__doc__ = signature, _docstring(method_of.__doc__ or "", parts, signature)
        return strategy

    return decorate


def _settings(part: type, without: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """Settings of a constructor by name, as arguments that are given by name."""
    return {
        name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(part).parameters.items()
        if name not in _GIVEN and name not in without
    }


def _docstring(summary: str, parts: Sequence[type], signature: inspect.Signature) -> str:
    described = {
        "model": "takes a batch, as of :class:`~mmcl.strategies.template.MMCLTemplate`",
        "optimizer": "of the model's parameters",
    }
    for part in (*parts, MMCLTemplate):
        described |= {name: text for name, text in argument_texts(part).items() if name not in described}
    described["plugins"] = "further Avalanche plugins"
    lines = [f"    {name}: {described[name]}." for name in signature.parameters]
    return "\n".join([inspect.cleandoc(summary), "", "Args:", *lines, ""])


@preset()
def naive() -> list[Any]:
    """Train on each experience as it comes: the lower bound, which forgets."""
    return []


@preset(Rehearsal, memory_size=None, selection="random", by_superclass=False)
def joint(rehearsal: Rehearsal) -> list[Any]:
    """Train on everything seen so far: the upper bound, a rehearsal without limit."""
    return [rehearsal]


@preset(Rehearsal)
def replay(rehearsal: Rehearsal) -> list[Any]:
    """Rehearse a class-balanced memory of fixed size with each experience."""
    return [rehearsal]


@preset(LogitDistillation)
def lwf(distillation: LogitDistillation) -> list[Any]:
    """Learn without forgetting: distil the earlier model's logits, without a memory (Li and Hoiem 2016)."""
    return [distillation]


@preset(Rehearsal, LogitDistillation, selection="herding", by_superclass=False)
def icarl(rehearsal: Rehearsal, distillation: LogitDistillation) -> list[Any]:
    """Herd exemplars, distil the earlier model, and classify by the nearest mean (Rebuffi et al. 2017).

    Differs from the paper: cross-entropy and softened logits in place of binary cross-entropies.
    """
    return [rehearsal, distillation, NearestMean(rehearsal)]


@preset(Rehearsal, Coconut)
def coconut(rehearsal: Rehearsal, contrasts: Coconut) -> list[Any]:
    """Rehearse, and contrast teacher with student and audio with text (COCONUT, arXiv 2310.02699)."""
    return [rehearsal, contrasts]
