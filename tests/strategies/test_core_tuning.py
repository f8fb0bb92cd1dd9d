"""Core-tuning against a slow loop, and its contrast head."""

import math

import pytest
import torch
from avalanche.core import SupervisedPlugin

import mmcl.strategies.core_tuning
from mmcl.errors import CheckpointError, ConfigError
from mmcl.objectives.core_tuning import hard_mixtures
from mmcl.strategies import CoreTuning, naive


def focal(rows, groups, temperature):
    """The contrast, as loops over samples."""
    rows = [[each / math.hypot(*row) for each in row] for row in rows]
    losses = []
    for i, row in enumerate(rows):
        others = [k for k in range(len(rows)) if k != i]
        powers = {k: math.exp(sum(a * b for a, b in zip(row, rows[k], strict=True)) / temperature) for k in others}
        shares = [powers[k] / sum(powers.values()) for k in others if groups[k] == groups[i]]
        if shares:
            losses.append(-sum((1 - share) * math.log(share) for share in shares) / len(shares))
    return sum(losses) / len(losses)


def cross_entropy(logits, targets):
    """The mean over samples, as a loop; targets are shares of classes."""
    logs = logits.log_softmax(1).tolist()
    each = [-sum(t * v for t, v in zip(*both, strict=True) if t) for both in zip(targets, logs, strict=True)]
    return sum(each) / len(each)


class Steps(SupervisedPlugin):
    """Keeps the loss of each step, and what it is computed from."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.steps, self.mixed = [], None
        monkeypatch.setattr(mmcl.strategies.core_tuning, "hard_mixtures", self.mix)

    def mix(self, *arguments, **settings):
        self.mixed = hard_mixtures(*arguments, **settings)
        return self.mixed

    def after_backward(self, strategy, **kwargs):
        plugin = next(each for each in strategy.plugins if isinstance(each, CoreTuning))
        own = len(strategy.mb_y)
        with torch.no_grad():
            logits = strategy.model.head(self.mixed.features)
            entropies = [
                cross_entropy(logits[part], self.mixed.labels[part].tolist()) for part in (slice(own), slice(own, None))
            ]
            contrast = focal(plugin.head(self.mixed.features).tolist(), self.mixed.groups.tolist(), 0.2)
        self.steps.append((strategy.loss.item(), entropies[0] + 2 * entropies[1] + 3 * 0.3 * contrast))


def test_the_loss_equals_a_slow_loop(make, benchmark, monkeypatch):
    steps = Steps(monkeypatch)
    plugin = CoreTuning(weight=0.3, temperature=0.2, projection=8)
    strategy = make(naive, batch_size=8, epochs=1, plugins=[plugin, steps])
    for experience in benchmark.train_stream[:2]:  # classes to come have logits of minus infinity
        strategy.train(experience, eval_streams=[])
    assert len(steps.steps) > 5
    for loss, expected in steps.steps:
        assert loss == pytest.approx(expected, rel=1e-4)


def test_the_contrast_head_is_trained_and_saved(make, train, benchmark):
    plugin = CoreTuning(projection=8)
    strategy = make(naive, plugins=[plugin])
    train(strategy, benchmark, 1)
    before = plugin.head[0].weight.detach().clone()
    train(strategy, benchmark, 2)
    assert not torch.equal(plugin.head[0].weight, before)
    other = CoreTuning(projection=8)
    make(naive, plugins=[other]).load_state_dict(strategy.state_dict())
    assert torch.equal(other.head[0].weight, plugin.head[0].weight)
    with pytest.raises(CheckpointError, match="contrast head"):
        make(naive, plugins=[CoreTuning(projection=4)]).load_state_dict(strategy.state_dict())


def test_without_a_weight_only_mixtures_are_added(make, train, benchmark):
    terms = set()

    class Names(SupervisedPlugin):
        def after_training_epoch(self, strategy, **kwargs):
            terms.update(strategy.losses)

    train(make(naive, plugins=[CoreTuning(weight=0), Names()]), benchmark, 1)
    assert terms == {"loss", "cross_entropy", "mixtures"}


@pytest.mark.parametrize(
    "settings", [{"weight": -1}, {"temperature": 0}, {"alpha": 0}, {"lowest": 2}, {"projection": 0}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        CoreTuning(**settings)
