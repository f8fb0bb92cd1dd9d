import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch.nn.functional import cross_entropy

from mmcl.errors import ConfigError
from mmcl.strategies import agem, gradient_projection, naive
from mmcl.strategies.gradient_projection import GradientProjection, project
from mmcl.strategies.rehearsal import memory_of


def slow(gradient, reference):
    """The projection as loops over numbers."""
    dot = sum(a * b for a, b in zip(gradient, reference, strict=True))
    if dot >= 0:
        return gradient
    square = sum(b * b for b in reference)
    return [a - dot / square * b for a, b in zip(gradient, reference, strict=True)]


def test_projections_equal_a_slow_loop():
    torch.manual_seed(0)
    for _ in range(20):
        gradient, reference = torch.randn(2, 7, dtype=torch.double)
        expected = slow(gradient.tolist(), reference.tolist())
        assert project(gradient, reference).tolist() == pytest.approx(expected)
    assert project(gradient, torch.zeros(7, dtype=torch.double)).tolist() == gradient.tolist()


class Before(SupervisedPlugin):
    """Keeps the gradients that the next plugin changes."""

    def after_backward(self, strategy, **kwargs):
        self.gradients = [each.grad.clone() for each in strategy.model.parameters() if each.grad is not None]


class After(SupervisedPlugin):
    """Compares the gradients with the slow projection, for a reference batch of the whole memory."""

    def __init__(self, before):
        super().__init__()
        self.before, self.opposed, self.steps = before, 0, 0

    def after_backward(self, strategy, **kwargs):
        rows = memory_of(strategy).rows
        assert not strategy.mbatch["is_rehearsal"].any()
        if not rows:
            return
        used = [each for each in strategy.model.parameters() if each.grad is not None and each.grad.any()]
        own = torch.cat([each.flatten() for each in self.before.gradients if each.any()])
        batch = strategy.experience.source.batch(torch.tensor(rows))
        loss = cross_entropy(strategy.model(batch).logits, batch["label"])
        reference = torch.cat([each.flatten() for each in torch.autograd.grad(loss, used)])
        expected = slow(own.tolist(), reference.tolist())
        found = torch.cat([each.grad.flatten() for each in used]).tolist()
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)
        self.opposed += bool(own @ reference < 0)
        self.steps += 1


def test_gradients_of_a_step_are_projected(make, train, benchmark):
    strategy = make(agem, memory_size=20, reference_size=20, batch_size=12, epochs=2)
    before = Before()
    strategy.plugins.insert(0, before)
    strategy.plugins.append(After(before))
    train(strategy, benchmark, 3)
    after = strategy.plugins[-1]
    assert after.steps > 10 and after.opposed > 0


def test_reference_batches_are_drawn_from_the_memory_of_the_experience(make, benchmark, monkeypatch):
    drawn, read = [], gradient_projection._reference

    def _reference(strategy, rows, parameters):
        drawn.append((strategy.experience.current_experience, rows.tolist()))
        return read(strategy, rows, parameters)

    monkeypatch.setattr(gradient_projection, "_reference", _reference)
    strategy, memories = make(agem, memory_size=20, reference_size=6), []
    for experience in benchmark.train_stream[:3]:
        memories.append(set(memory_of(strategy).rows))
        strategy.train(experience, eval_streams=[])
    assert {number for number, _ in drawn} == {1, 2}
    assert all(len(set(rows)) == 6 and set(rows) <= memories[number] for number, rows in drawn)


def test_a_random_reference_batch_resumes(make, train, benchmark):
    expected = train(make(agem, memory_size=20, reference_size=6), benchmark, 3)
    stopped, resumed = make(agem, memory_size=20, reference_size=6), None
    train(stopped, benchmark, 2)
    state = stopped.state_dict()
    resumed = make(agem, memory_size=20, reference_size=6, seed=4)
    resumed.load_state_dict(state)
    resumed.train(benchmark.train_stream[2], eval_streams=[])
    found = resumed.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items() if not name.startswith("encoder"))


def test_without_memory_it_is_naive(make, train, benchmark):
    one, other = train(make(agem, memory_size=0), benchmark, 2), train(make(naive), benchmark, 2)
    assert all(torch.equal(one[name], value) for name, value in other.items())


def test_faulty_settings_raise(make, benchmark):
    with pytest.raises(ConfigError, match="reference_size is 0"):
        make(agem, reference_size=0)
    with pytest.raises(ConfigError, match="Rehearsal"):
        make(naive, plugins=[GradientProjection()]).train(benchmark.train_stream[0], eval_streams=[])
