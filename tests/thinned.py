"""Combinations of parameters of which a part runs by default, and the others with the slow tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest


def thinned(cases: Iterable[Any], every: int, ids: Sequence[str] | None = None) -> list[Any]:
    """Mark all cases slow but the first of each ``every``.

    Args:
        cases: parameters of a test, or tuples of them such as ``itertools.product`` gives.
        every: share of the default cases, as 1 in ``every``. It should not divide the number of values of a parameter
            that varies fast, or some of its values never run by default.
        ids: name of each case.
    """
    return [
        pytest.param(*case, marks=[pytest.mark.slow] if number % every else [], id=None if ids is None else ids[number])
        for number, case in enumerate(case if isinstance(case, tuple) else (case,) for case in cases)
    ]
