"""Validation of settings from untrusted files, such as a downloaded model's JSON, against a function's signature.

:mod:`mmcl.config.signature` makes config fields from a signature, before anything is imported. This module checks
given values against the signature of an imported function, strictly by type.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, get_type_hints

from mmcl.errors import CheckpointError
from mmcl.text.suggest import did_you_mean

_LIMIT = 2**31  #: bound of all numbers, so that a file cannot request huge models


def checked_settings(
    function: Callable[..., Any], values: object, where: str, *, without: Collection[str] = ()
) -> dict[str, Any]:
    """Return ``values`` if they are valid arguments of ``function``, by name and type.

    Args:
        function: function or class with annotated parameters.
        values: value read from JSON, expected to be an object.
        where: name of the file and key, for errors.
        without: parameters that the file must not set.

    Raises:
        CheckpointError: ``values`` is not an object, a name is unknown or missing, or a value has another type.

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
    annotated: Any = function
    hints = get_type_hints(annotated.__init__ if inspect.isclass(function) else annotated)
    for name, value in values.items():
        if name not in parameters:
            raise CheckpointError(f"{where} has the unknown key '{name[:60]}', {did_you_mean(name, parameters)}")
        try:
            TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError:
            kind = inspect.formatannotation(hints[name])
            raise CheckpointError(f"{where}: {name} is {_short(value)}, expected {kind}") from None
        if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) < _LIMIT):
            raise CheckpointError(f"{where}: {name} is {_short(value)}, expected a number below {_LIMIT:,}")
    for name, each in parameters.items():
        if each.default is each.empty and name not in values:
            raise CheckpointError(f"{where} has no {name}, which the model needs: copy the file again")
    return dict(values)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
