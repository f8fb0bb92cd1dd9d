"""Which samples arrive in which experience: by class or by domain, with blurred boundaries, or with few samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from mmcl.config.numbers import Count, Probability
from mmcl.data.attributes import values_by_sample
from mmcl.data.base import Dataset, logger
from mmcl.data.class_groups import arrival_groups, class_groups, labels_of, order_of
from mmcl.errors import StreamError
from mmcl.text.suggest import did_you_mean


@dataclass(frozen=True)
class Part:
    """The samples of one experience.

    Attributes:
        group: labels of the experience.
        rows: rows of its samples, in the order of the data set.
    """

    group: list[int]
    rows: list[int]


@dataclass(frozen=True)
class StreamPlan:
    """The experiences of a stream.

    Attributes:
        arriving: labels that each experience has first.
        train: samples of each experience to train on.
        test: samples of each experience to test on.
        domains: domains of each experience; empty in a class-incremental stream.
    """

    arriving: list[list[int]]
    train: list[Part]
    test: list[Part]
    domains: list[list[str]] = field(default_factory=list)


def plan_stream(
    train: Dataset,
    test: Dataset,
    experiences: Count = 5,
    class_order: Sequence[int | str] | None = None,
    seed: int = 0,
    initial: Count | None = None,
    *,
    by_superclass: bool = False,
    without: Sequence[int] = (),
    domain: str | None = None,
    shots: Count | None = None,
    blur: Probability = 0.0,
) -> StreamPlan:
    """Return the samples of each experience; arguments are those of :func:`~mmcl.data.class_incremental`.

    Test samples stay with the experience of their class, also with ``blur``.

    Raises:
        StreamError: there are more experiences than classes, a label is unknown, a class has no samples in train or
            test, ``class_order`` is not a permutation of the classes, the data set has no superclasses, or the two
            data sets have different classes; the data sets lack the attribute ``domain``, a domain has no samples in
            train or test, a class has fewer samples than ``shots``, or settings exclude each other.
    """
    if blur and shots is not None:
        raise StreamError(
            f"blur is {blur} and shots is {shots}, which leaves other numbers of samples: set one of them"
        )
    if domain is None:
        groups = class_groups(
            train, test, experiences, class_order, seed, initial, by_superclass=by_superclass, without=without
        )
        plan = StreamPlan(groups, _by_class(train, groups), _by_class(test, groups))
    elif by_superclass or blur:
        raise StreamError(f"domain is '{domain}' with by_superclass or blur: set one of them only")
    else:
        plan = _by_domain(train, test, domain, experiences, class_order, seed, initial, without)
    random = torch.Generator().manual_seed(seed)
    if blur:
        plan = replace(plan, train=_blurred(plan.train, labels_of(train), blur, random))
    return plan if shots is None else replace(plan, train=_few(plan.train, train, shots, random))


def _by_class(dataset: Dataset, groups: Sequence[Sequence[int]]) -> list[Part]:
    by_label = _rows_by_label(range(len(dataset)), labels_of(dataset))
    return [Part(list(group), sorted(row for label in group for row in by_label.get(label, []))) for group in groups]


def _rows_by_label(rows: Sequence[int], labels: Sequence[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(labels[row], []).append(row)
    return found


def _by_domain(
    train: Dataset,
    test: Dataset,
    domain: str,
    experiences: int,
    order: Sequence[int | str] | None,
    seed: int,
    initial: int | None,
    without: Sequence[int],
) -> StreamPlan:
    """Return a plan in which domains arrive in groups, with the samples of all classes."""
    of_train, of_test = _domains_of(train, domain), _domains_of(test, domain)
    names = [str(name) for name in sorted(set(of_train))]
    groups = [[names[each] for each in group] for group in _domain_groups(names, order, seed, experiences, initial)]
    left_out, parts = set(without), list[list[Part]]()
    for what, dataset, domains in (("train", train, of_train), ("test", test, of_test)):
        labels, by_domain = labels_of(dataset), dict[str, list[int]]()
        for row, name in enumerate(domains):
            if labels[row] not in left_out:
                by_domain.setdefault(str(name), []).append(row)
        for name in names:
            if name not in by_domain:
                raise StreamError(
                    f"domain '{name}' of {domain} has 0 samples in {what}, expected at least 1: use splits that share "
                    "domains, or another attribute"
                )
        _report_absent(what, dataset, labels, by_domain, names)
        rows = [sorted(row for name in group for row in by_domain[name]) for group in groups]
        parts.append([Part(sorted({labels[row] for row in each}), each) for each in rows])
    seen: set[int] = set()
    arriving = []
    for part in parts[0]:
        arriving.append([label for label in part.group if label not in seen])
        seen |= set(part.group)
    return StreamPlan(arriving, parts[0], parts[1], groups)


def _domain_groups(
    names: Sequence[str], order: Sequence[int | str] | None, seed: int, experiences: int, initial: int | None
) -> list[list[int]]:
    return arrival_groups(order_of(names, order, seed, "domains"), experiences, initial, "domains")


def _domains_of(dataset: Dataset, domain: str) -> Sequence[Any]:
    """Return the attribute of a data set that names the domain of each sample."""
    known = values_by_sample(dataset)
    if domain not in known:
        suggestion = did_you_mean(domain, known) if known else "use a data set with one, such as fsdd with speakers"
        raise StreamError(f"{type(dataset).__name__} has no '{domain}' with a name for each sample: {suggestion}")
    return known[domain]


def _report_absent(
    what: str, dataset: Dataset, labels: Sequence[int], by_domain: dict[str, list[int]], names: Sequence[str]
) -> None:
    """Warn of classes that a domain has no samples of."""
    present = set(labels)
    absent = [(name, present - {labels[row] for row in by_domain[name]}) for name in names]
    lacking = [(name, min(some)) for name, some in absent if some]
    if lacking:
        name, label = lacking[0]
        logger.warning(
            "%d of %d domains lack classes in %s, first '%s' without '%s'; it is learned from other domains only",
            len(lacking),
            len(names),
            what,
            name,
            dataset.classes[label],
        )


def _blurred(parts: Sequence[Part], labels: Sequence[int], blur: float, random: torch.Generator) -> list[Part]:
    """Move a share of each class's samples to other experiences, drawn at random."""
    if len(parts) < 2:
        raise StreamError(f"blur is {blur} for 1 experience, expected at least 2 experiences, or blur=0")
    rows: list[list[int]] = [[] for _ in parts]
    for number, part in enumerate(parts):
        others = [other for other in range(len(parts)) if other != number]
        for own in _rows_by_label(part.rows, labels).values():
            order = torch.randperm(len(own), generator=random).tolist()
            moved = int(blur * len(own) + 1e-9)  # 0.29 * 100 is 28.999...
            targets = torch.randint(len(others), (moved,), generator=random).tolist()
            for place, target in zip(order[:moved], targets, strict=True):
                rows[others[target]].append(own[place])
            rows[number] += [own[place] for place in order[moved:]]
    foreign = [{labels[row] for row in own} - set(part.group) for part, own in zip(parts, rows, strict=True)]
    return [
        Part([*part.group, *sorted(others)], sorted(own))
        for part, others, own in zip(parts, foreign, rows, strict=True)
    ]


def _few(parts: Sequence[Part], train: Dataset, shots: int, random: torch.Generator) -> list[Part]:
    """Keep ``shots`` samples of each class in every experience but the first, drawn at random."""
    labels, kept = labels_of(train), list(parts[:1])
    for number, part in enumerate(parts[1:], 1):
        rows: list[int] = []
        for label, own in sorted(_rows_by_label(part.rows, labels).items()):
            if len(own) < shots:
                raise StreamError(
                    f"class '{train.classes[label]}' has {len(own)} samples in experience {number}, but shots is "
                    f"{shots}: set shots to {len(own)} or less"
                )
            rows += [own[place] for place in torch.randperm(len(own), generator=random)[:shots].tolist()]
        kept.append(replace(part, rows=sorted(rows)))
    return kept
