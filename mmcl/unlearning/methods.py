"""Registry of the unlearning methods, and ``unlearn``, which calls them by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from textwrap import fill
from typing import Any, TypeVar

from torch import nn

from mmcl.config.option_types import check_option_types
from mmcl.config.signature import argument_texts
from mmcl.data.torch_dataset import Samples
from mmcl.errors import ConfigError
from mmcl.text.suggest import nearest
from mmcl.unlearning.boundary_shrink import boundary_shrink
from mmcl.unlearning.gradient_ascent import neg_grad, neg_grad_plus
from mmcl.unlearning.laf import repair, unlearn_laf
from mmcl.unlearning.loop import checked_sets
from mmcl.unlearning.retraining import fine_tune, retrain
from mmcl.unlearning.sisa import sisa
from mmcl.unlearning.teachers import bad_teacher, scrub

Method = TypeVar("Method", bound=Callable[..., nn.Module])


def _takes_settings_of(shown: Callable[..., nn.Module]) -> Callable[[Method], Method]:
    """Decorator that adds another function's keyword arguments to the signature and docstring of one with settings."""

    def decorate(function: Method) -> Method:
        own = [each for each in inspect.signature(function).parameters.values() if each.kind is not each.VAR_KEYWORD]
        known = {each.name for each in own}
        more = [each for each in inspect.signature(shown).parameters.values() if each.name not in known]
        texts = argument_texts(shown)
        lines = [f"    {each.name}: {texts[each.name]}." for each in more]
        documented: Any = function
        documented.__signature__ = inspect.signature(function).replace(parameters=[*own, *more])
        start, end = inspect.cleandoc(function.__doc__ or "").split("\n\nRaises:")
        documented.__doc__ = "\n".join([start, *lines, "", f"Raises:{end}"])
        return function

    return decorate


@_takes_settings_of(unlearn_laf)
def unlearn_laf_repaired(
    model: nn.Module,
    remain: Samples,
    forget: Samples,
    *,
    repair_epochs: int = 1,
    repair_learning_rate: float = 1e-4,
    **settings: Any,
) -> nn.Module:
    """Unlearn by LAF, then repair the classifier: LAF+R.

    The repair uses as many labelled samples of ``remain`` as ``forget`` has.

    Args:
        model: trained model, a copy of which is changed; see :func:`~mmcl.unlearning.unlearn`.
        remain: samples to keep.
        forget: samples to forget.
        repair_epochs: passes over the samples of the repair, see :func:`~mmcl.unlearning.laf.repair`.
        repair_learning_rate: learning rate of Adam for the repair.

    Raises:
        DataError, ConfigError, TrainingError: as :func:`~mmcl.unlearning.laf.unlearn_laf`.
    """
    remain, forget = checked_sets(remain, forget)
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
        model: model trained on both data sets. It takes a :class:`~mmcl.batch.Batch`, or a tensor ``(batch, ...)``, and
            returns logits ``(batch, classes)``, or an object with ``logits``.
        remain: samples to keep: a data set of mmcl, or a torch data set of pairs ``(input, label)``.
        forget: samples to forget.
        method: ``retrain``, ``fine_tune``, ``neg_grad``, ``neg_grad_plus``, ``bad_teacher``, ``scrub``,
            ``boundary_shrink``, ``sisa``, ``laf`` or ``laf+r``.
        settings: settings of the method, listed above. All methods have ``device`` (default ``"cpu"``), where the model
            is trained, and ``on_epoch``, which is called after each epoch with phase, epoch (from 1) and mean loss.

    Returns:
        A model of the same class; for ``sisa``, a :class:`~mmcl.unlearning.sisa.ShardedEnsemble`.

    Raises:
        ConfigError: the method is unknown, or does not have a setting.
        DataError: a data set is empty, or a sample is in both.
        TrainingError: a loss is not finite.

    Example:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> inputs, labels = torch.randn(40, 8), torch.arange(40) % 4
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
        >>> remain, forget = TensorDataset(inputs[8:], labels[8:]), TensorDataset(inputs[:8], labels[:8])
        >>> unlearned = unlearn(model, remain, forget, method="scrub", epochs=1)
        >>> unlearned(inputs[:2]).shape
        torch.Size([2, 4])
    """
    if method not in METHODS:
        raise ConfigError(f"method is '{method}'{nearest(method, METHODS)}, expected one of {', '.join(METHODS)}")
    check_settings(method, settings)
    return METHODS[method](model, remain, forget, **settings)


def check_settings(method: str, settings: Mapping[str, object]) -> None:
    """Check the names and types of a method's settings.

    Raises:
        ConfigError: the method does not have a setting, with the nearest name, or a value has another type.
    """
    known = settings_of(method)
    for name in settings:
        if name not in known:
            raise ConfigError(
                f"method {method} has no setting '{name}'{nearest(name, known)}, expected some of {', '.join(known)}"
            )
    check_option_types(METHODS[method], settings, f"method {method}")


def settings_of(method: str) -> dict[str, Any]:
    """Return the settings of a method with their defaults.

    >>> settings_of("neg_grad")["epochs"], "temperature" in settings_of("laf+r")
    (1, True)
    """
    parameters = inspect.signature(METHODS[method]).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


def _with_settings(docstring: str) -> str:
    """Return the docstring of :func:`unlearn` with the settings and defaults of all methods."""
    lines = ["The settings of each method and their defaults are", ""]
    for method, function in METHODS.items():
        settings = {name: value for name, value in settings_of(method).items() if name not in ("device", "on_epoch")}
        listed = ", ".join(f"{name}={value!r}" for name, value in settings.items()) or "none"
        line = f"* ``{method}``, :func:`~{function.__module__}.{function.__name__}`: {listed}"
        lines.append(fill(line, 112, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))
    return inspect.cleandoc(docstring).replace("\nArgs:\n", "\n" + "\n".join(lines) + "\n\nArgs:\n", 1)


unlearn.__doc__ = _with_settings(unlearn.__doc__ or "")
