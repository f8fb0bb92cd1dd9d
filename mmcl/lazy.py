"""Fast imports: public names of a package on first use, and large packages without garbage collection."""

from __future__ import annotations

import ast
import contextlib
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType

#: Modules that Avalanche imports, for its GEM plugin and its confusion matrix only.
POSTPONED = ("qpsolvers", "wandb")


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


@contextlib.contextmanager
def quick_imports(postponed: Sequence[str] = POSTPONED) -> Iterator[None]:
    """Context that imports large packages, such as Avalanche, in half the time.

    Garbage collection is paused: imports create many objects, and nearly all of them stay. Some modules are postponed:
    they are executed when one of their attributes is first read.

    Args:
        postponed: names of modules to postpone. Modules that are missing or already imported are left alone.

    >>> with quick_imports(["ftplib"]):
    ...     import ftplib
    >>> ftplib.FTP_PORT
    21
    """
    for name in set(postponed) - sys.modules.keys():
        if (spec := find_spec(name)) is not None:
            sys.modules[name] = module = module_from_spec(spec)
            module.__class__ = _Postponed
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Postponed(ModuleType):
    """A module that is executed when an attribute is first read. ``importlib.util.LazyLoader`` would already execute it
    for ``__file__``, which ``inspect.getmodule`` reads of every module."""

    def __getattr__(self, name: str) -> object:
        object.__setattr__(self, "__class__", ModuleType)
        if self.__spec__ is None or self.__spec__.loader is None:
            raise ImportError(f"module {self.__name__} has no loader")
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)
