"""Which samples are to be forgotten: some of the data, a class, wrong labels, a speaker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch

from mmcl.data.base import nearest
from mmcl.data.selection import Selection
from mmcl.errors import ConfigError, DataError

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
    share: float = 0.4,
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
        kind: one of these.
        train, test: data sets of one kind.
        classes: labels or names; of ``data`` and ``noisy_labels`` none means all.
        share: above 0, up to 1.
        speakers: names; the data set has to have ``speakers``, one for each sample.
        seed: of what is drawn.

    Raises:
        ConfigError: nothing is named that is to be forgotten, or a share that is none.
        DataError: a class or speaker that the data does not have, or nothing remains or is forgotten.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share is {share}, expected above 0, up to 1")
    draw = torch.Generator().manual_seed(seed)
    everything = list(range(len(train)))
    if kind == "speaker":
        gone = _spoken_by(train, speakers)
        return _removal(train, test, gone, _spoken_by(test, speakers))
    labels = _labels(train, classes)
    if kind == "class":
        if not classes:
            raise ConfigError("classes is empty, expected those that are to be forgotten")
        return _removal(train, test, _of_classes(train, labels), _of_classes(test, labels))
    gone = []
    for label in labels or sorted(set(train.labels)):
        own = _of_classes(train, [label])
        order = torch.randperm(len(own), generator=draw)[: round(share * len(own))]
        gone += sorted(own[place] for place in order.tolist())
    half = torch.randperm(len(test), generator=draw)[: len(test) // 2].sort().values.tolist()
    given = list(train.labels)
    if kind == "noisy_labels":
        count = len(train.classes)
        for row, turn in zip(gone, torch.randint(1, count, (len(gone),), generator=draw).tolist(), strict=True):
            given[row] = (given[row] + turn) % count
    elif kind != "data":
        raise ConfigError(f"kind is '{kind}', expected data, class, noisy_labels or speaker")
    return _removal(Selection(train, everything, given), test, gone, half)


def _removal(train: Any, test: Any, gone: Sequence[int], unseen: Sequence[int]) -> Removal:
    """Cut training data and test data; ``train`` may be a selection of all samples with other labels."""
    whole = train if isinstance(train, Selection) else Selection(train, list(range(len(train))))
    without, left = set(gone), set(unseen)
    parts = {
        "to remain": (whole, [row for row in range(len(whole)) if row not in without]),
        "to forget": (whole, list(gone)),
        "of the test beside what is forgotten": (test, [row for row in range(len(test)) if row not in left]),
        "of the test like what is forgotten": (test, list(unseen)),
    }
    for name, (_, rows) in parts.items():
        if not rows:
            raise DataError(f"there are 0 samples {name}, expected at least 1: choose other classes or speakers")
    return Removal(whole, *(_part(source, rows) for source, rows in parts.values()))


def _part(whole: Any, rows: Sequence[int]) -> Selection:
    """Some samples of all, with the labels that they have there, as a selection of the data set itself."""
    if not isinstance(whole, Selection):
        return Selection(whole, rows)
    labels = whole.labels
    return Selection(whole.source, [whole.rows[row] for row in rows], [labels[row] for row in rows])


def _labels(data: Any, classes: Sequence[int | str]) -> list[int]:
    names = list(data.classes)
    for name in classes:
        if (isinstance(name, str) and name not in names) or (isinstance(name, int) and not 0 <= name < len(names)):
            raise DataError(f"there is no class {name!r}{nearest(str(name), names)}, expected some of {names[:10]}")
    return [names.index(name) if isinstance(name, str) else name for name in classes]


def _of_classes(data: Any, labels: Sequence[int]) -> list[int]:
    return [row for row, label in enumerate(data.labels) if label in labels]


def _spoken_by(data: Any, speakers: Sequence[str]) -> list[int]:
    known: Sequence[str] = getattr(data, "speakers", None) or ()
    if not any(known):
        raise DataError("the data set does not say who speaks: expected one with speakers, such as fsdd")
    if not speakers:
        raise ConfigError("speakers is empty, expected those who are to be forgotten")
    for name in speakers:
        if name not in known:
            raise DataError(f"there is no speaker '{name}'{nearest(name, set(known))}: {', '.join(sorted(set(known)))}")
    return [row for row, name in enumerate(known) if name in speakers]
