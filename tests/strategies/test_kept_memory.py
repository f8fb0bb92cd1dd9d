import torch

from mmcl.strategies import naive, replay, slda
from mmcl.strategies.kept_memory import kept_bytes, sample_bytes


def test_a_sample_counts_the_tensors_that_a_model_takes():
    samples = [{"features": torch.zeros(3), "label": 1}, {"features": torch.zeros(5, dtype=torch.half), "text": "on"}]
    assert sample_bytes(samples, [0, 1, 1]) == 12 + 2 * 10
    assert sample_bytes(samples, []) == 0


def test_exemplars_are_counted_as_they_are_kept(make, train, benchmark):
    strategy = make(replay, memory_size=20)
    train(strategy, benchmark)
    one = benchmark.train_stream[0].source[0]["features"]
    assert kept_bytes(strategy.plugins) == 20 * one.numel() * one.element_size()
    other = make(naive)
    train(other, benchmark, 1)
    assert kept_bytes(other.plugins) == 0


def test_statistics_do_not_grow_with_the_samples(make_closed, train, benchmark):
    strategy = make_closed(slda)
    train(strategy, benchmark, 1)
    statistics = strategy.model.readout.statistics
    assert kept_bytes(strategy.plugins) == sum(each.numel() * each.element_size() for each in statistics.buffers())
