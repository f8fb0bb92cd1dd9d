import math

import pytest
import torch
from avalanche.core import SupervisedPlugin

from mmcl.errors import ConfigError
from mmcl.models.readouts import StreamingLDA
from mmcl.runs.checkpoint import load_checkpoint, save_checkpoint
from mmcl.strategies import ClosedForm, DarkExperience, der, der_pp, naive, replay
from mmcl.strategies.dark_experience import head_logits
from mmcl.strategies.kept_memory import kept_bytes
from mmcl.strategies.rehearsal import memory_of


def dark(strategy):
    return next(plugin for plugin in strategy.plugins if isinstance(plugin, DarkExperience))


class Losses(SupervisedPlugin):
    """Keeps the loss, the logits and the batch of each step."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def before_training_epoch(self, strategy, **kwargs):
        plugin = dark(strategy)
        self.stored = dict(zip(plugin.rows, plugin.logits.tolist(), strict=True))

    def after_backward(self, strategy, **kwargs):
        batch = strategy.mbatch
        entries = [batch[name].tolist() for name in ("label", "is_rehearsal", "rows")]
        self.steps.append((strategy.loss.item(), strategy.mb_output.tolist(), *entries))


def slow(logits, labels, rehearsed, rows, stored, alpha, beta):
    """Mean over samples of the cross-entropy, or of both weighted terms for a rehearsal sample."""
    losses = []
    for scores, label, is_rehearsal, row in zip(logits, labels, rehearsed, rows, strict=True):
        seen = [score for score in scores if score > -math.inf]
        cross_entropy = math.log(sum(math.exp(score - scores[label]) for score in seen))
        if is_rehearsal:
            pairs = [(own, old) for own, old in zip(scores, stored[row], strict=True) if own > -math.inf]
            error = sum((own - old) ** 2 for own, old in pairs) / len(pairs)
            losses.append(alpha * error + beta * cross_entropy)
        else:
            losses.append(cross_entropy)
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("preset", "settings"), [(der, {"alpha": 0.7}), (der_pp, {"alpha": 0.7, "beta": 0.4})])
def test_the_loss_equals_a_slow_loop(preset, settings, make, train, benchmark):
    steps = Losses()
    strategy = make(preset, memory_size=30, batch_size=8, epochs=2, plugins=[steps], **settings)
    train(strategy, benchmark, 1)
    for experience in benchmark.train_stream[1:4]:
        steps.steps.clear()
        strategy.train(experience, eval_streams=[])
        stored = {row: logits[: len(steps.steps[0][1][0])] for row, logits in steps.stored.items()}
        assert any(any(rehearsed) for _, _, _, rehearsed, _ in steps.steps)
        for loss, logits, labels, rehearsed, rows in steps.steps:
            expected = slow(logits, labels, rehearsed, rows, stored, 0.7, settings.get("beta", 0.0))
            assert loss == pytest.approx(expected, rel=1e-4)


def test_without_the_error_and_with_all_labels_it_is_replay(make, train, benchmark):
    one = train(make(der_pp, memory_size=30, alpha=0.0, beta=1.0), benchmark, 3)
    other = train(make(replay, memory_size=30), benchmark, 3)
    assert all(torch.equal(one[name], value) for name, value in other.items())


def test_without_memory_it_is_naive(make, train, benchmark):
    one, other = train(make(der, memory_size=0), benchmark, 2), train(make(naive), benchmark, 2)
    assert all(torch.equal(one[name], value) for name, value in other.items())


def test_logits_are_stored_once_and_completed_when_classes_arrive(make, benchmark):
    """Those of old classes are from the end of the sample's experience, those of new ones from the untrained head."""
    found = {}

    class Arrival(SupervisedPlugin):
        def before_training_exp(self, strategy, **kwargs):
            plugin, source = dark(strategy), strategy.experience.source
            if plugin.rows:
                now = head_logits(strategy, source, plugin.rows)
                for row, logits in zip(plugin.rows, now, strict=True):
                    kept = found[row]
                    found[row] = torch.cat([kept, logits[len(kept) :]])
                    arriving = list(strategy.experience.group)
                    found[row][arriving] = logits[arriving]

    strategy = make(der_pp, memory_size=20, plugins=[Arrival()])
    for experience in benchmark.train_stream[:4]:
        strategy.train(experience, eval_streams=[])
        plugin = dark(strategy)
        assert sorted(plugin.rows) == sorted(memory_of(strategy).rows)
        now = dict(zip(plugin.rows, head_logits(strategy, experience.source, plugin.rows), strict=True))
        for row, logits in zip(plugin.rows, plugin.logits, strict=True):
            if experience.source.labels[row] in experience.group:
                found[row] = now[row]
            assert torch.equal(logits, found[row])
            assert set(logits.isfinite().nonzero()[:, 0].tolist()) == set(experience.classes_seen_so_far)


def test_logits_are_those_of_the_head_if_there_is_a_read_out(make, train, benchmark):
    plain = make(der_pp)
    train(plain, benchmark, 3)
    other = make(der_pp, plugins=[ClosedForm(StreamingLDA())])
    train(other, benchmark, 3)
    assert torch.equal(dark(plain).logits, dark(other).logits)


class Saver(SupervisedPlugin):
    """Writes a checkpoint after the first epoch of the third experience."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def after_training_epoch(self, strategy, **kwargs):
        if (strategy.experience.current_experience, strategy.epoch) == (2, 1):
            save_checkpoint(self.path, strategy.state_dict())
            self.rows, self.logits = dark(strategy).rows, dark(strategy).logits.clone()


def test_stored_logits_survive_a_checkpoint_to_the_last_digit(make, train, benchmark, tmp_path):
    path = tmp_path / "state.safetensors"
    saver = Saver(path)
    expected = train(make(der_pp, memory_size=20, plugins=[saver]), benchmark, 4)
    resumed = make(der_pp, memory_size=20, seed=5, plugins=[Saver(tmp_path / "other.safetensors")])
    resumed.load_state_dict(load_checkpoint(path))
    assert dark(resumed).rows == saver.rows and torch.equal(dark(resumed).logits, saver.logits)
    for experience in benchmark.train_stream[2:4]:
        resumed.train(experience, eval_streams=[])
    found = resumed.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items() if not name.startswith("encoder"))


def test_logits_of_purged_samples_are_dropped(make, train, benchmark):
    strategy = make(der_pp, memory_size=20)
    train(strategy, benchmark, 2)
    removed = memory_of(strategy).rows[:3]
    memory_of(strategy).purge(removed)
    state = dark(strategy).state_dict(strategy)
    assert len(state["rows"]) == len(state["logits"]) == 17 and not set(state["rows"]) & set(removed)


def test_stored_logits_are_counted(make, train, benchmark):
    strategy = make(der, memory_size=20, epochs=1)
    train(strategy, benchmark, 2)
    assert dark(strategy).kept_bytes() == 20 * strategy.model.head.weight.shape[0] * 4
    assert kept_bytes(strategy.plugins) == dark(strategy).kept_bytes() + 20 * 256 * 4


def test_faulty_settings_raise(make, make_seq2seq, benchmark, sequence_benchmark):
    with pytest.raises(ConfigError, match="alpha is -1"):
        make(der, alpha=-1.0)
    with pytest.raises(ConfigError, match="Rehearsal"):
        make(naive, plugins=[DarkExperience()]).train(benchmark.train_stream[0], eval_streams=[])
    with pytest.raises(ConfigError, match="SLUSeq2Seq"):
        make_seq2seq(replay, plugins=[DarkExperience()]).train(sequence_benchmark.train_stream[0], eval_streams=[])
