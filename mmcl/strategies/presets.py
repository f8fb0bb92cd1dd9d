"""Presets: one function per strategy, which returns the training loop with the plugins of a method.

Each takes a model, an optimizer, and the settings of its plugins and of the loop as keyword arguments.
``help(coconut)`` lists them with their defaults. To combine methods, pass further plugins:
``coconut(..., plugins=[SequenceDistillation()])``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from typing import Any

from avalanche.core import SupervisedPlugin
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


def preset(*parts: type, **fixed: Any) -> Callable[[Callable[..., list[SupervisedPlugin]]], Preset]:
    """Decorator that turns a function, which returns a method's plugins, into a strategy.

    The strategy's signature and docstring are made from the constructors of ``parts`` and of the loop.

    Args:
        *parts: plugin classes; the function receives an instance of each, and the strategy takes their settings.
        **fixed: settings with a fixed value, which the strategy does not take.
    """

    def decorate(method_of: Callable[..., list[SupervisedPlugin]]) -> Preset:
        part_settings = [_settings(part, without=fixed) for part in parts]
        loop_settings = _settings(MMCLTemplate)

        @wraps(method_of)
        def strategy(
            model: nn.Module, optimizer: Optimizer, *, plugins: Sequence[SupervisedPlugin] = (), **settings: Any
        ) -> MMCLTemplate:
            signature.bind(model, optimizer, plugins=plugins, **settings)  # raises TypeError for an unknown setting
            instances = [
                part(**{name: value for name, value in {**settings, **fixed}.items() if name in _settings(part)})
                for part in parts
            ]
            loop = {name: value for name, value in settings.items() if name in loop_settings}
            return MMCLTemplate(model=model, optimizer=optimizer, plugins=[*method_of(*instances), *plugins], **loop)

        stated = inspect.signature(strategy, follow_wrapped=False).parameters
        own = [parameter for each in part_settings for parameter in each.values()]
        parameters = [stated["model"], stated["optimizer"], *own, stated["plugins"], *loop_settings.values()]
        signature = inspect.Signature(parameters, return_annotation=MMCLTemplate)
        documented: Any = strategy
        documented.__signature__, documented.__doc__ = signature, _docstring(method_of.__doc__ or "", parts, signature)
        return strategy

    return decorate


def _settings(part: type, without: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """Settings of a constructor by name, as keyword-only parameters."""
    return {
        name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(part).parameters.items()
        if name not in _GIVEN and name not in without
    }


def _docstring(summary: str, parts: Sequence[type], signature: inspect.Signature) -> str:
    described = {
        "model": "model to train, see :class:`~mmcl.strategies.template.MMCLTemplate`",
        "optimizer": "optimizer of the model's parameters",
    }
    for part in (*parts, MMCLTemplate):
        described |= {name: text for name, text in argument_texts(part).items() if name not in described}
    described["plugins"] = "further Avalanche plugins, called after those of the method"
    lines = [f"    {name}: {described[name]}." for name in signature.parameters]
    return "\n".join([inspect.cleandoc(summary), "", "Args:", *lines, ""])


@preset()
def naive() -> list[SupervisedPlugin]:
    """Train on each experience alone: the lower bound, which forgets."""
    return []


@preset(Rehearsal, memory_size=None, selection="random", by_superclass=False)
def joint(rehearsal: Rehearsal) -> list[SupervisedPlugin]:
    """Train on all samples seen so far: the upper bound, with an unlimited memory."""
    return [rehearsal]


@preset(Rehearsal)
def replay(rehearsal: Rehearsal) -> list[SupervisedPlugin]:
    """Train on each experience and a class-balanced memory of fixed size."""
    return [rehearsal]


@preset(LogitDistillation)
def lwf(distillation: LogitDistillation) -> list[SupervisedPlugin]:
    """Distil the logits of the model from before the experience, without a memory (LwF, Li and Hoiem 2016)."""
    return [distillation]


@preset(Rehearsal, LogitDistillation, selection="herding", by_superclass=False)
def icarl(rehearsal: Rehearsal, distillation: LogitDistillation) -> list[SupervisedPlugin]:
    """Select exemplars by herding, distil logits, and classify by the nearest mean (iCaRL, Rebuffi et al. 2017).

    Differs from the paper: cross-entropy and softened logits in place of binary cross-entropies.
    """
    return [rehearsal, distillation, NearestMean(rehearsal)]


@preset(Rehearsal, Coconut)
def coconut(rehearsal: Rehearsal, contrasts: Coconut) -> list[SupervisedPlugin]:
    """Rehearse, and contrast audio with text and student with teacher (COCONUT, arXiv 2310.02699)."""
    return [rehearsal, contrasts]
