"""The choice of samples to forget: a share of the data, a class, wrong labels, a speaker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch

from mmcl.config.numbers import Factor
from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.attributes import attributes_of
from mmcl.data.selection import Selection
from mmcl.errors import ConfigError, DataError
from mmcl.text.suggest import nearest
from mmcl.unlearning.loop import origin

Kind = Literal["data", "class", "noisy_labels", "speaker"]


class Removal(NamedTuple):
    """What a model is trained on, what of it remains and is forgotten, and test samples that it never saw.

    ``train`` is all of it. Of the test samples, ``unseen`` are such as are forgotten (of the same class or speaker,
    where one is forgotten; else a random half), and ``others`` the rest: an attacker who tells ``remain`` from
    ``others`` is asked to tell ``forget`` from ``unseen``.
    """

    train: Selection
    remain: Selection
    forget: Selection
    others: Selection
    unseen: Selection


def choose_removal(
    kind: Kind,
    train: Any,
    test: Any,
    *,
    classes: Sequence[int | str] = (),
    share: Factor = 0.4,
    speakers: Sequence[str] = (),
    seed: int = 0,
) -> Removal:
    """Choose what is to be forgotten.

    * ``data``: a random ``share`` of each of ``classes``;
    * ``class``: all of ``classes``;
    * ``noisy_labels``: a random ``share`` of each of ``classes`` is trained with wrong labels, drawn from all other
      classes, and these samples are to be forgotten;
    * ``speaker``: all that ``speakers`` said.

    The tasks of LAF (Shen et al., arXiv 2404.00506), and one of speech. Differs from the released code: it never draws
    the last class as a wrong label.

    Args:
        kind: kind of samples to forget: ``data``, ``class``, ``noisy_labels`` or ``speaker``.
        train, test: data sets with the same classes.
        classes: labels or names of the classes to forget (class) or to draw from (data, noisy_labels); empty for all.
        share: share of each class to forget (data, noisy_labels).
        speakers: names of the speakers to forget (speaker); the data set must have ``speakers``.
        seed: seed of the random draws.

    Raises:
        ConfigError: no class or speaker is named, or ``share`` is not within (0, 1].
        DataError: the data lacks a class or speaker, or no sample remains or is forgotten.
    """
    if kind not in get_args(Kind):
        raise ConfigError(f"kind is '{kind}'{nearest(kind, get_args(Kind))}, expected {', '.join(get_args(Kind))}")
    if not 0 < share <= 1:
        raise ConfigError(f"share is {share}, expected above 0, up to 1")
    classes = whole_numbers(classes, "classes", names=True, error=DataError)
    if kind == "class" and not classes:
        raise ConfigError("classes is empty, expected those that are to be forgotten")
    draw, labels, given = torch.Generator().manual_seed(seed), _labels(train, classes), list(train.labels)
    if kind == "speaker":
        gone, unseen = _spoken_by(train, speakers), _spoken_by(test, speakers)
    elif kind == "class":
        gone, unseen = _of_classes(train, labels), _of_classes(test, labels)
    else:
        gone = []
        for label in labels or sorted(set(train.labels)):
            own = _of_classes(train, [label])
            order = torch.randperm(len(own), generator=draw)[: round(share * len(own))]
            gone += sorted(own[place] for place in order.tolist())
        unseen = torch.randperm(len(test), generator=draw)[: len(test) // 2].sort().values.tolist()
    if kind == "noisy_labels":
        count = len(train.classes)
        for row, turn in zip(gone, torch.randint(1, count, (len(gone),), generator=draw).tolist(), strict=True):
            given[row] = (given[row] + turn) % count
    parts = {
        "to train on": (train, range(len(train)), given),
        "to remain": (train, _others(train, gone), given),
        "to forget": (train, gone, given),
        "of the test beside what is forgotten": (test, _others(test, unseen), test.labels),
        "of the test like what is forgotten": (test, unseen, test.labels),
    }
    for name, (_, rows, _) in parts.items():
        if not rows:
            raise DataError(f"there are 0 samples {name}, expected at least 1: choose other classes or speakers")
    return Removal(*(Selection(data, rows, [own[row] for row in rows]) for data, rows, own in parts.values()))


def _others(data: Any, rows: Sequence[int]) -> list[int]:
    there = set(rows)
    return [row for row in range(len(data)) if row not in there]


def _labels(data: Any, classes: Sequence[int | str]) -> list[int]:
    names = list(data.classes)
    for name in classes:
        if (isinstance(name, str) and name not in names) or (isinstance(name, int) and not 0 <= name < len(names)):
            raise DataError(f"there is no class {name!r}{nearest(str(name), names)}, expected some of {names[:10]}")
    return [names.index(name) if isinstance(name, str) else name for name in classes]


def _of_classes(data: Any, labels: Sequence[int]) -> list[int]:
    return [row for row, label in enumerate(data.labels) if label in labels]


def speakers_of(data: Any) -> list[str]:
    """Return who speaks in each sample.

    Raises:
        DataError: the data set does not say.
    """
    source, rows = origin(data)
    known = attributes_of(source).speakers or ()
    if not any(known):
        raise DataError("the data set does not say who speaks: expected one with speakers, such as fsdd")
    return [known[row] for row in rows]


def _spoken_by(data: Any, speakers: Sequence[str]) -> list[int]:
    known = speakers_of(data)
    if not speakers:
        raise ConfigError("speakers is empty, expected those who are to be forgotten")
    for name in speakers:
        if name not in known:
            raise DataError(f"there is no speaker '{name}'{nearest(name, set(known))}: {', '.join(sorted(set(known)))}")
    return [row for row, name in enumerate(known) if name in speakers]
