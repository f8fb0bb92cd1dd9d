"""Experiences of plain Avalanche benchmarks, with the attributes that the strategies of mmcl read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch.utils.data import ConcatDataset

from mmcl.data.fingerprint import digest_of, sample_digests
from mmcl.data.torch_dataset import TorchDataset
from mmcl.errors import StreamError

if TYPE_CHECKING:
    from avalanche.benchmarks.scenarios import CLExperience

_SOURCE = "_mmcl_source"


def with_source(experience: CLExperience) -> CLExperience:
    """Return an experience with the attributes of :func:`~mmcl.data.class_incremental`.

    An experience of a plain Avalanche benchmark, such as ``nc_benchmark`` or ``benchmark_from_datasets``, gets
    ``source`` (the data of its whole stream), ``rows``, ``group`` and ``digest``, and the classes of earlier
    experiences where it lacks them. Other experiences are returned unchanged.

    Raises:
        StreamError: the experience has no data set, or its stream is a generator.
        DataError: a sample is not a pair of a tensor and a label.
    """
    if hasattr(experience, "source"):
        return experience
    if getattr(experience, "dataset", None) is None:
        raise StreamError("the experience has no data set: make the benchmark with mmcl.data.class_incremental")
    parts, number = _parts(experience), int(experience.current_experience)
    source, digests, starts = _source(experience, parts)
    rows = range(starts[number], starts[number] + len(experience.dataset))
    experience.source, experience.rows = source, list(rows)
    experience.group = sorted({source.labels[row] for row in rows})
    experience.digest = digest_of(digests, experience.rows)
    if not hasattr(experience, "classes_seen_so_far"):
        earlier = {source.labels[row] for row in range(starts[number])}
        experience.classes_in_this_experience = set(experience.group)
        experience.previous_classes = earlier
        experience.classes_seen_so_far = earlier | set(experience.group)
    return experience


def rows_of(experience: CLExperience) -> list[int]:
    """Return the rows of an experience's samples in its source."""
    return list(experience.rows if hasattr(experience, "rows") else experience.dataset.rows[:])


def _parts(experience: CLExperience) -> list[CLExperience]:
    """All experiences of the stream, in order."""
    stream = getattr(experience, "_origin_stream", None)
    if stream is None:
        if experience.current_experience not in (None, 0):
            raise StreamError("the experience belongs to no stream: take it from a benchmark's stream")
        return [experience]
    if not isinstance(stream, Sequence):
        raise StreamError("the stream is a generator, expected a list of experiences: make one with list(stream)")
    benchmark, name = getattr(stream, "benchmark", None), getattr(stream, "name", "")
    return list(benchmark.streams[name] if benchmark is not None else stream)


def _source(experience: CLExperience, parts: list[CLExperience]) -> tuple[TorchDataset, list[bytes], list[int]]:
    """Data of the whole stream, a digest per sample, and the first row of each experience; made once per stream."""
    stream = getattr(experience, "_origin_stream", None)
    holder = experience if stream is None else getattr(stream, "benchmark", None) or stream
    made = vars(holder).setdefault(_SOURCE, {})
    name = getattr(stream, "name", "")
    if name not in made:
        sizes = [len(each.dataset) for each in parts]
        source = TorchDataset(ConcatDataset([each.dataset for each in parts]))
        made[name] = (source, sample_digests(source), [sum(sizes[:place]) for place in range(len(sizes))])
    found: tuple[TorchDataset, list[bytes], list[int]] = made[name]
    return found
