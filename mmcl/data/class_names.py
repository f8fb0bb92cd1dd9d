"""Names of classes that look the same are one class, which is said; names that differ in case alone are pointed out."""

from __future__ import annotations

from collections.abc import Iterable

from mmcl.data.base import logger
from mmcl.text.words import folded, visible


def merged_names(names: Iterable[str], where: object) -> dict[str, str]:
    """Return what each name is called: without blanks at its ends, accents composed, invisible characters left out.

    Two names that become one are merged with a warning. Two that differ in capitals alone stay two, with a warning.

    Args:
        names: as annotations have them.
        where: file or folder that they are from, for warnings.

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
            "merged %d names of classes in %s that look the same, first %s, which are %s: write each in one way",
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
            "%d names of classes in %s differ in capitals alone, first %r and %r: they are classes of their own",
            sum(map(len, doubtful)),
            where,
            *doubtful[0][:2],
        )
    return called
