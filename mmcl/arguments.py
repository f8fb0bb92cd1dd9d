"""Checks that arguments are tensors or batches, with an error that names the argument and the conversion."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

from torch import Tensor

from mmcl.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

# Arguments and entries of a batch that are not tensors of numbers, or that may also be lists of integers.
_LISTS = ("labels", "is_anchor", "is_rehearsal", "is_support", "is_target", "permutation", "bags", "rows")
_ENTRIES = ("audio", "image", "features", "label")


def require_tensors(**arguments: object) -> None:
    """Check that arguments are tensors.

    Args:
        **arguments: arguments by name.

    Raises:
        InputError: one is not a tensor; names it and says how to convert it.

    >>> require_tensors(queries=[0.5, 1.0])
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: queries is a list, expected a tensor: use torch.as_tensor(queries)
    """
    for name, value in arguments.items():
        if not isinstance(value, Tensor):
            raise InputError(
                f"{name} is {_kind(value)}, expected a tensor: use torch.as_tensor({name.replace(' ', '_')})"
            )


def require_batch(batch: object, name: str = "batch") -> None:
    """Check that a value is a batch whose numbers are tensors.

    Args:
        batch: the value.
        name: name of the argument, for errors.

    Raises:
        InputError: it is not a batch; or an entry is an array, or a list where a tensor is expected.

    >>> require_batch({"audio": [[0.0, 0.1]]})
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: batch['audio'] is a list, expected a tensor: use torch.as_tensor(batch['audio'])
    """
    if not isinstance(batch, Mapping):
        raise InputError(
            f"{name} is {_kind(batch)}, expected a Batch: use mmcl.collate(samples), or mmcl.Batch(audio=...) with "
            "entries converted by torch.as_tensor"
        )
    for key, value in batch.items():
        named = key in _ENTRIES or str(key).endswith(("_lengths", "_features"))
        if _is_array(value) or (named and not isinstance(value, Tensor)):
            require_tensors(**{f"{name}[{key!r}]": value})


def takes_tensors(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a function whose arguments annotated as ``Tensor`` must be tensors, and as ``Batch`` batches.

    Arguments of integers that the function converts itself, such as ``labels``, are not checked.

    Raises:
        InputError: when called, an argument is of another type.

    >>> @takes_tensors
    ... def double(values: "Tensor"):
    ...     return 2 * values
    >>> double([1.0])
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: values is a list, expected a tensor: use torch.as_tensor(values)
    """
    checked = tuple(
        (place, name, _annotation(parameter))
        for place, (name, parameter) in enumerate(inspect.signature(function).parameters.items())
        if name not in _LISTS and _annotation(parameter) in _CHECKS
    )

    @wraps(function)
    def check(*args: P.args, **kwargs: P.kwargs) -> R:
        for place, name, annotation in checked:
            if place < len(args):
                _CHECKS[annotation](name, args[place])
            elif name in kwargs:
                _CHECKS[annotation](name, kwargs[name])
        return function(*args, **kwargs)

    return check


def _annotation(parameter: inspect.Parameter) -> str:
    kind = parameter.annotation
    return (kind.__name__ if isinstance(kind, type) else str(kind)).strip("'\"").replace("torch.", "")


def _tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        require_tensors(**{name: value})


def _optional(name: str, value: object) -> None:
    if value is not None:
        _tensor(name, value)


def _several(name: str, value: object) -> None:
    if isinstance(value, Tensor):
        return
    if not isinstance(value, (list, tuple)):
        require_tensors(**{name: value})
    for place, each in enumerate(value):  # type: ignore[arg-type, var-annotated]
        _tensor(f"{name}[{place}]", each)


def _batch(name: str, value: object) -> None:
    require_batch(value, name)


_CHECKS: dict[str, Callable[[str, object], None]] = {
    "Tensor": _tensor,
    "Tensor | None": _optional,
    "Tensor | Sequence[Tensor]": _several,
    "Batch": _batch,
}


def _is_array(value: object) -> bool:
    return type(value).__module__ == "numpy" and hasattr(value, "shape")


def _kind(value: object) -> str:
    name = f"numpy {type(value).__name__}" if _is_array(value) else type(value).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"
