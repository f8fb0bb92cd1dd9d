"""Names of a package that are imported when they are first used, so that importing the package is quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package whose names lie in other modules.

    Args:
        package: its name.
        modules: the module of each name.

    >>> find, names = lazy_names("example", {"sqrt": "math", "Fraction": "fractions"})
    >>> find("sqrt")(9.0), names()
    (3.0, ['Fraction', 'sqrt'])
    >>> find("root")
    Traceback (most recent call last):
    ...
    AttributeError: module 'example' has no attribute 'root'
    """

    def find(name: str) -> object:
        if name in modules:
            return getattr(import_module(modules[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find, lambda: sorted(modules)
