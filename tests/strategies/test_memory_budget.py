import pytest
import torch

from mmcl.errors import ConfigError
from mmcl.strategies import agem, coconut, der_pp, er_ace, gdumb, icarl, joint, replay
from mmcl.strategies.kept_memory import kept_bytes, sample_bytes
from mmcl.strategies.memory_budget import MemoryBudget, equal_shares
from mmcl.strategies.rehearsal import memory_of

ONE = 256 * 4  # bytes of the features of a digit


class Recordings:
    """Samples of 1 to 9 numbers, of two classes in turn."""

    classes = ("on", "off")
    lengths = (3, 9, 1, 4, 5, 2, 7, 6)

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, row):
        return {"audio": torch.zeros(self.lengths[row]), "label": row % 2, "text": self.classes[row % 2]}


@pytest.mark.parametrize("limit", [72, 73, 100, 148, 1000])
def test_the_largest_number_that_fits_is_found(limit):
    budget, memory = MemoryBudget(limit, Recordings(), []), {0: [4, 0, 6, 2], 1: [1, 7, 3, 5]}

    def kept(count):
        shares = zip(memory.values(), equal_shares(count, 2), strict=True)
        return sample_bytes(Recordings(), [row for rows, share in shares for row in rows[:share]])

    found = budget.fitting(memory)
    assert kept(found) <= limit and (kept(found + 1) > limit or found == budget.most)
    assert budget.most == limit // 4


def test_a_budget_equals_the_number_of_samples_that_it_holds(make, train, benchmark):
    by_number = make(replay, memory_size=23)
    expected = train(by_number, benchmark)
    by_bytes = make(replay, memory_bytes=24 * ONE - 1)
    found = train(by_bytes, benchmark)
    assert memory_of(by_number).memory == memory_of(by_bytes).memory
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("preset", [replay, icarl, coconut, er_ace, gdumb, agem])
def test_every_memory_stays_within_its_budget(preset, make, benchmark):
    strategy = make(preset, memory_bytes=20 * ONE + 500, epochs=1)
    for experience in benchmark.train_stream[:3]:
        strategy.train(experience, eval_streams=[])
        assert kept_bytes(strategy.plugins) == 20 * ONE


def test_logits_that_are_stored_with_samples_count(make, benchmark):
    strategy = make(der_pp, memory_bytes=20 * ONE, epochs=1)
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        assert len(memory_of(strategy).rows) == 19 and kept_bytes(strategy.plugins) <= 20 * ONE
    assert kept_bytes(strategy.plugins) == 19 * (ONE + 10 * 4)


@pytest.mark.parametrize("selection", ["random", "herding"])
def test_samples_of_variable_length_fill_the_budget(selection, make_seq2seq, sequence_benchmark):
    source, limit = sequence_benchmark.train_stream[0].source, 25_000
    strategy = make_seq2seq(replay, memory_bytes=limit, selection=selection, epochs=1)
    for experience in sequence_benchmark.train_stream[:3]:
        strategy.train(experience, eval_streams=[])
        counts = [len(rows) for rows in memory_of(strategy).memory.values()]
        assert max(counts) - min(counts) <= 1
        largest = max(sample_bytes(source, [row]) for row in range(len(source)))
        assert limit - largest < kept_bytes(strategy.plugins) <= limit


def test_a_budget_that_is_too_small_says_what_a_sample_needs(make, benchmark):
    for limit, settings in ((1000, {}), (10 * ONE - 1, {"selection": "herding"})):
        with pytest.raises(ConfigError, match=f"memory_bytes is {limit:,} for 10 classes.*1,024.*10,240"):
            make(replay, memory_bytes=limit, **settings).train(benchmark.train_stream[0], eval_streams=[])
    with pytest.raises(ConfigError, match="10,640"):
        make(der_pp, memory_bytes=10 * ONE).train(benchmark.train_stream[0], eval_streams=[])
    make(replay, memory_bytes=10 * ONE, epochs=1).train(benchmark.train_stream[0], eval_streams=[])
    with pytest.raises(ConfigError, match="memory_bytes is 0"):
        make(gdumb, memory_bytes=0)
    with pytest.raises(TypeError, match="memory_bytes"):
        make(joint, memory_bytes=ONE)


def test_samples_without_tensors_need_a_number():
    class Texts(Recordings):
        def __getitem__(self, row):
            return {"text": "on", "label": 0}

    with pytest.raises(ConfigError, match="memory_bytes.*sample 0.*memory_size"):
        MemoryBudget(100, Texts(), [])
