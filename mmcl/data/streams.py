"""Class-incremental streams: a data set cut into experiences of classes that arrive one group after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.benchmarks.utils.data_attribute import DataAttribute

from mmcl.batch import collate
from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.base import Dataset, logger, superclass_labels
from mmcl.data.fingerprint import digest_of, sample_digests
from mmcl.errors import StreamError
from mmcl.text.suggest import nearest


def class_incremental(
    train: Dataset,
    test: Dataset,
    experiences: int = 5,
    class_order: Sequence[int | str] | None = None,
    seed: int = 0,
    initial: int | None = None,
    *,
    by_superclass: bool = False,
    without: Sequence[int] = (),
) -> Any:
    """Make an Avalanche benchmark in which the classes of ``train`` arrive in ``experiences`` groups.

    Labels stay those of the data sets. Each experience has, beside Avalanche's own attributes, ``source`` (the data
    set) and ``dataset.rows`` (which of its samples), so that a sample is named by one number and a memory is a list of
    numbers. ``digest`` is of these samples: by it a state of training knows its experience. ``benchmark.description``
    says who arrives when, in plain data for the record.

    Args:
        train: data of the train stream.
        test: data of the test stream: its experiences hold the same classes as those of the train stream.
        experiences: number of groups.
        class_order: labels or names in order of arrival, as a list, array or tensor; None for a random order by
            ``seed``.
        seed: of the random order, used for nothing else.
        initial: classes of the first group, the rest in equal groups (31 = 6 + 5 x 5); None for equal groups, the
            first ones larger by one where the division leaves a remainder.
        by_superclass: what arrives in groups, and ``class_order`` and ``initial`` speak of, are superclasses: SLURP's
            intents arrive with all others of their scenario. A class may then lack samples in train, and those of test
            count as errors, or in test; a warning names it.
        without: labels that do not arrive; all others do when they would.

    Raises:
        StreamError: more experiences than classes, labels that there are not, a class without samples in train or
            test, a ``class_order`` that is no order of the classes, superclasses that the data set does not have, or
            data sets of different classes.

    >>> from mmcl.data.streams import arrival_groups
    >>> arrival_groups([4, 0, 1, 3, 2], experiences=2)
    [[4, 0, 1], [3, 2]]
    >>> [len(group) for group in arrival_groups(range(31), experiences=6, initial=6)]
    [6, 5, 5, 5, 5, 5]
    """
    if list(train.classes) != list(test.classes):
        raise StreamError(
            f"train has classes {list(train.classes)[:5]}..., test has {list(test.classes)[:5]}...: "
            "expected the same, take both from one data set"
        )
    unit_of = superclass_labels(_superclasses(train)) if by_superclass else list(range(len(train.classes)))
    names = sorted(set(_superclasses(train))) if by_superclass else train.classes
    arriving = arrival_groups(_order(names, class_order, seed), experiences, initial)
    without = whole_numbers(without, "without", error=StreamError)
    if strange := sorted(set(without) - set(range(len(train.classes)))):
        raise StreamError(f"without has label {strange[0]}, expected some of 0 to {len(train.classes) - 1}")
    labels_of: dict[int, list[int]] = {}
    for label, unit in enumerate(unit_of):
        if label not in without:
            labels_of.setdefault(unit, []).append(label)
    groups = [[label for unit in group for label in labels_of.get(unit, [])] for group in arriving]
    _check_present(train, test, groups, by_superclass)
    streams = {name: _subsets(dataset, groups) for name, dataset in (("train", train), ("test", test))}
    benchmark = with_classes_timeline(benchmark_from_datasets(**streams))
    for name, dataset in (("train", train), ("test", test)):
        digests = sample_digests(dataset)
        for number, experience in enumerate(benchmark.streams[name]):
            experience.source = dataset
            experience.group = groups[number]
            experience.digest = digest_of(digests, experience.dataset.rows[:])
    benchmark.description = {
        "class_order": [label for group in groups for label in group],
        "experiences": [[train.classes[label] for label in group] for group in groups],
        "train_sizes": [len(experience.dataset) for experience in benchmark.train_stream],
        "test_sizes": [len(experience.dataset) for experience in benchmark.test_stream],
        "stream_seed": None if class_order is not None else seed,
    }
    return benchmark


def arrival_groups(order: Sequence[int], experiences: int, initial: int | None = None) -> list[list[int]]:
    """Cut ``order`` into ``experiences`` groups, see :func:`class_incremental`."""
    order = whole_numbers(order, "order", error=StreamError)
    count = len(order)
    if experiences < 1 or experiences > count:
        raise StreamError(f"experiences is {experiences} for {count} classes, expected 1 to {count}")
    if initial is None:
        size, larger = divmod(count, experiences)
        sizes = [size + (number < larger) for number in range(experiences)]
    else:
        rest, later = count - initial, experiences - 1
        if initial < 1 or rest < later or (later == 0) != (rest == 0) or (later and rest % later):
            raise StreamError(
                f"initial is {initial} of {count} classes, which leaves {rest} for {later} experiences: "
                "expected a number that leaves equal groups"
            )
        sizes = [initial] + [rest // later for _ in range(later)]
    starts = [sum(sizes[:number]) for number in range(experiences)]
    return [list(order[start : start + size]) for start, size in zip(starts, sizes, strict=True)]


def _superclasses(dataset: Dataset) -> Sequence[str]:
    superclasses: Sequence[str] = getattr(dataset, "superclasses", ())
    if not superclasses:
        raise StreamError("the data set has no superclasses: expected by_superclass=False, or one such as SLURP")
    return superclasses


def _order(names: Sequence[str], class_order: Sequence[int | str] | None, seed: int) -> list[int]:
    classes = len(names)
    if class_order is None:
        return torch.randperm(classes, generator=torch.Generator().manual_seed(seed)).tolist()
    class_order = whole_numbers(class_order, "class_order", names=True, error=StreamError)
    for name in class_order:
        if isinstance(name, str) and name not in names:
            raise StreamError(f"class_order has '{name}'{nearest(name, names)}, expected names or numbers of classes")
    order = [names.index(name) if isinstance(name, str) else name for name in class_order]
    if sorted(order) != list(range(classes)):
        missing = sorted(set(range(classes)) - set(order))
        strange = sorted(label for label, times in Counter(order).items() if times > 1 or not 0 <= label < classes)
        raise StreamError(
            f"class_order is no order of the {classes} classes: missing {missing}, unknown or repeated {strange}; "
            f"expected each of 0 to {classes - 1} once"
        )
    return order


def _check_present(train: Dataset, test: Dataset, groups: Sequence[Sequence[int]], by_superclass: bool) -> None:
    """Refuse classes that nothing can be learnt or said of; in superclasses, warn and refuse what is all empty."""
    for name, dataset, other in (("train", train, test), ("test", test, train)):
        present, lacking = set(_labels(dataset)), []
        for number, group in enumerate(groups):
            if not group:
                raise StreamError(f"experience {number} has no class left, expected at least 1: let fewer stay away")
            lacking += [label for label in group if label not in present]
            if by_superclass and not present & set(group):
                raise StreamError(f"experience {number} has 0 samples in {name}, expected at least 1: check the split")
        if lacking and not by_superclass:
            raise StreamError(
                f"class '{train.classes[lacking[0]]}' has 0 samples in {name}, expected at least 1: "
                "leave it out of the data set or choose another split"
            )
        if lacking:
            others = sum(label in lacking for label in _labels(other))
            logger.warning(
                "%d of %d classes have no sample in %s, first '%s'; %s",
                len(lacking),
                len(train.classes),
                name,
                train.classes[lacking[0]],
                f"their {others} test samples count as errors" if name == "train" else "how they fare is not measured",
            )


def _labels(dataset: Dataset) -> list[int]:
    """The labels of a data set as ``int``, which are told apart where tensors are not."""
    return whole_numbers(dataset.labels, f"labels of {type(dataset).__name__}", error=StreamError)


def _subsets(dataset: Dataset, groups: Sequence[Sequence[int]]) -> list[Any]:
    """The samples of each group of labels, in the order of the data set."""
    rows_of: dict[int, list[int]] = {}
    labels = _labels(dataset)
    for row, label in enumerate(labels):
        rows_of.setdefault(label, []).append(row)
    attributes = [
        DataAttribute(labels, "targets"),
        DataAttribute(list(range(len(dataset))), "rows"),
    ]
    whole = AvalancheDataset([dataset], data_attributes=attributes, collate_fn=collate)
    return [whole.subset(sorted(row for label in group for row in rows_of.get(label, []))) for group in groups]
