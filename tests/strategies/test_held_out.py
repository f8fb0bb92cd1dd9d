import pytest
import torch

from mmcl.data import class_incremental
from mmcl.encoders import build_encoder
from mmcl.encoders.views import CachedViews
from mmcl.errors import CheckpointError, ConfigError, TrainingError
from mmcl.metrics.classification import classification_scores
from mmcl.models import MultimodalClassifier
from mmcl.models.fusion import fuse_rows
from mmcl.seeding import seed_everything
from mmcl.strategies import naive
from mmcl.strategies.accuracy_matrix import AccuracyMatrix
from mmcl.strategies.held_out import HeldOut
from mmcl.strategies.m3col import M3CoL


@pytest.fixture
def learn(make_views):
    """Function that trains with held-out data, and returns the model, the scores, a state per epoch, and the data."""

    def run(epochs=7, every=3, stop=None, saved=None, **options):
        seed_everything(0)
        parts = {name: make_views(seed) for seed, name in enumerate(("train", "valid", "test"))}
        encoders = {view: build_encoder("tabular", "mlp", features=4, dim=6) for view in parts["train"].features}
        data = {name: CachedViews(part, encoders) for name, part in parts.items()}
        model = MultimodalClassifier(encoders, hidden=8)
        scores = HeldOut({name: data[name] for name in ("valid", "test")}, every, **options)
        strategy = naive(
            model, torch.optim.AdamW(model.parameters(), 2e-2), epochs=epochs, batch_size=8, plugins=[scores]
        )
        states = {}
        after = strategy._after_training_epoch

        def note(**kwargs):
            after(**kwargs)
            states[strategy.epoch] = strategy.state_dict()
            states[strategy.epoch]["model"] = {
                name: value.clone() for name, value in states[strategy.epoch]["model"].items()
            }
            if strategy.epoch == stop:
                strategy.stop_training()

        strategy._after_training_epoch = note
        if saved is not None:
            strategy.load_state_dict(saved)
        strategy.train(class_incremental(data["train"], data["test"], 1).train_stream[0])
        return model, scores, states, data

    return run


def test_the_best_scored_epoch_is_kept(learn):
    model, scores, states, data = learn()
    for name in ("valid", "test"):
        assert [row["epoch"] for row in scores.curves[name]] == [3, 6, 7]
    best = max(scores.curves["valid"], key=lambda row: row["accuracy"])
    assert scores.chosen == best["epoch"]
    assert scores.scores("test", 7) == scores.curves["test"][-1]
    expected = classification_scores(fuse_rows(model, data["test"]).logits, torch.tensor(data["test"].labels))
    assert {name: scores.curves["test"][-1][name] for name in expected} == pytest.approx(expected)
    scores.restore(model)
    for name, value in states[scores.chosen]["model"].items():
        torch.testing.assert_close(model.state_dict()[name], value)


def test_the_epoch_may_be_fixed(learn):
    model, scores, states, _ = learn(on=4)
    assert scores.chosen == 4 and [row["epoch"] for row in scores.curves["test"]] == [3, 4, 6, 7]
    scores.restore(model)
    torch.testing.assert_close(model.state_dict()["head.output.weight"], states[4]["model"]["head.output.weight"])


def test_a_resumed_run_equals_an_uninterrupted_one(learn):
    _, scores, _, _ = learn(select="auc")
    saved = learn(select="auc", stop=4)[2][4]
    _, resumed, _, _ = learn(select="auc", saved=saved)
    assert resumed.curves == scores.curves and resumed.chosen == scores.chosen
    assert all(torch.equal(resumed._state[name], value) for name, value in scores._state.items())


def test_a_score_that_is_not_defined_raises(learn, make_views, monkeypatch):
    real = make_views.__init__

    def one_class(self, seed=0, count=40):
        real(self, seed, count)
        if seed == 1:  # the seed of the split valid
            self.labels = [0] * count

    monkeypatch.setattr(make_views, "__init__", one_class)
    with pytest.raises(ConfigError, match="auc.*'valid'"):
        learn(select="auc")


def test_restoring_the_weights_of_another_model_raises(learn):
    model, scores, _, _ = learn(epochs=3, every=1)
    del scores._state["head.output.weight"]
    with pytest.raises(CheckpointError, match=r"epoch \d.*'head.output.weight'"):
        scores.restore(model)


def test_epochs_and_data_sets_without_scores_raise(learn):
    model, scores, _, _ = learn(epochs=3, every=2, on=9)
    with pytest.raises(TrainingError, match="no epoch"):
        scores.restore(model)
    with pytest.raises(TrainingError, match="epoch 1 .*'test'.*2, 3"):
        scores.scores("test", 1)
    state = scores.state_dict(None)
    with pytest.raises(CheckpointError, match="valid, test"):
        HeldOut({"valid": scores.data["valid"]}).load_state_dict(state, None)


def test_scores_and_choice_start_again_in_each_experience(make_views):
    seed_everything(0)
    parts = {name: make_views(seed) for seed, name in enumerate(("train", "valid"))}
    encoders = {view: build_encoder("tabular", "mlp", features=4, dim=6) for view in parts["train"].features}
    data = {name: CachedViews(part, encoders) for name, part in parts.items()}
    model = MultimodalClassifier(encoders, hidden=8)
    scores = HeldOut({"valid": data["valid"]})
    strategy = naive(model, torch.optim.AdamW(model.parameters(), 1e-3), epochs=2, plugins=[scores])
    for number, experience in enumerate(class_incremental(data["train"], data["valid"], 2, [1, 0]).train_stream):
        strategy.train(experience, eval_streams=[])
        assert [row["epoch"] for row in scores.curves["valid"]] == [1, 2] and scores.experience == number
        assert scores.chosen in (1, 2)


def test_the_baseline_of_a_multimodal_classifier_is_zero(make_views):
    parts = {name: make_views(seed) for seed, name in enumerate(("train", "valid"))}
    encoders = {view: build_encoder("tabular", "mlp", features=4, dim=6) for view in parts["train"].features}
    data = {name: CachedViews(part, encoders) for name, part in parts.items()}
    model, accuracy = MultimodalClassifier(encoders, hidden=8), AccuracyMatrix()
    strategy = naive(model, torch.optim.AdamW(model.parameters(), 1e-3), plugins=[M3CoL(), accuracy])
    strategy.eval(class_incremental(data["train"], data["valid"], 2).test_stream)
    assert accuracy.baseline == [0.0, 0.0]
