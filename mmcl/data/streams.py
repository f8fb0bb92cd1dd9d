"""Streams of experiences: classes or domains of a data set arrive one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcl.batch import collate
from mmcl.config.numbers import Count, Probability
from mmcl.data.base import Dataset
from mmcl.data.class_groups import labels_of
from mmcl.data.fingerprint import digest_of, sample_digests
from mmcl.data.scenarios import Part, StreamPlan, plan_stream
from mmcl.data.torch_dataset import Samples, as_splits
from mmcl.lazy import quick_imports

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
            ``test_sizes`` and ``stream_seed``; also ``domains`` if domains arrive.
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
    domain: str | None = None,
    shots: Count | None = None,
    blur: Probability = 0.0,
) -> ClassIncrementalBenchmark:
    """Create an Avalanche benchmark in which the classes of ``train`` arrive in ``experiences`` groups.

    Labels are not renumbered. Experiences have these attributes besides Avalanche's own: ``source``, the data set;
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
        domain: attribute that names each sample's domain, such as ``speakers``. Domains then arrive with all their
            classes; ``class_order`` and ``initial`` refer to domains. A warning names a class that a domain lacks.
        shots: training samples of each class in every experience but the first, drawn by the seed; None for all.
        blur: share of each class's training samples that arrives in other experiences, drawn by the seed.

    Raises:
        StreamError: settings do not fit the data or each other, see :func:`~mmcl.data.scenarios.plan_stream`.

    >>> import torch
    >>> digits = [(torch.zeros(3), row % 4) for row in range(12)]
    >>> class_incremental(digits, digits, experiences=2, class_order=range(4), shots=1).description["train_sizes"]
    [6, 2]
    """
    train, test = as_splits(train, test)
    chosen = {"by_superclass": by_superclass, "without": without, "domain": domain, "shots": shots, "blur": blur}
    plan = plan_stream(train, test, experiences, class_order, seed, initial, **chosen)  # type: ignore[arg-type]
    benchmark = _benchmark({"train": (train, plan.train), "test": (test, plan.test)})
    is_drawn = class_order is None or shots is not None or blur > 0
    benchmark.description = _description(plan, train.classes, seed if is_drawn else None)
    return benchmark


def _description(plan: StreamPlan, classes: Sequence[str], seed: int | None) -> dict[str, Any]:
    """Return a stream as plain data."""
    return {
        "class_order": [label for group in plan.arriving for label in group],
        "experiences": [[classes[label] for label in group] for group in plan.arriving],
        "train_sizes": [len(part.rows) for part in plan.train],
        "test_sizes": [len(part.rows) for part in plan.test],
        "stream_seed": seed,
        **({"domains": plan.domains} if plan.domains else {}),
    }


def _benchmark(parts: dict[str, tuple[Dataset, Sequence[Part]]]) -> ClassIncrementalBenchmark:
    """Return the Avalanche benchmark with a stream per data set and an experience per part."""
    streams = {name: _subsets(dataset, own) for name, (dataset, own) in parts.items()}
    timeline = with_classes_timeline(benchmark_from_datasets(**streams))
    benchmark = ClassIncrementalBenchmark(list(timeline.streams.values()))
    for name, (dataset, own) in parts.items():
        digests = sample_digests(dataset)
        for part, experience in zip(own, benchmark.streams[name], strict=True):
            experience.source = dataset
            experience.group = part.group
            experience.digest = digest_of(digests, part.rows)
    return benchmark


def _subsets(dataset: Dataset, parts: Sequence[Part]) -> list[Any]:
    """Return the samples of each part as Avalanche's data sets."""
    attributes = [
        DataAttribute(labels_of(dataset), "targets"),
        DataAttribute(list(range(len(dataset))), "rows"),
    ]
    whole = AvalancheDataset([dataset], data_attributes=attributes, collate_fn=collate)
    return [whole.subset(part.rows) for part in parts]
