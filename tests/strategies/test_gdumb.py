import pytest
import torch
from avalanche.core import SupervisedPlugin

from mmcl.errors import ConfigError
from mmcl.runs.checkpoint import load_checkpoint, save_checkpoint
from mmcl.strategies import gdumb
from mmcl.strategies.rehearsal import memory_of


class Seen(SupervisedPlugin):
    """Keeps the rows of each epoch, and the weights before the first step of the experience."""

    def __init__(self):
        super().__init__()
        self.rows, self.weights = [], {}

    def before_training_exp(self, strategy, **kwargs):
        self.weights = {name: value.clone() for name, value in strategy.model.state_dict().items()}

    def before_training_epoch(self, strategy, **kwargs):
        self.rows = []

    def before_forward(self, strategy, **kwargs):
        self.rows += strategy.mbatch["rows"].tolist()


def test_each_experience_trains_on_the_memory_alone_from_the_initial_weights(make, benchmark):
    seen = Seen()
    strategy = make(gdumb, memory_size=23, plugins=[seen])
    initial = {name: value.clone() for name, value in strategy.model.state_dict().items()}
    classes = []
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        classes += experience.group
        memory = memory_of(strategy)
        assert sorted(seen.rows) == sorted(memory.rows) and len(memory.rows) == 23
        counts = [len(rows) for rows in memory.memory.values()]
        assert list(memory.memory) == classes and max(counts) - min(counts) <= 1
        for name, value in initial.items():
            if not name.startswith("head."):
                assert torch.equal(seen.weights[name], value), name
        assert seen.weights["head.seen"].nonzero()[:, 0].tolist() == sorted(classes)


class Saver(SupervisedPlugin):
    def __init__(self, path, at):
        super().__init__()
        self.path, self.at = path, at

    def after_training_epoch(self, strategy, **kwargs):
        if (strategy.experience.current_experience, strategy.epoch) == self.at:
            save_checkpoint(self.path, strategy.state_dict())


@pytest.mark.parametrize("at", [(0, 1), (1, 4), (2, 2)])
def test_a_resumed_experience_keeps_its_memory_and_weights(at, make, train, benchmark, tmp_path):
    path = tmp_path / "state.safetensors"
    expected = train(make(gdumb, memory_size=20, plugins=[Saver(path, at)]), benchmark, 4)
    resumed = make(gdumb, memory_size=20, seed=5, plugins=[Saver(tmp_path / "other.safetensors", (9, 9))])
    resumed.load_state_dict(load_checkpoint(path))
    for experience in benchmark.train_stream[at[0] : 4]:
        resumed.train(experience, eval_streams=[])
    found = resumed.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items() if not name.startswith("encoder"))


def test_a_memory_of_nothing_raises(make):
    with pytest.raises(ConfigError, match="memory_size is 0"):
        make(gdumb, memory_size=0)
