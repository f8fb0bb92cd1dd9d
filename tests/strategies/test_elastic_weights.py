import pytest
import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.training.plugins import EWCPlugin
from slow_importance import close, penalty_of, per_sample_mean, values_of
from torch import nn
from torch.utils.data import TensorDataset

from mmcl.data import class_incremental
from mmcl.errors import ConfigError
from mmcl.strategies import ElasticWeights, ewc, naive


def negative_log_likelihood(logits, label):
    return -logits.log_softmax(0)[label]


def plugin_of(strategy):
    return next(each for each in strategy.plugins if isinstance(each, ElasticWeights))


def fisher(strategy, data, experience):
    return per_sample_mean(strategy.model, data, experience, negative_log_likelihood, torch.square)


def test_the_fisher_information_is_that_of_each_sample_alone(make, digits, benchmark):
    strategy = make(ewc)
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    expected = fisher(strategy, digits[0], benchmark.train_stream[0])
    close(plugin_of(strategy).importance, expected)
    assert float(sum(each.sum() for each in expected.values())) > 0


@pytest.mark.parametrize("online", [False, True])
def test_the_loss_has_a_penalty_for_each_experience_or_for_the_last(online, make, digits, benchmark, each_step):
    decay = 0.5 if online else 1.0
    strategy = make(ewc, weight=50.0, online=online, decay=decay, lr=1e-2)
    fishers, anchors, checked = [], [], []
    for experience in benchmark.train_stream[:2]:
        strategy.train(experience, eval_streams=[])
        fishers.append(fisher(strategy, digits[0], experience))
        anchors.append(values_of(strategy))
    if online:
        added = {name: each.clone() for name, each in fishers[1].items()}
        for name, each in fishers[0].items():
            added[name][: len(each)] += decay * each
        fishers, anchors = [added], [anchors[1]]

    def check(strategy, terms):
        expected = sum(
            penalty_of(*pair, dict(strategy.model.named_parameters())) for pair in zip(fishers, anchors, strict=True)
        )
        assert terms["ewc"] == pytest.approx(expected, rel=1e-3)
        assert float(strategy.loss) == pytest.approx(terms["cross_entropy"] + 25 * expected, rel=1e-3)
        checked.append(expected)

    each_step(strategy, benchmark.train_stream[2], check)
    assert checked[-1] > 0


def test_labels_may_be_drawn_from_the_model(make, benchmark):
    """For two classes at p = 1/2, both labels have gradients of the same size: the mean over labels is exact."""
    found = {}
    for labels in ("data", "model"):
        strategy = make(ewc, labels=labels, lr=1e-9, epochs=1)
        strategy.train(benchmark.train_stream[0], eval_streams=[])
        found[labels] = torch.cat([each.flatten() for each in plugin_of(strategy).importance.values()])
    assert found["model"].sum() > 0 and not torch.equal(found["model"], found["data"])
    torch.testing.assert_close(found["model"].sum(), found["data"].sum(), rtol=0.5, atol=0)


def test_few_samples_are_evenly_spaced(make, benchmark):
    experience = benchmark.train_stream[0]
    found = []
    for samples in (len(experience.dataset), None):
        strategy = make(ewc, samples=samples)
        strategy.train(experience, eval_streams=[])
        found.append(plugin_of(strategy).importance)
    assert all(torch.equal(each, found[1][name]) for name, each in found[0].items())


def test_without_a_weight_training_is_that_of_naive(make, benchmark, train):
    expected = train(make(naive), benchmark, 2)
    found = train(make(ewc, weight=0.0), benchmark, 2)
    assert all(torch.equal(found[name], each) for name, each in expected.items())


def test_avalanche_equals_the_paper_for_batches_of_one_sample_only():
    torch.manual_seed(0)
    features, labels = torch.randn(12, 5), torch.arange(12) % 3
    model = nn.Linear(5, 3)
    data = AvalancheDataset([TensorDataset(features, labels, torch.zeros(12))])
    settings = model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.1), data, "cpu"
    alone, batched = (EWCPlugin(1.0).compute_importances(*settings, size)["weight"].data for size in (1, 12))
    samples = list(zip(features, labels.tolist(), strict=True))
    strategy = ewc(model, torch.optim.SGD(model.parameters(), lr=0.0))
    strategy.train(class_incremental(samples, samples, experiences=1).train_stream[0], eval_streams=[])
    found = plugin_of(strategy).importance["model.weight"]
    torch.testing.assert_close(found, alone)
    assert float(batched.sum()) < 0.5 * float(alone.sum())


def test_faulty_settings_raise(make_seq2seq, sequence_benchmark):
    for settings, named in (
        ({"weight": -1.0}, "-1"),
        ({"decay": 0.5}, "0.5.*online"),
        ({"decay": 2.0, "online": True}, "2.0"),
        ({"samples": 0}, "0"),
        ({"labels": "drawn"}, "'drawn'"),
    ):
        with pytest.raises(ConfigError, match=named):
            ElasticWeights(**settings)
    with pytest.raises(ConfigError, match="SLUSeq2Seq"):
        make_seq2seq(ewc).train(sequence_benchmark.train_stream[0], eval_streams=[])
