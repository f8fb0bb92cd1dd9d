import pytest
import torch
from slow_importance import close, penalty_of, per_sample_mean, values_of

from mmcl.errors import ConfigError
from mmcl.strategies import MemoryAwareSynapses, mas


def squared_norm(logits, label):
    return logits[logits.isfinite()].square().sum()


def plugin_of(strategy):
    return next(each for each in strategy.plugins if isinstance(each, MemoryAwareSynapses))


@pytest.mark.parametrize("decay", [1.0, 0.25])
def test_importances_are_mean_absolute_gradients_summed_over_experiences(decay, make, digits, benchmark, each_step):
    strategy = make(mas, weight=0.5, decay=decay)
    total, checked = {}, []
    for experience in benchmark.train_stream[:2]:
        strategy.train(experience, eval_streams=[])
        measured = per_sample_mean(strategy.model, digits[0], experience, squared_norm, torch.abs)
        for name, each in total.items():
            measured[name][: len(each)] += decay * each
        total = measured
    close(plugin_of(strategy).importance, total)
    anchor = values_of(strategy)

    def check(strategy, terms):
        expected = penalty_of(total, anchor, dict(strategy.model.named_parameters()))
        assert terms.get("mas", 0.0) == pytest.approx(expected, rel=1e-3)
        assert float(strategy.loss) == pytest.approx(terms["cross_entropy"] + 0.5 * expected, rel=1e-3)
        checked.append(expected)

    each_step(strategy, benchmark.train_stream[2], check)
    assert checked[-1] > 0


def test_faulty_settings_raise(make_seq2seq, sequence_benchmark):
    for settings, named in (({"weight": -1.0}, "-1"), ({"decay": 1.5}, "1.5"), ({"samples": 0}, "samples 0")):
        with pytest.raises(ConfigError, match=named):
            MemoryAwareSynapses(**settings)
    with pytest.raises(ConfigError, match="SLUSeq2Seq"):
        make_seq2seq(mas).train(sequence_benchmark.train_stream[0], eval_streams=[])
