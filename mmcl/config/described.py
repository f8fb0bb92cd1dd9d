"""Settings in a file of unknown origin: each is of the type that the function has, which takes it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, get_type_hints

from mmcl.errors import CheckpointError
from mmcl.text.suggest import did_you_mean

_LARGEST = 2**31  #: of any whole number


def checked_settings(
    function: Callable[..., Any], values: Any, where: str, *, without: Collection[str] = ()
) -> dict[str, Any]:
    """Return ``values`` once each is known to be a parameter of ``function``, and of its type.

    Args:
        function: a function or class whose parameters have types.
        values: as read from JSON.
        where: names the file and the key in errors.
        without: parameters that the file does not set.

    Raises:
        CheckpointError: ``values`` is no object, a name is unknown or missing, or a value is of another type.

    >>> def build(dim: int, share: float = 0.5) -> None: ...
    >>> checked_settings(build, {"dim": 3}, "settings of config.json")
    {'dim': 3}
    >>> checked_settings(build, {"dim": True}, "settings of config.json")
    Traceback (most recent call last):
    ...
    mmcl.errors.CheckpointError: settings of config.json: dim is True, expected int
    """
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(values, Mapping):
        raise CheckpointError(f"{where} is {_short(values)}, expected an object")
    parameters = {
        name: each
        for name, each in inspect.signature(function).parameters.items()
        if name not in without and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    }
    made: Any = function
    hints = get_type_hints(made.__init__ if inspect.isclass(function) else made)
    for name, value in values.items():
        if name not in parameters:
            raise CheckpointError(f"{where} has the unknown key '{name[:60]}', {did_you_mean(name, parameters)}")
        try:
            TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError:
            kind = inspect.formatannotation(hints[name])
            raise CheckpointError(f"{where}: {name} is {_short(value)}, expected {kind}") from None
        if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) < _LARGEST):
            raise CheckpointError(f"{where}: {name} is {_short(value)}, expected a number below {_LARGEST:,}")
    for name, each in parameters.items():
        if each.default is each.empty and name not in values:
            raise CheckpointError(f"{where} has no {name}, which the model needs: copy the file again")
    return dict(values)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
