"""Lazy imports of a package's public names, which keep importing the package fast."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path


def lazy_imports(package: str, file: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` for a package with lazy imports.

    The public names are those imported under ``if TYPE_CHECKING:`` in the package's file, so each is listed once. A
    name imported from the package itself is a module, such as ``from mmcl import data as data``.

    Args:
        package: ``__name__`` of the package.
        file: ``__file__`` of the package.

    >>> import mmcl
    >>> find, names, _ = lazy_imports("mmcl", mmcl.__file__)
    >>> names()[:3], find("objectives").__name__
    (['Batch', 'Sample', 'collate'], 'mmcl.objectives')
    >>> find("Batches")
    Traceback (most recent call last):
    ...
    AttributeError: module 'mmcl' has no attribute 'Batches'
    """
    modules = stated_imports(file)

    def find(name: str) -> object:
        if modules.get(name) == package:
            return import_module(f"{package}.{name}")
        if name in modules:
            return getattr(import_module(modules[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    if "pdoc" in sys.modules:  # reads the package's dictionary, without calling __getattr__
        _load(package, modules, find)
    return find, lambda: sorted(modules), sorted(modules)


def _load(package: str, modules: dict[str, str], find: Callable[[str], object]) -> None:
    """Import all names of a package, except its modules, which documentation tools find by themselves."""
    for name, module in modules.items():
        if module != package:
            setattr(sys.modules[package], name, find(name))


def stated_imports(file: str) -> dict[str, str]:
    """Return the module of each name imported under ``if TYPE_CHECKING:`` in a file, in the order of the file.

    >>> import mmcl
    >>> stated_imports(mmcl.__file__)["collate"]
    'mmcl.batch'
    """
    modules: dict[str, str] = {}
    for block in ast.parse(Path(file).read_text(encoding="utf-8")).body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            for node in block.body:
                if isinstance(node, ast.ImportFrom) and node.module is not None:
                    modules |= {alias.asname or alias.name: node.module for alias in node.names}
    return modules
