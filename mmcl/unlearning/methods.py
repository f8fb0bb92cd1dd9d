"""Registry of the unlearning methods, and ``unlearn``, which calls them by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from mmcl.data.base import Dataset
from mmcl.data.torch_dataset import Samples
from mmcl.errors import ConfigError
from mmcl.text.suggest import nearest
from mmcl.unlearning.boundary_shrink import boundary_shrink
from mmcl.unlearning.gradient_ascent import neg_grad, neg_grad_plus
from mmcl.unlearning.laf import repair, unlearn_laf
from mmcl.unlearning.retraining import fine_tune, retrain
from mmcl.unlearning.sisa import sisa
from mmcl.unlearning.teachers import bad_teacher, scrub


def unlearn_laf_repaired(
    model: nn.Module,
    remain: Dataset,
    forget: Dataset,
    *,
    repair_epochs: int = 1,
    repair_learning_rate: float = 1e-4,
    **settings: Any,
) -> nn.Module:
    """Unlearn by LAF, then repair the classifier: LAF+R.

    The repair uses as many labelled samples of ``remain`` as ``forget`` has.

    Args:
        model, remain, forget: see :func:`unlearn`.
        repair_epochs: epochs of :func:`~mmcl.unlearning.laf.repair`.
        repair_learning_rate: learning rate of the repair.
        **settings: settings of :func:`~mmcl.unlearning.laf.unlearn_laf`, with the same errors.
    """
    unlearned = unlearn_laf(model, remain, forget, **settings)
    shared = {name: settings[name] for name in ("classifier", "batch_size", "device", "on_epoch") if name in settings}
    return repair(
        unlearned, remain, samples=len(forget), epochs=repair_epochs, learning_rate=repair_learning_rate, **shared
    )


METHODS: dict[str, Callable[..., nn.Module]] = {
    "retrain": retrain,
    "fine_tune": fine_tune,
    "neg_grad": neg_grad,
    "neg_grad_plus": neg_grad_plus,
    "bad_teacher": bad_teacher,
    "scrub": scrub,
    "boundary_shrink": boundary_shrink,
    "sisa": sisa,
    "laf": unlearn_laf,
    "laf+r": unlearn_laf_repaired,
}


def unlearn(model: nn.Module, remain: Samples, forget: Samples, *, method: str = "laf", **settings: Any) -> nn.Module:
    """Return a copy of ``model`` that has forgotten ``forget``, in evaluation mode; ``model`` does not change.

    Args:
        model: model trained on both data sets. It takes a :class:`~mmcl.batch.Batch` and returns logits, or an object
            with ``logits``.
        remain: samples to keep.
        forget: samples to forget.
        method: ``retrain``, ``fine_tune``, ``neg_grad``, ``neg_grad_plus``, ``bad_teacher``, ``scrub``,
            ``boundary_shrink``, ``sisa``, ``laf`` or ``laf+r``.
        **settings: settings of the method. All methods have ``device``, where the model is trained, and ``on_epoch``,
            which is called after each epoch with phase, epoch and mean loss.

    Raises:
        ConfigError: the method is unknown, or does not have a setting.
        DataError: a data set is empty, or a sample is in both.
        TrainingError: a loss is not finite.
    """
    if method not in METHODS:
        raise ConfigError(f"method is '{method}'{nearest(method, METHODS)}, expected one of {', '.join(METHODS)}")
    check_settings(method, settings)
    return METHODS[method](model, remain, forget, **settings)


def check_settings(method: str, settings: Iterable[str]) -> None:
    """Check that a method has settings of these names.

    Raises:
        ConfigError: it does not have one; suggests the nearest name.
    """
    known = settings_of(method)
    for name in settings:
        if name not in known:
            raise ConfigError(
                f"method {method} has no setting '{name}'{nearest(name, known)}, expected some of {', '.join(known)}"
            )


def settings_of(method: str) -> dict[str, Any]:
    """Return the settings of a method with their defaults.

    >>> settings_of("neg_grad")["epochs"], "temperature" in settings_of("laf+r")
    (1, True)
    """
    own = _keywords(METHODS[method])
    return {**_keywords(unlearn_laf), **own} if method == "laf+r" else own


def _keywords(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
