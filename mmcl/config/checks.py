"""Checks of a config that go beyond its types: collect the errors of several checks, so that all are reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from mmcl.errors import MMCLError

T = TypeVar("T")


class Checks:
    """Run checks of a config, and collect their errors.

    Args:
        faulty: keys of settings that are already known to be faulty; checks of their sections are skipped.

    Attributes:
        faults: a line for each fault, ``key: message``, without duplicates.

    >>> from mmcl.errors import ConfigError
    >>> def check(value): raise ConfigError(f"value is {value}, expected 2")
    >>> checks = Checks()
    >>> checks.attempt("data.value", lambda: check(1))
    >>> checks.faults
    ['data.value: value is 1, expected 2']
    """

    def __init__(self, faulty: Iterable[str] = ()) -> None:
        self._faulty = [key.partition("[")[0] for key in faulty]
        self.faults: list[str] = []

    def attempt(self, key: str, call: Callable[[], T]) -> T | None:
        """Return ``call()``, or None if it raises an error of mmcl, which becomes a fault of the setting ``key``."""
        if self._is_faulty(key):
            return None
        try:
            return call()
        except MMCLError as error:
            self.add(key, str(error))
        return None

    def passes(self, key: str, call: Callable[[], object]) -> bool:
        """Return whether ``call()`` raises no error of mmcl; an error becomes a fault of the setting ``key``."""
        return self.attempt(key, lambda: (call(), True)) is not None

    def add(self, key: str, message: str) -> None:
        """Add a fault of the setting ``key``."""
        fault = message if message.startswith((f"{key} is ", f"{key}=", f"{key}: ")) else f"{key}: {message}"
        if fault not in self.faults and not self._is_faulty(key):
            self.faults.append(fault)

    def _is_faulty(self, key: str) -> bool:
        return any(key == each or key.startswith(f"{each}.") or each.startswith(f"{key}.") for each in self._faulty)
