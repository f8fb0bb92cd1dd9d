"""Which classes arrive in which experience of a class-incremental stream. Reads classes and labels only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.attributes import attributes_of
from mmcl.data.base import Dataset, logger, superclass_labels
from mmcl.errors import StreamError
from mmcl.text.suggest import nearest


def class_groups(
    train: Dataset,
    test: Dataset,
    experiences: int = 5,
    class_order: Sequence[int | str] | None = None,
    seed: int = 0,
    initial: int | None = None,
    *,
    by_superclass: bool = False,
    without: Sequence[int] = (),
) -> list[list[int]]:
    """Return the labels of each experience; arguments and errors are those of ``class_incremental``."""
    if list(train.classes) != list(test.classes):
        raise StreamError(
            f"train has classes {list(train.classes)[:5]}..., test has {list(test.classes)[:5]}...: "
            "expected the same classes, use splits of one data set"
        )
    unit_of = superclass_labels(_superclasses(train)) if by_superclass else list(range(len(train.classes)))
    names = sorted(set(_superclasses(train))) if by_superclass else train.classes
    units = arrival_groups(order_of(names, class_order, seed), experiences, initial)
    groups = _label_groups(units, unit_of, whole_numbers(without, "without", error=StreamError))
    _check_present(train, test, groups, by_superclass)
    return groups


def arrival_groups(
    order: Sequence[int], experiences: int, initial: int | None = None, what: str = "classes"
) -> list[list[int]]:
    """Split ``order`` into ``experiences`` groups; see :func:`~mmcl.data.class_incremental` for ``initial``.

    >>> arrival_groups([4, 0, 1, 3, 2], experiences=2)
    [[4, 0, 1], [3, 2]]
    >>> [len(group) for group in arrival_groups(range(31), experiences=6, initial=6)]
    [6, 5, 5, 5, 5, 5]
    """
    order = whole_numbers(order, "order", error=StreamError)
    count = len(order)
    if experiences < 1 or experiences > count:
        raise StreamError(f"experiences is {experiences} for {count} {what}, expected 1 to {count}")
    if initial is None:
        size, larger = divmod(count, experiences)
        sizes = [size + (number < larger) for number in range(experiences)]
    else:
        rest, later = count - initial, experiences - 1
        if initial < 1 or rest < later or (later == 0) != (rest == 0) or (later and rest % later):
            raise StreamError(
                f"initial is {initial} of {count} {what}, which leaves {rest} for {later} experiences: "
                "expected a number that leaves equal groups"
            )
        sizes = [initial] + [rest // later for _ in range(later)]
    starts = [sum(sizes[:number]) for number in range(experiences)]
    return [list(order[start : start + size]) for start, size in zip(starts, sizes, strict=True)]


def labels_of(dataset: Dataset) -> list[int]:
    """Return labels as ``int``; tensors of equal value are distinct as keys of a dict or members of a set."""
    return whole_numbers(dataset.labels, f"labels of {type(dataset).__name__}", error=StreamError)


def _label_groups(units: Sequence[Sequence[int]], unit_of: Sequence[int], without: Sequence[int]) -> list[list[int]]:
    """Return the labels of each experience, given its units (classes or superclasses) and the unit of each label."""
    if unknown := sorted(set(without) - set(range(len(unit_of)))):
        raise StreamError(f"without has label {unknown[0]}, expected some of 0 to {len(unit_of) - 1}")
    labels_by_unit: dict[int, list[int]] = {}
    for label, unit in enumerate(unit_of):
        if label not in without:
            labels_by_unit.setdefault(unit, []).append(label)
    return [[label for unit in group for label in labels_by_unit.get(unit, [])] for group in units]


def _superclasses(dataset: Dataset) -> Sequence[str]:
    superclasses = attributes_of(dataset).superclasses
    if not superclasses:
        raise StreamError("the data set has no superclasses: use by_superclass=False, or a data set such as SLURP")
    return superclasses


def order_of(
    names: Sequence[str], class_order: Sequence[int | str] | None, seed: int, what: str = "classes"
) -> list[int]:
    """Return the positions of names in order of arrival, at random if ``class_order`` is None."""
    classes = len(names)
    if class_order is None:
        return torch.randperm(classes, generator=torch.Generator().manual_seed(seed)).tolist()
    class_order = whole_numbers(class_order, "class_order", names=True, error=StreamError)
    for name in class_order:
        if isinstance(name, str) and name not in names:
            raise StreamError(f"class_order has '{name}'{nearest(name, names)}, expected names or numbers of {what}")
    order = [names.index(name) if isinstance(name, str) else name for name in class_order]
    if sorted(order) != list(range(classes)):
        missing = sorted(set(range(classes)) - set(order))
        unknown = sorted(label for label, times in Counter(order).items() if times > 1 or not 0 <= label < classes)
        raise StreamError(
            f"class_order is not a permutation of the {classes} {what}: missing {missing}, unknown or repeated "
            f"{unknown}; expected each of 0 to {classes - 1} once"
        )
    return order


def _check_present(train: Dataset, test: Dataset, groups: Sequence[Sequence[int]], by_superclass: bool) -> None:
    """Check that every class has samples in train and test; with superclasses, that every experience has."""
    for name, dataset, other in (("train", train, test), ("test", test, train)):
        present, lacking = set(labels_of(dataset)), []
        for number, group in enumerate(groups):
            if not group:
                raise StreamError(f"experience {number} has no classes, expected at least 1: exclude fewer labels")
            lacking += [label for label in group if label not in present]
            if by_superclass and not present & set(group):
                raise StreamError(f"experience {number} has 0 samples in {name}, expected at least 1: check the split")
        if lacking and not by_superclass:
            raise StreamError(
                f"class '{train.classes[lacking[0]]}' has 0 samples in {name}, expected at least 1: "
                "remove the class from the data set or use another split"
            )
        if lacking:
            others = sum(label in lacking for label in labels_of(other))
            logger.warning(
                "%d of %d classes have no samples in %s, first '%s'; %s",
                len(lacking),
                len(train.classes),
                name,
                train.classes[lacking[0]],
                f"their {others} test samples count as errors" if name == "train" else "their accuracy is not measured",
            )
