"""Plain torch classifiers and data sets in every strategy, on Avalanche's own benchmarks and on mmcl's streams."""

from __future__ import annotations

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets, class_incremental_benchmark, nc_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from plain_digits import KINDS, WithTargets, as_vectors, digit_tensors, sequential
from torch import nn

from mmcl.data import class_incremental
from mmcl.errors import ConfigError, LabelError, MMCLError, ShapeError
from mmcl.models import TensorClassifier
from mmcl.objectives import CLIPLoss, SupConLoss
from mmcl.strategies import (
    agem,
    bic,
    coconut,
    der_pp,
    er_ace,
    first_session,
    gdumb,
    icarl,
    joint,
    lucir,
    lwf,
    naive,
    replay,
    wa,
)
from mmcl.strategies.accuracy_matrix import AccuracyMatrix
from mmcl.strategies.contrast import Contrast
from mmcl.strategies.distillation import AudioDistillation, LogitDistillation, TokenDistillation
from mmcl.strategies.frame_scores import FrameScores
from mmcl.strategies.held_out import HeldOut
from mmcl.strategies.m3col import M3CoL
from mmcl.strategies.nearest_mean import NearestMean
from mmcl.strategies.rationale_distillation import RationaleDistillation
from mmcl.strategies.relational_distillation import RelationalDistillation
from mmcl.strategies.sequence_distillation import SequenceDistillation
from mmcl.strategies.stream_unlearning import unlearn_in_stream

METHODS = {
    "naive": (naive, lambda: {}),
    "joint": (joint, lambda: {}),
    "replay": (replay, lambda: {"memory_size": 40}),
    "herding": (replay, lambda: {"memory_size": 40, "selection": "herding"}),
    "lwf": (lwf, lambda: {}),
    "icarl": (icarl, lambda: {"memory_size": 40}),
    "coconut": (coconut, lambda: {"memory_size": 40}),
    "first_session": (first_session, lambda: {}),
    "er_ace": (er_ace, lambda: {"memory_size": 40}),
    "der_pp": (der_pp, lambda: {"memory_size": 40}),
    "gdumb": (gdumb, lambda: {"memory_size": 40}),
    "agem": (agem, lambda: {"memory_size": 40}),
    "wa": (wa, lambda: {"memory_size": 40}),
    "lucir": (lucir, lambda: {"memory_size": 40}),
    "bic": (bic, lambda: {"memory_size": 40}),
    "contrast of views": (replay, lambda: {"memory_size": 40, "plugins": [Contrast(SupConLoss(0.5), 0.1)]}),
    "contrast with texts": (replay, lambda: {"memory_size": 40, "plugins": [Contrast(CLIPLoss(0.5), 0.1, "text")]}),
    "logit distillation": (replay, lambda: {"memory_size": 40, "plugins": [LogitDistillation()]}),
    "relational distillation": (replay, lambda: {"memory_size": 40, "plugins": [RelationalDistillation()]}),
}


def nc(train, test):
    return nc_benchmark(WithTargets(*train), WithTargets(*test), n_experiences=2, task_labels=False, seed=0)


def from_datasets(train, test):
    def parts(images, labels):
        groups = (labels < 2, labels >= 2)
        return [as_classification_dataset(WithTargets(images[chosen], labels[chosen])) for chosen in groups]

    return benchmark_from_datasets(train=parts(*train), test=parts(*test))


def timeline(train, test):
    splits = {"train": train, "test": test}
    data = {name: as_classification_dataset(WithTargets(*each)) for name, each in splits.items()}
    return class_incremental_benchmark(data, num_experiences=2, seed=0)


BENCHMARKS = {"nc_benchmark": nc, "benchmark_from_datasets": from_datasets, "class_incremental_benchmark": timeline} | {
    f"class_incremental of {kind}": lambda train, test, make=make: class_incremental(
        make(*train), make(*test), experiences=2
    )
    for kind, make in KINDS.items()
}


def trained(method, benchmark, model, epochs=8, **more):
    preset, settings = METHODS[method]
    accuracy, settings = AccuracyMatrix(), {**settings(), **more}
    settings["plugins"] = [*settings.get("plugins", ()), accuracy]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    strategy = preset(model, optimizer, epochs=epochs, **settings)
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval(benchmark.test_stream)
    return strategy, accuracy.matrix


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("benchmark", ["nc_benchmark", "class_incremental of tensors"])
def test_a_sequential_model_learns_in_every_strategy(method, benchmark):
    _, matrix = trained(method, BENCHMARKS[benchmark](*digit_tensors()), sequential())
    assert len(matrix) == 2 and matrix[0][0] > 0.9  # two classes
    average = sum(matrix[1]) / 2
    assert average < 0.75 if method == "naive" else average > {"lwf": 0.4, "wa": 0.7}.get(method, 0.8)


@pytest.mark.parametrize("method", ["joint", "icarl", "coconut"])
@pytest.mark.parametrize("benchmark", sorted(set(BENCHMARKS) - {"nc_benchmark", "class_incremental of tensors"}))
def test_other_benchmarks_give_the_same_learning(method, benchmark):
    _, matrix = trained(method, BENCHMARKS[benchmark](*digit_tensors()), sequential(), epochs=4)
    assert sum(matrix[1]) / 2 > 0.75


def test_plain_data_gives_the_same_figures_as_a_list_of_pairs():
    found = []
    for kind in ("tensors", "pairs"):
        torch.manual_seed(0)
        benchmark = BENCHMARKS[f"class_incremental of {kind}"](*digit_tensors())
        found.append(trained("coconut", benchmark, sequential(), epochs=2)[1])
    assert found[0] == found[1]


def test_a_memory_keeps_samples_of_a_class_that_arrives_twice():
    train, test = digit_tensors()
    half = [as_classification_dataset(WithTargets(train[0][place::2], train[1][place::2])) for place in (0, 1)]
    benchmark = benchmark_from_datasets(train=half, test=[as_classification_dataset(WithTargets(*test))])
    strategy, _ = trained("replay", benchmark, sequential(), epochs=1)
    rows = strategy.plugins[0].rows
    assert len(rows) == len(set(rows)) == 40 and min(rows) < len(half[0]) <= max(rows)


def test_a_state_resumes_to_the_same_weights():
    benchmark, weights = nc(*digit_tensors()), []
    for resumed in (False, True):
        torch.manual_seed(1)
        model = sequential()
        strategy, _ = coconut(model, torch.optim.SGD(model.parameters(), lr=0.1), memory_size=20), None
        strategy.train(benchmark.train_stream[0], eval_streams=[])
        if resumed:
            state, model = strategy.state_dict(), sequential(seed=5)
            strategy = coconut(model, torch.optim.SGD(model.parameters(), lr=0.1), memory_size=20)
            strategy.load_state_dict(state)
        strategy.train(benchmark.train_stream[1], eval_streams=[])
        weights.append(model[1].weight)
    assert torch.equal(*weights)


def test_unlearning_in_a_plain_stream():
    benchmark = nc(*digit_tensors())
    strategy, _ = trained("replay", benchmark, sequential(), epochs=1)
    forget = strategy.plugins[0].rows[:3]
    record = unlearn_in_stream(strategy, benchmark.train_stream[1], forget, method="laf", epochs=1, vae_epochs=1)
    assert record["samples"] == 3 and not set(forget) & set(strategy.plugins[0].rows)


def test_the_users_model_is_trained_in_place():
    model = sequential()
    before = model[1].weight.clone()
    strategy, _ = trained("naive", nc(*digit_tensors()), model, epochs=1)
    assert strategy.model.model is model and not torch.equal(before, model[1].weight)


class Convolutional(nn.Module):
    """A classifier without a linear layer."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU())
        self.classes = nn.Conv2d(8, 4, 6)

    def forward(self, images):
        return self.classes(self.layers(images)).flatten(1)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_without_a_known_classifier_layer_is_one_clear_error(method):
    benchmark = nc(*digit_tensors())
    if method in ("naive", "joint", "replay", "lwf", "logit distillation", "er_ace", "der_pp", "gdumb", "agem"):
        assert trained(method, benchmark, Convolutional(), epochs=1)[1]
    else:
        with pytest.raises(ConfigError, match=r"Convolutional.*TensorClassifier\(model, classifier="):
            trained(method, benchmark, Convolutional(), epochs=1)


@pytest.mark.parametrize(
    ("plugin", "model"),
    [
        (AudioDistillation, "SLUSeq2Seq"),
        (TokenDistillation, "SLUSeq2Seq"),
        (SequenceDistillation, "SLUSeq2Seq"),
        (FrameScores, "SLUSeq2Seq"),
        (M3CoL, "MultimodalClassifier"),
    ],
)
def test_plugins_for_other_models_refuse_a_plain_model(plugin, model):
    with pytest.raises(ConfigError, match=model):
        trained("naive", nc(*digit_tensors()), sequential(), epochs=1, plugins=[plugin()])
    with pytest.raises(ConfigError, match="TextClassifier"):
        trained("naive", nc(*digit_tensors()), sequential(), epochs=1, plugins=[RationaleDistillation([])])


def test_a_layer_can_be_named():
    model = TensorClassifier(sequential(), classifier="1")
    strategy, _ = trained("icarl", nc(*digit_tensors()), model, epochs=1)
    (means,) = (plugin.means for plugin in strategy.plugins if isinstance(plugin, NearestMean))
    assert next(iter(means.values())).shape == (64,)
    with pytest.raises(ConfigError, match="'7'.*classifier"):
        TensorClassifier(sequential(), classifier="7")


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (nn.Flatten(2), ShapeError, r"\(batch, classes\)"),
        (sequential(classes=2), LabelError, "2 classes"),
        (nn.LSTM(64, 4), ConfigError, "logits"),
    ],
)
def test_wrong_models_are_typed_errors(model, error, words):
    model.register_parameter("spare", nn.Parameter(torch.zeros(1)))
    make = KINDS["targets"] if isinstance(model, nn.Flatten) else as_vectors
    train, test = digit_tensors()
    with pytest.raises(error, match=words):
        trained("naive", class_incremental(make(*train), make(*test), experiences=2), model, epochs=1)


def test_an_experience_without_data_or_stream_is_an_error():
    class Experience:
        current_experience = 0

    strategy = naive(sequential(), torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))
    with pytest.raises(MMCLError, match="class_incremental"):
        strategy.train([Experience()], eval_streams=[])


def test_held_out_data_scores_a_plain_model():
    train, test = digit_tensors()
    held_out = HeldOut({"valid": as_vectors(*test)}, on="valid")
    benchmark = class_incremental(as_vectors(*train), as_vectors(*test), experiences=1)
    strategy, matrix = trained("naive", benchmark, sequential(), epochs=3, plugins=[held_out])
    assert len(held_out.curves["valid"]) == 3
    assert held_out.scores("valid", 3)["accuracy"] == pytest.approx(matrix[0][0])
