from __future__ import annotations

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets, nc_benchmark
from avalanche.benchmarks.utils import AvalancheDataset, as_classification_dataset
from avalanche.benchmarks.utils.data_attribute import DataAttribute
from plain_digits import WithTargets, as_vectors, digit_tensors

from mmcl.data import class_incremental
from mmcl.data.avalanche_streams import rows_of, with_source
from mmcl.data.torch_dataset import as_dataset
from mmcl.errors import StreamError


@pytest.fixture
def benchmark():
    train, test = digit_tensors()
    return nc_benchmark(WithTargets(*train), WithTargets(*test), n_experiences=2, task_labels=False, seed=0)


def test_an_experience_gets_the_attributes_of_a_stream_of_mmcl(benchmark):
    (_, labels), _ = digit_tensors()
    seen = []
    for experience in benchmark.train_stream:
        assert with_source(experience) is experience
        rows = rows_of(experience)
        assert [experience.source.labels[row] for row in rows] == list(experience.dataset.targets)
        assert experience.group == sorted(experience.classes_in_this_experience)
        seen += rows
    assert sorted(seen) == list(range(len(labels)))


def test_the_source_is_made_once_and_the_digest_identifies_the_samples(benchmark):
    first, again, second = (with_source(benchmark.train_stream[place]) for place in (0, 0, 1))
    assert first.source is again.source is second.source and first.digest == again.digest != second.digest
    tests = with_source(benchmark.test_stream[0])
    assert tests.source is not first.source and len(tests.source) != len(first.source)
    sliced = next(iter(benchmark.train_stream[1:]))
    assert with_source(sliced).source is first.source and rows_of(sliced) == rows_of(second)


def test_classes_of_earlier_experiences_are_added():
    (images, labels), _ = digit_tensors()
    groups = (labels < 1, labels >= 2)
    parts = [as_classification_dataset(WithTargets(images[chosen], labels[chosen])) for chosen in groups]
    stream = benchmark_from_datasets(train=parts).train_stream
    second = with_source(stream[1])
    assert second.previous_classes == {0} and second.classes_seen_so_far == {0, 2, 3}
    assert second.classes_in_this_experience == {2, 3}


def test_streams_of_mmcl_are_unchanged():
    data = as_vectors(*digit_tensors()[0])
    experience = class_incremental(data, data, experiences=2).train_stream[0]
    before = dict(vars(experience))
    assert with_source(experience) is experience and vars(experience) == before
    assert rows_of(experience) == list(experience.dataset.rows)


def test_samples_of_mmcl_in_an_avalanche_data_set_keep_their_entries():
    source = as_dataset(as_vectors(*digit_tensors()[0]))
    data = AvalancheDataset([source], data_attributes=[DataAttribute(source.labels, "targets")])
    experience = with_source(benchmark_from_datasets(train=[data]).train_stream[0])
    assert experience.source[3]["text"] == source.texts[3] and experience.source[3]["features"].shape == (64,)


def test_what_has_no_data_or_no_list_of_experiences_is_an_error(benchmark):
    class Experience:
        current_experience = 1

    with pytest.raises(StreamError, match="class_incremental"):
        with_source(Experience())
    Experience.dataset = as_classification_dataset(WithTargets(torch.zeros(1, 1, 2, 2), torch.tensor([0])))
    with pytest.raises(StreamError, match="no stream"):
        with_source(Experience())
    Experience._origin_stream = iter([Experience()])
    with pytest.raises(StreamError, match="generator"):
        with_source(Experience())
