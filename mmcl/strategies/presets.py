"""One function per named method: the training loop with the plugins that make it that method.

Each takes a model and an optimizer, its own settings by name, and beside them ``plugins`` to add and any setting of
:class:`~mmcl.strategies.template.MMCLTemplate` (``epochs``, ``batch_size``, ``device``, ...). To a strategy that
rehearses a sequence-to-sequence model add distillation as plugins: ``coconut(..., plugins=[SequenceDistillation()])``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer

from mmcl.strategies.coconut import Coconut
from mmcl.strategies.distillation import LogitDistillation
from mmcl.strategies.nearest_mean import NearestMean
from mmcl.strategies.rehearsal import Rehearsal, Selection
from mmcl.strategies.template import MMCLTemplate


def naive(model: nn.Module, optimizer: Optimizer, *, plugins: Sequence[Any] = (), **loop: Any) -> MMCLTemplate:
    """Train on each experience as it comes: the lower bound, which forgets."""
    return MMCLTemplate(model=model, optimizer=optimizer, plugins=plugins, **loop)


def joint(model: nn.Module, optimizer: Optimizer, *, plugins: Sequence[Any] = (), **loop: Any) -> MMCLTemplate:
    """Train on everything seen so far: the upper bound, a rehearsal without limit."""
    return MMCLTemplate(model=model, optimizer=optimizer, plugins=[Rehearsal(None), *plugins], **loop)


def replay(
    model: nn.Module,
    optimizer: Optimizer,
    *,
    memory_size: int = 50,
    selection: Selection = "random",
    by_superclass: bool = False,
    plugins: Sequence[Any] = (),
    **loop: Any,
) -> MMCLTemplate:
    """Rehearse a class-balanced memory of fixed size beside each experience."""
    memory = Rehearsal(memory_size, selection, by_superclass=by_superclass)
    return MMCLTemplate(model=model, optimizer=optimizer, plugins=[memory, *plugins], **loop)


def lwf(
    model: nn.Module,
    optimizer: Optimizer,
    *,
    weight: float = 1.0,
    temperature: float = 2.0,
    plugins: Sequence[Any] = (),
    **loop: Any,
) -> MMCLTemplate:
    """Learn without forgetting: distil the earlier model's logits, without a memory (Li and Hoiem 2016)."""
    return MMCLTemplate(
        model=model, optimizer=optimizer, plugins=[LogitDistillation(weight, temperature), *plugins], **loop
    )


def icarl(
    model: nn.Module,
    optimizer: Optimizer,
    *,
    memory_size: int = 50,
    weight: float = 1.0,
    temperature: float = 2.0,
    plugins: Sequence[Any] = (),
    **loop: Any,
) -> MMCLTemplate:
    """Herd exemplars, distil the earlier model, and classify by the nearest mean (Rebuffi et al. 2017).

    Differs from the paper: cross-entropy and softened logits in place of binary cross-entropies.
    """
    rehearsal = Rehearsal(memory_size, "herding")
    method = [rehearsal, LogitDistillation(weight, temperature), NearestMean(rehearsal)]
    return MMCLTemplate(model=model, optimizer=optimizer, plugins=[*method, *plugins], **loop)


def coconut(
    model: nn.Module,
    optimizer: Optimizer,
    *,
    memory_size: int = 50,
    selection: Selection = "random",
    by_superclass: bool = False,
    mm_weight: float = 0.1,
    nspt_weight: float | None = None,
    temperature: float = 0.1,
    denominator: Literal["literal", "proper"] = "literal",
    mm_anchors: Literal["new", "all"] = "new",
    plugins: Sequence[Any] = (),
    **loop: Any,
) -> MMCLTemplate:
    """Rehearse, and hold the embeddings by contrast: teacher against student, audio against text (arXiv 2310.02699)."""
    method = [
        Rehearsal(memory_size, selection, by_superclass=by_superclass),
        Coconut(mm_weight, nspt_weight, temperature, denominator, mm_anchors),
    ]
    return MMCLTemplate(model=model, optimizer=optimizer, plugins=[*method, *plugins], **loop)
