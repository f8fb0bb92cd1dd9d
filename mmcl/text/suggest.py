"""Suggestions for mistyped names, as clauses of error messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def closest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice most similar to a word, ignoring case; None if none is similar.

    >>> closest("Coconutt", ["naive", "coconut"])
    'coconut'
    """
    by_lower = {name.lower(): name for name in reversed(list(choices))}
    near = get_close_matches(str(word).lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return a clause that suggests the most similar choice; empty if none is similar.

    >>> "no split 'tset'" + nearest("tset", ["train", "valid", "test"])
    "no split 'tset' (did you mean 'test'?)"
    """
    near = closest(word, choices)
    return f" (did you mean '{near}'?)" if near else ""


def did_you_mean(word: str, choices: Iterable[str], otherwise: str = "expected one of") -> str:
    """Return a clause that suggests the most similar choice, or lists all choices if none is similar.

    >>> did_you_mean("coconutt", ["naive", "coconut"])
    "did you mean 'coconut'?"
    >>> did_you_mean("x", ["naive", "coconut"])
    'expected one of naive, coconut'
    """
    names = list(choices)
    if near := closest(word, names):
        return f"did you mean '{near}'?"
    return f"{otherwise} {', '.join(names)}" if names else "there is none"
