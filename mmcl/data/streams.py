"""Class-incremental streams: split a data set into experiences with disjoint groups of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from mmcl.batch import collate
from mmcl.config.numbers import Count
from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.attributes import attributes_of
from mmcl.data.base import Dataset, logger, superclass_labels
from mmcl.data.fingerprint import digest_of, sample_digests
from mmcl.data.torch_dataset import Samples, as_splits
from mmcl.errors import StreamError
from mmcl.lazy import quick_imports
from mmcl.text.suggest import nearest

with quick_imports():
    from avalanche.benchmarks import CLExperience, CLScenario, benchmark_from_datasets, with_classes_timeline
    from avalanche.benchmarks.utils import AvalancheDataset
    from avalanche.benchmarks.utils.data_attribute import DataAttribute


class ClassIncrementalBenchmark(CLScenario):
    """Avalanche benchmark of :func:`class_incremental`.

    Attributes:
        train_stream: experiences to train on, in order.
        test_stream: the same experiences, with test data.
        description: the stream as plain data: ``class_order``, ``experiences`` (class names), ``train_sizes``,
            ``test_sizes`` and ``stream_seed``.
    """

    train_stream: Sequence[CLExperience]
    test_stream: Sequence[CLExperience]
    description: dict[str, Any]


def class_incremental(
    train: Samples,
    test: Samples,
    experiences: Count = 5,
    class_order: Sequence[int | str] | None = None,
    seed: int = 0,
    initial: Count | None = None,
    *,
    by_superclass: bool = False,
    without: Sequence[int] = (),
) -> ClassIncrementalBenchmark:
    """Create an Avalanche benchmark in which the classes of ``train`` arrive in ``experiences`` groups.

    Labels are not renumbered. Each experience has these attributes besides Avalanche's own: ``source``, the data set;
    ``dataset.rows``, the rows of its samples in the source; ``group``, its labels; and ``digest``, which identifies its
    samples when training is resumed. ``benchmark.description`` records the stream as plain data.

    Args:
        train: data of the train stream: a data set of mmcl, or a torch data set of pairs ``(input, label)``, see
            :class:`~mmcl.data.torch_dataset.TorchDataset`.
        test: data of the test stream, split into the same groups of classes.
        experiences: number of experiences, the groups in which classes arrive.
        class_order: labels or class names in order of arrival, as a list, array or tensor; None for a random order.
        seed: seed of the random order.
        initial: number of classes in the first group, the rest in equal groups (31 = 6 + 5 x 5). None gives equal
            groups; if there is a remainder, the first groups have one class more.
        by_superclass: group superclasses instead of classes; ``class_order`` and ``initial`` then refer to
            superclasses. All intents of a SLURP scenario arrive together. A class may then have no samples in train
            (its test samples count as errors) or in test; a warning names it.
        without: labels to exclude; the other classes keep their experience.

    Raises:
        StreamError: there are more experiences than classes, a label is unknown, a class has no samples in train or
            test, ``class_order`` is not a permutation of the classes, the data set has no superclasses, or the two
            data sets have different classes.

    >>> from mmcl.data.streams import arrival_groups
    >>> arrival_groups([4, 0, 1, 3, 2], experiences=2)
    [[4, 0, 1], [3, 2]]
    >>> [len(group) for group in arrival_groups(range(31), experiences=6, initial=6)]
    [6, 5, 5, 5, 5, 5]
    """
    train, test = as_splits(train, test)
    if list(train.classes) != list(test.classes):
        raise StreamError(
            f"train has classes {list(train.classes)[:5]}..., test has {list(test.classes)[:5]}...: "
            "expected the same classes, use splits of one data set"
        )
    unit_of = superclass_labels(_superclasses(train)) if by_superclass else list(range(len(train.classes)))
    names = sorted(set(_superclasses(train))) if by_superclass else train.classes
    units = arrival_groups(_order(names, class_order, seed), experiences, initial)
    groups = _label_groups(units, unit_of, whole_numbers(without, "without", error=StreamError))
    _check_present(train, test, groups, by_superclass)
    benchmark = _benchmark({"train": train, "test": test}, groups)
    benchmark.description = {
        "class_order": [label for group in groups for label in group],
        "experiences": [[train.classes[label] for label in group] for group in groups],
        "train_sizes": [len(experience.dataset) for experience in benchmark.train_stream],
        "test_sizes": [len(experience.dataset) for experience in benchmark.test_stream],
        "stream_seed": None if class_order is not None else seed,
    }
    return benchmark


def _label_groups(units: Sequence[Sequence[int]], unit_of: Sequence[int], without: Sequence[int]) -> list[list[int]]:
    """Return the labels of each experience, given its units (classes or superclasses) and the unit of each label."""
    if unknown := sorted(set(without) - set(range(len(unit_of)))):
        raise StreamError(f"without has label {unknown[0]}, expected some of 0 to {len(unit_of) - 1}")
    labels_of: dict[int, list[int]] = {}
    for label, unit in enumerate(unit_of):
        if label not in without:
            labels_of.setdefault(unit, []).append(label)
    return [[label for unit in group for label in labels_of.get(unit, [])] for group in units]


def _benchmark(datasets: dict[str, Dataset], groups: Sequence[Sequence[int]]) -> ClassIncrementalBenchmark:
    """Return the Avalanche benchmark with a stream per data set and an experience per group of labels."""
    streams = {name: _subsets(dataset, groups) for name, dataset in datasets.items()}
    timeline = with_classes_timeline(benchmark_from_datasets(**streams))
    benchmark = ClassIncrementalBenchmark(list(timeline.streams.values()))
    for name, dataset in datasets.items():
        digests = sample_digests(dataset)
        for group, experience in zip(groups, benchmark.streams[name], strict=True):
            experience.source = dataset
            experience.group = group
            experience.digest = digest_of(digests, experience.dataset.rows[:])
    return benchmark


def arrival_groups(order: Sequence[int], experiences: int, initial: int | None = None) -> list[list[int]]:
    """Split ``order`` into ``experiences`` groups; see :func:`class_incremental` for ``initial``."""
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
    superclasses = attributes_of(dataset).superclasses
    if not superclasses:
        raise StreamError("the data set has no superclasses: use by_superclass=False, or a data set such as SLURP")
    return superclasses


def _order(names: Sequence[str], class_order: Sequence[int | str] | None, seed: int) -> list[int]:
    classes = len(names)
    if class_order is None:
        return torch.randperm(classes, generator=torch.Generator().manual_seed(seed)).tolist()
    class_order = whole_numbers(class_order, "class_order", names=True, error=StreamError)
    for name in class_order:
        if isinstance(name, str) and name not in names:
            raise StreamError(f"class_order has '{name}'{nearest(name, names)}, expected class names or labels")
    order = [names.index(name) if isinstance(name, str) else name for name in class_order]
    if sorted(order) != list(range(classes)):
        missing = sorted(set(range(classes)) - set(order))
        unknown = sorted(label for label, times in Counter(order).items() if times > 1 or not 0 <= label < classes)
        raise StreamError(
            f"class_order is not a permutation of the {classes} classes: missing {missing}, unknown or repeated "
            f"{unknown}; expected each of 0 to {classes - 1} once"
        )
    return order


def _check_present(train: Dataset, test: Dataset, groups: Sequence[Sequence[int]], by_superclass: bool) -> None:
    """Check that every class has samples in train and test; with superclasses, that every experience has."""
    for name, dataset, other in (("train", train, test), ("test", test, train)):
        present, lacking = set(_labels(dataset)), []
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
            others = sum(label in lacking for label in _labels(other))
            logger.warning(
                "%d of %d classes have no samples in %s, first '%s'; %s",
                len(lacking),
                len(train.classes),
                name,
                train.classes[lacking[0]],
                f"their {others} test samples count as errors" if name == "train" else "their accuracy is not measured",
            )


def _labels(dataset: Dataset) -> list[int]:
    """Return labels as ``int``; tensors of equal value are distinct as keys of a dict or members of a set."""
    return whole_numbers(dataset.labels, f"labels of {type(dataset).__name__}", error=StreamError)


def _subsets(dataset: Dataset, groups: Sequence[Sequence[int]]) -> list[Any]:
    """Return the samples of each group of labels, in the order of the data set."""
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
