import warnings

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin

from mmcl.data import class_incremental
from mmcl.data.paired import batch_of
from mmcl.errors import ConfigError, InputError, LabelError, StreamError, TrainingError
from mmcl.freeze import freeze, trainable_state
from mmcl.objectives.kernel.inputs import check_features
from mmcl.runs.checkpoint import load_checkpoint, save_checkpoint
from mmcl.strategies import (
    agem,
    bic,
    coconut,
    der_pp,
    er_ace,
    ewc,
    gdumb,
    icarl,
    joint,
    lucir,
    lwf,
    mas,
    naive,
    replay,
    si,
    wa,
)
from mmcl.strategies.accuracy_matrix import AccuracyMatrix
from mmcl.strategies.frame_scores import FrameScores
from mmcl.strategies.nearest_mean import NearestMean
from mmcl.strategies.template import MMCLTemplate

PRESETS = {"naive": naive, "joint": joint, "replay": replay, "lwf": lwf, "icarl": icarl, "coconut": coconut}
PRESETS |= {"er_ace": er_ace, "der_pp": der_pp, "gdumb": gdumb, "agem": agem, "wa": wa, "bic": bic, "lucir": lucir}
PRESETS |= {"ewc": ewc, "si": si, "mas": mas}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_same_seed_gives_the_same_run(preset, make, train, benchmark):
    first = train(make(PRESETS[preset]), benchmark, 2)
    assert equal(first, train(make(PRESETS[preset]), benchmark, 2))
    assert not equal(first, train(make(PRESETS[preset], seed=1), benchmark, 2))


@pytest.mark.parametrize("preset", PRESETS)
def test_columns_of_all_classes_are_trained_from_the_start(preset, make, train, benchmark):
    """Columns of classes that arrive later learn to be low."""
    strategy = make(PRESETS[preset], columns="all")
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    classes, arrived = len(benchmark.train_stream[0].source.classes), benchmark.train_stream[0].group
    rows = list(benchmark.train_stream[0].dataset.rows[:])[:8]
    batch = batch_of(benchmark.train_stream[0].source, torch.tensor(rows))
    with torch.no_grad():
        logits = strategy.model.train()(batch).logits
    assert logits.shape[1] == classes and logits.isfinite().all()
    assert set(logits.argmax(1).tolist()) <= set(arrived)
    train(strategy, benchmark, 1)


def test_columns_of_all_classes_equal_those_of_a_head_that_was_grown_before(make, train, benchmark):
    classes = range(len(benchmark.train_stream[0].source.classes))
    grown = make(replay)
    grown.model.grow(classes)
    torch.manual_seed(0)
    one = train(grown, benchmark, 2)
    other = make(replay)
    other.columns = "all"
    other.model.grow(classes)
    torch.manual_seed(0)
    assert equal(one, train(other, benchmark, 2))
    with pytest.raises(ConfigError, match="'every'"):
        make(replay, columns="every")


class Saver(SupervisedPlugin):
    """Writes a checkpoint at one epoch of one experience."""

    def __init__(self, path, experience, epoch):
        super().__init__()
        self.path, self.at = path, (experience, epoch)

    def after_training_epoch(self, strategy, **kwargs):
        if (strategy.experience.current_experience, strategy.epoch) == self.at:
            save_checkpoint(self.path, strategy.state_dict())


@pytest.mark.parametrize(("experience", "epoch"), [(0, 1), (1, 4), (2, 2)])
@pytest.mark.parametrize("preset", PRESETS)
def test_resumed_equals_uninterrupted(preset, experience, epoch, make, train, benchmark, tmp_path):
    path = tmp_path / "state.safetensors"
    settings = {"scheduler": lambda optimizer, steps: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)}
    whole = make(PRESETS[preset], plugins=[Saver(path, experience, epoch)], **settings)
    expected = train(whole, benchmark, 4)

    resumed = make(PRESETS[preset], seed=5, plugins=[Saver(path, 99, 0)], **settings)  # weights are overwritten
    state = load_checkpoint(path)
    resumed.load_state_dict(state)
    for part in benchmark.train_stream[state["experience"] : 4]:
        resumed.train(part, eval_streams=[])
    trained = trainable_state(resumed.model)
    assert equal({name: expected[name] for name in trained}, trained)


def test_avalanche_evaluators_and_plugins_work(make, benchmark):
    seen = []

    class Watcher(SupervisedPlugin):
        def after_forward(self, strategy, **kwargs):
            seen.append((strategy.mb_y.shape, strategy.mb_output.shape, strategy.mb_task_id.tolist()[0]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = EvaluationPlugin(accuracy_metrics(epoch=True, stream=True), loggers=[])
    strategy = make(naive, plugins=[Watcher()], evaluator=evaluator, epochs=8)
    results = strategy.train(benchmark.train_stream[0])
    assert results["Top1_Acc_Epoch/train_phase/train_stream"] > 0.9
    assert strategy.eval([benchmark.test_stream[0]])["Top1_Acc_Stream/eval_phase/test_stream"] > 0.8
    labels, logits, task = seen[0]
    assert labels == (16,) and logits[0] == 16 and task == 0


def test_the_optimizer_trains_grown_head_weights(make, benchmark):
    strategy = make(naive)
    for experience in benchmark.train_stream[:3]:
        before = strategy.model.head.weight.shape[0]
        strategy.train(experience, eval_streams=[])
        after = strategy.model.head.weight
        assert after.shape[0] >= before
        assert any(after is parameter for parameter in strategy.optimizer.param_groups[-1]["params"])
        assert strategy.optimizer.state[after]["exp_avg"].shape == after.shape


def test_a_loss_that_is_not_finite_raises_with_step_and_terms(make, benchmark):
    class Bomb(SupervisedPlugin):
        def before_backward(self, strategy, **kwargs):
            if strategy.epoch == 1 and strategy.clock.train_epoch_iterations == 2:
                strategy.add_loss("bomb", torch.tensor(float("nan")))

    strategy = make(naive, plugins=[Bomb()])
    with pytest.raises(TrainingError, match=r"nan.*experience 0, epoch 2, step 3 .*bomb, cross_entropy"):
        strategy.train(benchmark.train_stream[0])


def test_losses_are_means_over_the_epoch(make, benchmark):
    collected = []

    class Two(SupervisedPlugin):
        def before_backward(self, strategy, **kwargs):
            strategy.add_loss("two", torch.tensor(2.0), weight=0.5)

        def after_training_epoch(self, strategy, **kwargs):
            collected.append(dict(strategy.losses))

    make(naive, plugins=[Two()]).train(benchmark.train_stream[0])
    assert len(collected) == 4
    for losses in collected:
        assert losses["two"] == 2.0 and losses["loss"] == pytest.approx(losses["cross_entropy"] + 1.0)


def test_a_label_outside_the_head_raises(digits):
    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(256, 3)

        def grow(self, labels):
            """The head always has three classes."""

        def forward(self, batch):
            from mmcl.models.classifier import Classified

            return Classified(self.layer(batch["features"]), batch["features"])

    model = Fixed()
    benchmark = class_incremental(*digits, experiences=2, class_order=list(range(10)))
    strategy = MMCLTemplate(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(LabelError, match=r"experience 0.*label \d.*3 classes"):
        strategy.train(benchmark.train_stream[0])


def test_an_empty_experience_raises(make, benchmark):
    experience = benchmark.train_stream[0]
    experience._dataset = experience.dataset.subset([])
    with pytest.raises(StreamError, match="experience 0 has 0 samples"):
        make(naive).train(experience)


def test_clip_norm_and_schedule_change_training(make, train, benchmark):
    plain = train(make(naive), benchmark, 1)
    assert not equal(plain, train(make(naive, clip_norm=1e-3), benchmark, 1))
    strategy = make(
        naive, scheduler=lambda optimizer, steps: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    )
    train(strategy, benchmark, 1)
    assert strategy.optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)  # the last step of the experience
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert strategy._initial_rates == [1e-3]


def test_evaluation_does_not_change_training(make, benchmark):
    weights = []
    for evaluates in (False, True):
        strategy = make(replay, memory_size=20)
        for experience in benchmark.train_stream[:3]:
            strategy.train(experience, eval_streams=[])
            if evaluates:
                strategy.eval(benchmark.test_stream)
        weights.append(dict(strategy.model.state_dict()))
    assert equal(*weights)


def test_bfloat16_trains_alike_with_losses_in_float32(make, benchmark):
    seen = []

    class Watcher(SupervisedPlugin):
        def before_backward(self, strategy, **kwargs):
            seen.append((strategy.mb_output.dtype, strategy.output.embedding.dtype, strategy.loss.item()))

    def first_loss(precision):
        strategy = make(naive, plugins=[Watcher()], epochs=8, precision=precision)
        seen.clear()
        strategy.train(benchmark.train_stream[0], eval_streams=[])
        assert all(parameter.dtype == torch.float32 for parameter in strategy.model.parameters())
        return seen[0][2], seen[-1][2]

    exact, mixed = first_loss("32"), first_loss("bf16-mixed")
    assert {row[:2] for row in seen} == {(torch.float32, torch.float32)}
    assert exact[0] != mixed[0] == pytest.approx(exact[0], rel=2e-2)  # unequal, so bfloat16 was used
    assert mixed[1] < mixed[0] / 2


@pytest.mark.parametrize("preset", [*PRESETS, "nearest mean of all"])
def test_the_baseline_is_zero_and_evaluating_it_does_not_change_training(preset, make, benchmark, train):
    weights = []
    for evaluates in (True, False):
        accuracy = AccuracyMatrix()
        strategy = make(PRESETS.get(preset, joint), plugins=[accuracy], epochs=1)
        if preset not in PRESETS:
            strategy.plugins.append(NearestMean(strategy.plugins[0]))
        if evaluates:
            strategy.eval(benchmark.test_stream)
            assert accuracy.matrix == [[0.0] * 5] and accuracy.baseline == [0.0] * 5
            assert accuracy.per_class == [dict.fromkeys(range(10), 0.0)]
        weights.append(train(strategy, benchmark, 2))
        strategy.eval(benchmark.test_stream)
        assert len(accuracy.matrix) == 2
    assert equal(*weights)


@pytest.mark.parametrize("preset", [naive, replay, coconut])
def test_a_sequence_to_sequence_model_can_be_evaluated_before_training(preset, make_seq2seq, sequence_benchmark):
    accuracy, scores = AccuracyMatrix(), FrameScores()
    strategy = make_seq2seq(preset, plugins=[accuracy, scores], epochs=1)
    strategy.eval(sequence_benchmark.test_stream)
    assert len(accuracy.baseline) == 5 and scores.rows == []
    strategy.train(sequence_benchmark.train_stream[0], eval_streams=[])
    strategy.eval(sequence_benchmark.test_stream)
    assert len(accuracy.matrix) == len(scores.rows) == 1


def test_evaluation_with_a_data_loader_does_not_change_training(make, digits):
    class Items(torch.utils.data.Dataset):
        classes = digits[0].classes

        def __init__(self, data):
            self.data, self.labels, self.texts = data, data.labels, data.texts

        def __len__(self):
            return len(self.data)

        def __getitem__(self, row):
            return self.data[row]

    stream, weights = class_incremental(*(Items(data) for data in digits), experiences=5, seed=0), []
    for evaluates in (False, True):
        strategy = make(replay, memory_size=20, epochs=1)
        for experience in stream.train_stream[:2]:
            strategy.train(experience, eval_streams=[])
            if evaluates:
                strategy.eval(stream.test_stream)
        weights.append({name: value.clone() for name, value in strategy.model.state_dict().items()})
    assert equal(*weights)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_sample_that_is_not_finite_is_named_instead_of_the_learning_rate(value, make, digits):
    train, test = digits
    broken = type(train)(train.classes, train.features.clone(), train.labels)
    broken.features[17, 3] = value
    stream = class_incremental(broken, test, experiences=1)
    with pytest.raises(TrainingError, match="experience 0, epoch 1, step .*'features'.*'17'") as raised:
        make(naive).train(stream.train_stream[0], eval_streams=[])
    assert "learning rate" not in str(raised.value)


def test_invalid_input_of_an_objective_names_the_step(make, benchmark):
    class Refuses(SupervisedPlugin):
        def before_backward(self, strategy, **kwargs):
            if strategy.epoch == 1:
                check_features(queries=strategy.output.embedding * torch.nan)

    with pytest.raises(InputError, match="queries: row 0.*experience 0, epoch 2, step 1"):
        make(naive, plugins=[Refuses()]).train(benchmark.train_stream[0], eval_streams=[])


def test_each_epoch_starts_with_trained_modules_in_training_mode(make, benchmark):
    seen = []

    class Leaves(SupervisedPlugin):
        """Leaves the model in evaluation mode at every hook."""

        def before_training_exp(self, strategy, **kwargs):
            strategy.model.eval()

        def after_training_epoch(self, strategy, **kwargs):
            strategy.model.eval()

        def before_forward(self, strategy, **kwargs):
            trained = (strategy.model.trunk, strategy.model.head)
            seen.append((all(part.training for part in trained), strategy.model.encoder.training))

    strategy = make(naive, plugins=[Leaves()], epochs=2)
    strategy.model.encoder = freeze(strategy.model.encoder)
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    assert set(seen) == {(True, False)}
