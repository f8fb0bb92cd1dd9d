"""Normalization of class names: merge names that look the same, warn about names that differ in case only."""

from __future__ import annotations

from collections.abc import Iterable

from mmcl.data.base import logger
from mmcl.text.words import folded, visible


def merged_names(names: Iterable[str], where: object) -> dict[str, str]:
    """Return the normalized form of each name: stripped, accents composed, invisible characters removed.

    Names that become equal are merged with a warning. Names that differ in case only stay distinct, with a warning.

    Args:
        names: class names as annotated.
        where: file or folder of the annotations, for warnings.

    >>> merged_names(["yes", "yes ", "no"], "train.csv")
    {'yes': 'yes', 'yes ': 'yes', 'no': 'no'}
    """
    called = {name: visible(name) for name in dict.fromkeys(names)}
    written: dict[str, list[str]] = {}
    for name, plain in called.items():
        written.setdefault(plain, []).append(name)
    if merged := {plain: spelt for plain, spelt in written.items() if len(spelt) > 1}:
        plain, spelt = next(iter(merged.items()))
        logger.warning(
            "merged %d class names in %s that look the same, first %s, which are %s: use one spelling",
            sum(map(len, merged.values())),
            where,
            " and ".join(map(ascii, spelt[:2])),
            ascii(plain),
        )
    alike: dict[str, list[str]] = {}
    for plain in written:
        alike.setdefault(folded(plain), []).append(plain)
    if doubtful := [both for both in alike.values() if len(both) > 1]:
        logger.warning(
            "%d class names in %s differ in case only, first %r and %r: they are distinct classes",
            sum(map(len, doubtful)),
            where,
            *doubtful[0][:2],
        )
    return called
