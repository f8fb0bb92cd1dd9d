from collections import Counter

import pytest
import torch
from avalanche.core import SupervisedPlugin

from mmcl.models.readouts import StreamingLDA
from mmcl.strategies import ClosedForm, EarlyRehearsal, er_ace
from mmcl.strategies.rehearsal import memory_of


class Epoch(SupervisedPlugin):
    """Keeps the rows of an epoch, and whether each is a rehearsal sample."""

    def before_training_epoch(self, strategy, **kwargs):
        loader = strategy.dataloader
        self.rows = dict(zip(loader.rows.tolist(), loader.is_rehearsal.tolist(), strict=True))
        self.count = len(loader.rows)


def test_the_memory_is_balanced_and_rehearsed_with_new_classes(make, benchmark):
    epoch = Epoch()
    strategy = make(er_ace, memory_size=23, plugins=[epoch])
    earlier, classes = set(), []
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        memory, new = memory_of(strategy), set(experience.dataset.rows[:])
        classes += experience.group
        assert isinstance(memory, EarlyRehearsal) and list(memory.memory) == classes and len(memory.rows) == 23
        counts = Counter(experience.source.labels[row] for row in memory.rows)
        assert max(counts.values()) - min(counts.values()) <= 1
        assert set(memory.rows) <= earlier | new
        assert epoch.count == len(epoch.rows) and set(epoch.rows) == new | set(memory.rows)
        assert {row for row, rehearsed in epoch.rows.items() if rehearsed} == set(memory.rows)
        earlier = set(memory.rows)


def test_a_resumed_experience_keeps_its_memory(make, train, benchmark):
    states = []

    class Saving(SupervisedPlugin):
        def after_training_epoch(self, strategy, **kwargs):
            states.append(strategy.state_dict())

    expected = train(make(er_ace, memory_size=20, plugins=[Saving()]), benchmark, 3)
    for state, first in ((states[0], 0), (states[5], 1), (states[7], 2)):
        resumed = make(er_ace, memory_size=20, seed=7, plugins=[Saving()])
        resumed.load_state_dict(state)
        for experience in benchmark.train_stream[first:3]:
            resumed.train(experience, eval_streams=[])
        found = resumed.model.state_dict()
        kept = [name for name in expected if not name.startswith("encoder")]
        assert all(torch.equal(found[name], expected[name]) for name in kept)


def test_a_read_out_counts_every_sample_once(make, train, benchmark):
    readout = StreamingLDA()
    strategy = make(er_ace, memory_size=20, epochs=1, plugins=[ClosedForm(readout, old_classes="exemplars")])
    train(strategy, benchmark, 2)
    first, second = (sorted(experience.group) for experience in benchmark.train_stream[:2])
    assert readout.statistics.counts[first].tolist() == [5, 5]
    assert readout.statistics.counts[second].tolist() == [24, 24]


@pytest.mark.parametrize("size", [0, 40])
def test_the_size_may_be_zero(size, make, train, benchmark):
    strategy = make(er_ace, memory_size=size, epochs=1)
    train(strategy, benchmark, 2)
    assert len(memory_of(strategy).rows) == size
