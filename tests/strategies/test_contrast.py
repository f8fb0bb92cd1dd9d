import pytest
import torch
from avalanche.core import SupervisedPlugin

from mmcl.errors import CheckpointError, ConfigError
from mmcl.objectives import CLIPLoss, LearnableTemperature, NSPTLoss, NTXentLoss, SupConLoss
from mmcl.sections.additions import ContrastSection
from mmcl.sections.objectives import IN_STRATEGIES, objectives
from mmcl.sections.towers import PretrainingSection
from mmcl.strategies import coconut, naive, replay
from mmcl.strategies.contrast import Contrast


class Terms(SupervisedPlugin):
    """Keeps the losses of every epoch."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def after_training_epoch(self, strategy, **kwargs):
        self.epochs.append(dict(strategy.losses))


@pytest.mark.parametrize("name", objectives(IN_STRATEGIES))
@pytest.mark.parametrize("sides", ["text", "views"])
def test_every_objective_is_trained_by_the_loop(name, sides, make, train, benchmark):
    terms = Terms()
    sizes = {"simlap": {"dim": 32 if sides == "text" else 64}}
    contrast = ContrastSection(sides=sides, weight=0.5).build(name, PretrainingSection(objectives=sizes).objectives)
    train(make(replay, memory_size=20, plugins=[contrast, terms]), benchmark, 2)
    for losses in terms.epochs:
        assert losses["loss"] == pytest.approx(losses["cross_entropy"] + 0.5 * losses[name], abs=1e-5)
    # Without dropout, the two views of a sample are the same. A queue raises the loss while it fills.
    if sides == "text" and name != "mochi":
        assert min(losses[name] for losses in terms.epochs[1:4]) < terms.epochs[0][name]


def test_sup_con_makes_embeddings_of_a_class_similar(make, train, benchmark, digits):
    def spread(plugins):
        strategy = make(naive, epochs=20, plugins=plugins)
        train(strategy, benchmark, 1)
        rows = torch.tensor(benchmark.train_stream[0].dataset.rows[:])
        batch = digits[0].batch(rows)
        unit = torch.nn.functional.normalize(strategy.model.eval().embed(batch).detach(), dim=1)
        alike = batch["label"][:, None] == batch["label"]
        similar = unit @ unit.T
        return (similar[alike].mean() - similar[~alike].mean()).item()

    assert spread([Contrast(SupConLoss(), 1.0)]) > spread([]) + 0.1


def test_a_learnable_temperature_is_trained_and_restored(make, train, benchmark):
    def contrast():
        return Contrast(CLIPLoss(LearnableTemperature(0.2)), sides="text")

    added = contrast()
    strategy = make(coconut, memory_size=20, plugins=[added])
    train(strategy, benchmark, 2)
    learned, state = added.objective.temperature().item(), strategy.state_dict()
    assert learned != pytest.approx(0.2, abs=1e-4)
    strategy.train(benchmark.train_stream[2], eval_streams=[])
    restored = contrast()
    fresh = make(coconut, memory_size=20, plugins=[restored])
    fresh.load_state_dict(state)
    assert restored.objective.temperature().item() == learned
    fresh.train(benchmark.train_stream[2], eval_streams=[])
    assert torch.equal(restored.objective.temperature(), added.objective.temperature())
    states = [one.model.state_dict() for one in (strategy, fresh)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_objective_parameters_have_their_own_group_and_new_head_weights_join_the_model(make, train, benchmark):
    added = Contrast(CLIPLoss(LearnableTemperature(0.2)), sides="text")
    strategy = make(naive, plugins=[added])
    train(strategy, benchmark, 2)
    first, *others = strategy.optimizer.param_groups
    assert first["params"] == list(added.parameters()) and first["weight_decay"] == 0.0
    grown = {id(parameter) for parameter in strategy.model.head.parameters()}
    assert grown <= {id(parameter) for group in others for parameter in group["params"]}


def test_loading_the_state_of_another_objective_raises(make, train, benchmark):
    strategy = make(naive, plugins=[Contrast(CLIPLoss(LearnableTemperature(0.2)), sides="text")])
    train(strategy, benchmark, 1)
    with pytest.raises(CheckpointError, match="log_scale"):
        make(naive, plugins=[Contrast(CLIPLoss(), sides="text")]).load_state_dict(strategy.state_dict())


@pytest.mark.parametrize("wrong", [{"weight": -1.0}, {"sides": "words"}])
def test_settings_out_of_range_raise(wrong):
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        Contrast(NTXentLoss(), **wrong)


def test_an_objective_that_needs_a_teacher_raises(make, benchmark):
    with pytest.raises(ConfigError, match="student"):
        make(naive, plugins=[Contrast(NSPTLoss())]).train(benchmark.train_stream[0], eval_streams=[])


def test_without_weight_it_changes_nothing(make, train, benchmark):
    one = train(make(replay, memory_size=20), benchmark, 2)
    other = train(make(replay, memory_size=20, plugins=[Contrast(NTXentLoss(), 0.0)]), benchmark, 2)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_model_without_texts_is_refused(make):
    plugin = Contrast(CLIPLoss(), sides="text")
    strategy = make(naive, plugins=[plugin])
    strategy.model = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="Linear"):
        plugin.before_training(strategy)
