"""Config sections made from signatures: types, defaults and descriptions come from the code that uses a setting.

Source files are parsed, not imported, so that sections load neither Avalanche nor torch. To check given values against
the signature of an imported function, see :mod:`mmcl.config.described`.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field, create_model

import mmcl
from mmcl.config import numbers
from mmcl.config.model import StrictModel

SectionT = TypeVar("SectionT", bound=StrictModel)
_NO_SETTINGS = ("Tensor", "nn.Module")  # types in unions that no config can express
_DEFINITIONS = (ast.ClassDef, ast.FunctionDef)
_NAMESPACES: tuple[ModuleType, ...] = (typing, numbers, builtins)


class SignatureModel(StrictModel):
    """Base of sections with attribute access to fields from signatures, which type checkers cannot see."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


@dataclass(frozen=True)
class Argument:
    """An argument of a function: its type, default (``...`` if it is required) and description."""

    type: Any
    default: object
    description: str


def section_of(source: str, *, without: Sequence[str] = ()) -> Callable[[type[SectionT]], type[SectionT]]:
    """Class decorator that adds a field for each argument of a constructor or function.

    A field has the type, default and description of its argument. Fields declared in the class take precedence.

    Args:
        source: ``"package.module:name"`` of a class, dataclass, function or method within mmcl.
        without: arguments that are not settings, such as a model or an optimizer.

    Raises:
        TypeError: a config cannot hold the type of an argument; list it in ``without``, or declare the field.

    >>> @section_of("mmcl.models.heads.projection:HeadOptions")
    ... class HeadSection(StrictModel):
    ...     hidden: int = 32
    >>> section = HeadSection()
    >>> section.hidden, section.model_dump()["name"]
    (32, 'linear')
    """

    def decorate(section: type[SectionT]) -> type[SectionT]:
        declared = {*without, *section.model_fields}
        fields: dict[str, Any] = {
            name: (argument.type, Field(argument.default, description=_plain(argument.description)))
            for name, argument in arguments_of(source, without=frozenset(declared)).items()
        }
        # A subclass of the same name, because pydantic collects fields only when a class is created.
        return create_model(
            section.__name__, __base__=section, __module__=section.__module__, __doc__=section.__doc__, **fields
        )

    return decorate


@cache
def arguments_of(source: str, *, without: frozenset[str] = frozenset()) -> dict[str, Argument]:
    """Return the arguments of a class, dataclass or function by name, without importing its module.

    >>> arguments_of("mmcl.models.heads.projection:HeadOptions")["hidden"].default
    512
    """
    module, _, name = source.partition(":")
    definition: Any = _parse(module)
    for part in name.split("."):
        found = [each for each in definition.body if isinstance(each, _DEFINITIONS) and each.name == part]
        if not found:
            raise TypeError(f"{source} is not a class or function: check the name")
        (definition,) = found
    descriptions = _descriptions(ast.get_docstring(definition) or "")
    arguments = {}
    for argument, annotation, default in _signature(definition):
        if argument not in without:
            value = ... if default is None else _value(module, default)
            arguments[argument] = Argument(_value(module, annotation), value, descriptions.get(argument, ""))
    return arguments


def argument_texts(documented: object) -> dict[str, str]:
    """Return the description of each argument in the docstring of a class or function.

    >>> from mmcl.rationales.recipe import Recipe
    >>> argument_texts(Recipe)["accumulate"]
    'batches per optimizer step'
    """
    return _descriptions(inspect.getdoc(documented) or "")


def section_text(documented: object, section: str) -> str:
    """Return the text of a section of a docstring, indented, or an empty string.

    >>> from mmcl.objectives.kernel.base import Dense
    >>> section_text(Dense, "Raises").splitlines()[0]
    '    ShapeError: not two dimensions.'
    """
    found = re.search(rf"^{section}:\n((?:[ \t]+.*\n?|\n)*)", inspect.getdoc(documented) or "", re.MULTILINE)
    return found[1].rstrip() if found else ""


def _parse(module: str) -> ast.Module:
    stem = Path(mmcl.__file__).parent.joinpath(*module.split(".")[1:])
    path = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _signature(definition: ast.ClassDef | ast.FunctionDef) -> list[tuple[str, Any, Any]]:
    """Name, annotation and default of each argument, or of each field of a dataclass."""
    if isinstance(definition, ast.ClassDef):
        constructors = [
            node for node in definition.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        ]
        if not constructors:
            fields = [node for node in definition.body if isinstance(node, ast.AnnAssign)]
            return [
                (node.target.id, node.annotation, node.value) for node in fields if isinstance(node.target, ast.Name)
            ]
        definition = constructors[0]
    arguments = definition.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults]
    pairs = [*zip(positional, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return [
        (argument.arg, argument.annotation, default)
        for argument, default in pairs
        if argument.arg not in ("self", "cls")
    ]


def _value(module: str, node: Any) -> Any:
    """Evaluate an annotation or a default made of names, literals, ``|`` and subscripts."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return _named(module, node.id)
    if isinstance(node, ast.Tuple):
        return tuple(_value(module, each) for each in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(module, node.operand)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        sides = [side for side in (node.left, node.right) if ast.unparse(side) not in _NO_SETTINGS]
        return _value(module, sides[0]) if len(sides) == 1 else _value(module, sides[0]) | _value(module, sides[1])
    if isinstance(node, ast.Subscript):
        if ast.unparse(node.value) == "Sequence":
            return tuple[_value(module, node.slice), ...]  # type: ignore[misc]
        return _value(module, node.value)[_value(module, node.slice)]
    found = ast.unparse(node) if node else "no annotation"
    raise TypeError(f"{module}: '{found}' is not a type or default that a config can hold: list it in without")


def _named(module: str, name: str) -> Any:
    """Resolve a name in a module: an assignment, an import from another mmcl module, or a name of Python."""
    for node in _parse(module).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return _value(module, node.value)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmcl"):
            for alias in node.names:
                if (alias.asname or alias.name) == name and node.module != numbers.__name__:
                    return _named(str(node.module), alias.name)
    for namespace in _NAMESPACES:
        if hasattr(namespace, name):
            return getattr(namespace, name)
    raise TypeError(f"{module}: '{name}' is not a type that a config can hold: list it in without")


def _plain(description: str) -> str:
    """Return the first sentence of a description, without markup.

    >>> _plain('how samples are chosen: ``"random"``, as in :class:`~mmcl.strategies.Rehearsal`. Further details')
    'how samples are chosen: random, as in Rehearsal'
    """
    sentence = re.split(r"(?<!\bal)\. (?=[A-Z`])", description, maxsplit=1)[0]
    sentence = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"\1", sentence)
    return re.sub(r'``"?(.*?)"?``', r"\1", sentence)


def _descriptions(docstring: str) -> dict[str, str]:
    """Description of each argument in a Google style docstring, as one line without its full stop."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", docstring, re.MULTILINE)
    described: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", section[1]) if section else ():
        names, _, text = entry.strip().partition(":")
        for name in names.split(","):  # "a, b: ..." describes both
            described[name.strip()] = " ".join(text.split()).removesuffix(".")
    return described
