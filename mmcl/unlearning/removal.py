"""Choice of the samples to forget: a share of the data, a class, samples with wrong labels, or a speaker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args, get_type_hints

import torch

from mmcl.config.numbers import Factor
from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.attributes import attributes_of
from mmcl.data.base import Dataset
from mmcl.data.selection import Selection
from mmcl.data.torch_dataset import Samples, as_splits
from mmcl.errors import ConfigError, DataError
from mmcl.text.suggest import nearest
from mmcl.unlearning.loop import origin

Kind = Literal["data", "class", "noisy_labels", "speaker"]


class Removal(NamedTuple):
    """Split of the training data into samples to keep and to forget, and of the test data for attacks.

    A membership attack learns to distinguish ``remain`` from ``others``, and is evaluated on ``forget`` and ``unseen``.

    Attributes:
        train: all training samples, with the labels used in training.
        remain: training samples to keep.
        forget: training samples to forget.
        others: test samples that are not in ``unseen``.
        unseen: test samples of the forgotten class or speaker; a random half if neither is forgotten.
    """

    train: Selection
    remain: Selection
    forget: Selection
    others: Selection
    unseen: Selection


Removal.__annotations__.update(get_type_hints(Removal))  # documentation tools cannot resolve the names


def choose_removal(
    kind: Kind,
    train: Samples,
    test: Samples,
    *,
    classes: Sequence[int | str] = (),
    share: Factor = 0.4,
    speakers: Sequence[str] = (),
    seed: int = 0,
) -> Removal:
    """Choose the training samples to forget, and the test samples to compare with.

    * ``data``: a random ``share`` of each of ``classes``;
    * ``class``: all samples of ``classes``;
    * ``noisy_labels``: a random ``share`` of each of ``classes``, trained with wrong labels of all other classes;
    * ``speaker``: all recordings of ``speakers``.

    The first three are the tasks of LAF, Shen et al., arXiv 2404.00506. Differs from the released code: that never
    draws the last class as a wrong label.

    Args:
        kind: kind of samples to forget: ``data``, ``class``, ``noisy_labels`` or ``speaker``.
        train, test: data sets with the same classes.
        classes: labels or names of the classes to forget (class) or to draw from (data, noisy_labels); empty for all.
        share: share of each class to forget (data, noisy_labels).
        speakers: names of the speakers to forget (speaker); the data set must have ``speakers``.
        seed: seed of the random draws.

    Raises:
        ConfigError: no class or speaker is named, or ``share`` is not within (0, 1].
        DataError: the data lacks a class or speaker, or a selection is empty.
    """
    if kind not in get_args(Kind):
        raise ConfigError(f"kind is '{kind}'{nearest(kind, get_args(Kind))}, expected {', '.join(get_args(Kind))}")
    if not 0 < share <= 1:
        raise ConfigError(f"share is {share}, expected more than 0 and at most 1")
    train, test = as_splits(train, test)
    classes = whole_numbers(classes, "classes", names=True, error=DataError)
    if kind == "class" and not classes:
        raise ConfigError("classes is empty, expected the classes to forget")
    generator, labels = torch.Generator().manual_seed(seed), _labels(train, classes)
    if kind == "speaker":
        forget, unseen = _rows_of_speakers(train, speakers), _rows_of_speakers(test, speakers)
    elif kind == "class":
        forget, unseen = _rows_of_classes(train, labels), _rows_of_classes(test, labels)
    else:
        forget = _sample_per_class(train, labels, share, generator)
        unseen = torch.randperm(len(test), generator=generator)[: len(test) // 2].sort().values.tolist()
    train_labels = _with_wrong_labels(train, forget, generator) if kind == "noisy_labels" else train.labels
    selected = {
        "to train on": (train, range(len(train)), train_labels),
        "to remain": (train, _complement(train, forget), train_labels),
        "to forget": (train, forget, train_labels),
        "of the test data unlike the forgotten ones": (test, _complement(test, unseen), test.labels),
        "of the test data like the forgotten ones": (test, unseen, test.labels),
    }
    for name, (_, rows, _) in selected.items():
        if not rows:
            raise DataError(f"there are 0 samples {name}, expected at least 1: choose other classes or speakers")
    return Removal(*(Selection(data, rows, [of[row] for row in rows]) for data, rows, of in selected.values()))


def _sample_per_class(data: Dataset, labels: Sequence[int], share: float, generator: torch.Generator) -> list[int]:
    """Rows of a random share of each class; no labels stand for all classes."""
    rows = []
    for label in labels or sorted(set(data.labels)):
        own = _rows_of_classes(data, [label])
        drawn = torch.randperm(len(own), generator=generator)[: round(share * len(own))]
        rows += sorted(own[index] for index in drawn.tolist())
    return rows


def _with_wrong_labels(data: Dataset, rows: Sequence[int], generator: torch.Generator) -> list[int]:
    """Labels of a data set, with those of some rows replaced by random other classes."""
    labels, classes = list(data.labels), len(data.classes)
    for row, shift in zip(rows, torch.randint(1, classes, (len(rows),), generator=generator).tolist(), strict=True):
        labels[row] = (labels[row] + shift) % classes
    return labels


def _complement(data: Dataset, rows: Sequence[int]) -> list[int]:
    excluded = set(rows)
    return [row for row in range(len(data)) if row not in excluded]


def _labels(data: Dataset, classes: Sequence[int | str]) -> list[int]:
    names = list(data.classes)
    for name in classes:
        if (isinstance(name, str) and name not in names) or (isinstance(name, int) and not 0 <= name < len(names)):
            raise DataError(f"there is no class {name!r}{nearest(str(name), names)}, expected some of {names[:10]}")
    return [names.index(name) if isinstance(name, str) else name for name in classes]


def _rows_of_classes(data: Dataset, labels: Sequence[int]) -> list[int]:
    return [row for row, label in enumerate(data.labels) if label in labels]


def speakers_of(data: Dataset) -> list[str]:
    """Return the speaker of each sample.

    Raises:
        DataError: the data set has no speakers.
    """
    source, rows = origin(data)
    known = attributes_of(source).speakers or ()
    if not any(known):
        raise DataError(f"data set {type(source).__name__} has no speakers: choose one that has, such as fsdd")
    return [known[row] for row in rows]


def _rows_of_speakers(data: Dataset, speakers: Sequence[str]) -> list[int]:
    known = speakers_of(data)
    if not speakers:
        raise ConfigError("speakers is empty, expected the speakers to forget")
    for name in speakers:
        if name not in known:
            raise DataError(
                f"there is no speaker '{name}'{nearest(name, set(known))}: expected some of "
                f"{', '.join(sorted(set(known)))}"
            )
    return [row for row, name in enumerate(known) if name in speakers]
