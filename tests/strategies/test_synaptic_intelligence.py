import pytest
import torch
from avalanche.core import SupervisedPlugin
from slow_importance import close, penalty_of, values_of

from mmcl.errors import ConfigError
from mmcl.strategies import SynapticIntelligence, si


class ByHand(SupervisedPlugin):
    """Accumulates the path integral in float64, from a second backward pass of the loss without the penalty."""

    def __init__(self, damping):
        super().__init__()
        self.damping, self.total, self.anchor = damping, {}, {}

    def before_training_exp(self, strategy, **kwargs):
        self.start = values_of(strategy)
        self.path = {name: torch.zeros_like(each, dtype=torch.float64) for name, each in self.start.items()}

    def before_update(self, strategy, **kwargs):
        self.before = values_of(strategy)
        trained = [dict(strategy.model.named_parameters())[name] for name in self.before]
        loss = torch.nn.functional.cross_entropy(strategy.model(strategy.mbatch).logits, strategy.mb_y)
        found = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
        self.gradient = dict(zip(self.before, found, strict=True))

    def after_update(self, strategy, **kwargs):
        for name, each in values_of(strategy).items():
            self.path[name] -= self.gradient[name].double() * (each.double() - self.before[name].double())

    def after_training_exp(self, strategy, **kwargs):
        self.anchor = values_of(strategy)
        for name, each in self.path.items():
            change = self.anchor[name].double() - self.start[name].double()
            added = each.clamp(min=0) / (change**2 + self.damping)
            if name in self.total:
                added[: len(self.total[name])] += self.total[name]
            self.total[name] = added


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.05}])
def test_importances_are_path_integrals_of_the_loss_without_the_penalty(settings, make, benchmark, each_step):
    reference, checked = ByHand(0.01), []
    strategy = make(si, weight=2.0, damping=0.01, lr=1e-2, plugins=[reference], **settings)
    for experience in benchmark.train_stream[:3]:
        strategy.train(experience, eval_streams=[])
    plugin = next(each for each in strategy.plugins if isinstance(each, SynapticIntelligence))
    close(plugin.importance, reference.total)
    total, anchor = {name: each.clone() for name, each in reference.total.items()}, reference.anchor

    def check(strategy, terms):
        expected = penalty_of(total, anchor, dict(strategy.model.named_parameters()))
        assert terms.get("si", 0.0) == pytest.approx(expected, rel=1e-3)
        assert float(strategy.loss) == pytest.approx(terms["cross_entropy"] + 2 * expected, rel=1e-3)
        checked.append(expected)

    each_step(strategy, benchmark.train_stream[3], check)
    assert checked[-1] > 0


def test_sequence_models_are_regularized(make_seq2seq, sequence_benchmark, train):
    strategy = make_seq2seq(si)
    train(strategy, sequence_benchmark, 2)
    plugin = next(each for each in strategy.plugins if isinstance(each, SynapticIntelligence))
    assert sum(float(each.sum()) for each in plugin.importance.values()) > 0 and strategy.losses["si"] > 0


def test_faulty_settings_raise():
    for settings, named in (({"weight": -1.0}, "-1"), ({"damping": 0.0}, "damping 0")):
        with pytest.raises(ConfigError, match=named):
            SynapticIntelligence(**settings)
