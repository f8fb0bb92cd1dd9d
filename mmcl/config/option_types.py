"""Check of a config's options against the type annotations of the function that takes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from mmcl.errors import ConfigError


def check_option_types(function: Callable[..., Any], options: Mapping[str, object], owner: str) -> None:
    """Check that options have the types of a function's parameters.

    Whole numbers may be written as floats, and sequences as lists. Parameters without an annotation take any value.

    Args:
        function: function or class with annotated parameters.
        options: values by the name of their parameter.
        owner: what the options belong to, for the error.

    Raises:
        ConfigError: a value has another type, or is out of the range that its annotation states.

    >>> def build(dim: int, share: float = 0.5) -> None: ...
    >>> check_option_types(build, {"dim": "large"}, "encoder cnn")
    Traceback (most recent call last):
    ...
    mmcl.errors.ConfigError: option dim of encoder cnn is 'large', expected a valid integer
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    annotated: Any = function
    try:
        hints = get_type_hints(annotated.__init__ if inspect.isclass(function) else annotated, include_extras=True)
    except NameError:  # types that are imported for type checkers only
        return
    for name, value in options.items():
        try:
            TypeAdapter(hints.get(name, Any), config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
        except ValidationError as error:
            shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
            expected = " or ".join(dict.fromkeys(map(_expected, error.errors(include_url=False))))
            raise ConfigError(f"option {name} of {owner} is {shown}, expected {expected}") from None
        except PydanticUserError:  # a type that pydantic cannot describe
            continue


def _expected(error: Mapping[str, Any]) -> str:
    """Return what pydantic's error says that a value should be."""
    said = str(error["msg"]).partition(",")[0].removeprefix("Input ").removeprefix("should be ").removeprefix("should ")
    return said.replace("dictionary", "section").replace("tuple", "list")
