import math

import pytest
import torch
from step_waits import watch_steps
from torch._subclasses.fake_tensor import FakeTensorMode

from mmcl.batch import Batch
from mmcl.data.paired import PairedDataset
from mmcl.encoders import build_encoder
from mmcl.errors import CheckpointError, ConfigError, InputError, TrainingError
from mmcl.models import TwoTower
from mmcl.models.heads import HeadOptions
from mmcl.models.predicting_tower import PredictingTower
from mmcl.objectives import BECLRLoss, CLIPLoss, CWCLLoss, LearnableTemperature, MoCHiLoss
from mmcl.objectives.objective import Objective
from mmcl.runs.checkpoint import load_checkpoint, save_checkpoint
from mmcl.sections.towers import PretrainingSection
from mmcl.seeding import seed_everything
from mmcl.training import loss_sums
from mmcl.training.contrastive import ContrastiveTrainer
from mmcl.training.step import TrainingStep

WORDS = ("lights", "music", "alarm", "radio", "door")
VERBS = ("start", "stop", "dim", "find")
TEXTS = [f"{verb} {thing}" for verb in VERBS for thing in WORDS] + ["start lights"]


class Tones:
    """Waveforms made from their text, with one tone for each word."""

    classes, texts = VERBS, TEXTS
    labels = [VERBS.index(text.split()[0]) for text in TEXTS]

    def __len__(self):
        return len(TEXTS)

    def __getitem__(self, row):
        time = torch.arange(3200) / 16000
        tones = [torch.sin(2 * torch.pi * (300 + sum(map(ord, word)) % 1700) * time) for word in TEXTS[row].split()]
        return {"audio": torch.cat(tones) * 0.3, "text": TEXTS[row]}


def build(dropout=0.2, temperature=0.2, objective=None, **settings):
    seed_everything(0)
    model = TwoTower(
        build_encoder("audio", "cnn", dim=16, blocks=1, dropout=dropout),
        build_encoder("text", "words", dim=16, frozen=True),
        first_head=HeadOptions("mlp", 32, dropout=dropout),
        second_head="none",
    )
    temperature = LearnableTemperature(temperature)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW([{"params": parameters}, {"params": temperature.parameters()}], lr=5e-3)
    pairs = PairedDataset(Tones(), Tones())
    chosen = {"epochs": 3, "batch_size": 8, **settings}
    return ContrastiveTrainer(model, pairs, objective or CLIPLoss(temperature), optimizer, **chosen)


def state(trainer):
    return torch.cat(
        [v.flatten().float() for v in trainer.model.state_dict().values()] + [trainer.objective.temperature()[None]]
    )


def test_the_loss_falls_and_the_temperature_is_trained():
    trainer = build(epochs=20, dropout=0.0)
    losses = list(trainer)
    assert len(losses) == 20 and losses[-1] < 0.7 * losses[0]
    assert abs(trainer.objective.temperature().item() - 0.2) > 1e-3


def test_micro_batches_do_not_change_training():
    states = []
    for size in (None, 3):
        trainer = build(dropout=0.0, micro_batch_size=size)
        trainer.model.first.encoder.augments = False
        list(trainer)
        states.append(state(trainer))
    assert torch.allclose(*states, atol=1e-4)


@pytest.mark.parametrize("micro_batch_size", [None, 3])
def test_bfloat16_trains_nearly_alike(micro_batch_size):
    plain, mixed = (
        build(dropout=0.0, precision=precision, micro_batch_size=micro_batch_size) for precision in ("32", "bf16-mixed")
    )
    losses = [torch.tensor(list(trainer)) for trainer in (plain, mixed)]
    assert not torch.equal(*losses)
    torch.testing.assert_close(*losses, rtol=0.05, atol=0)
    assert {parameter.dtype for parameter in mixed.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("settings", [{}, {"micro_batch_size": 3, "distinct_texts": True}])
def test_a_resumed_run_equals_an_uninterrupted_one(settings, tmp_path):
    settings = {"scheduler": torch.optim.lr_scheduler.CosineAnnealingLR, "clip_norm": 1.0, **settings}
    straight = build(**settings)
    losses = list(straight)
    first = build(**settings)
    for _ in first:
        save_checkpoint(tmp_path / f"{first.epoch}.safetensors", first.state_dict())
        break
    again = build(**settings)
    torch.rand(5)
    again.load_state_dict(load_checkpoint(tmp_path / "1.safetensors"))
    assert list(again) == losses[1:] and torch.equal(state(again), state(straight))


@pytest.mark.parametrize("settings", [{}, {"micro_batch_size": 3, "clip_norm": 1.0}])
def test_losses_read_later_are_equal(settings, monkeypatch):
    found = []
    for later in (False, True):
        monkeypatch.setattr(loss_sums, "waits", lambda device, later=later: later)
        trainer = build(**settings)
        found.append((list(trainer), state(trainer)))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])


class Vectors:
    """Vectors, of which one may not be finite."""

    classes, labels, texts, ids = ("a",), [0] * 40, [str(row) for row in range(40)], [f"s{row}" for row in range(40)]

    def __init__(self, bad=None):
        self.vectors = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
        if bad is not None:
            self.vectors[bad, 2] = torch.nan

    def __len__(self):
        return 40

    def __getitem__(self, row):
        return {"features": self.vectors[row], "label": 0, "text": self.texts[row]}


def trainer_of(pairs, objective, **settings):
    seed_everything(0)
    towers = [torch.nn.Linear(6, 4), torch.nn.Linear(6, 4)]
    parameters = [parameter for tower in towers for parameter in tower.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    return ContrastiveTrainer(towers, pairs, objective, optimizer, epochs=2, batch_size=4, **settings)


@pytest.mark.parametrize("micro_batch_size", [None, 2])
def test_no_step_waits_for_a_device(micro_batch_size, on_device, monkeypatch):
    waits = watch_steps(monkeypatch)
    pairs = PairedDataset(Vectors(), Vectors())
    list(trainer_of(pairs, CLIPLoss(0.1), micro_batch_size=micro_batch_size))
    assert waits.found == [] and waits.steps == 20


def test_the_step_and_the_sample_of_a_loss_that_is_not_finite_are_named_later(on_device, monkeypatch):
    steps, stepped = [], TrainingStep.update
    monkeypatch.setattr(TrainingStep, "update", lambda self, *args: (steps.append(1), stepped(self, *args))[1])
    order = torch.arange(40)
    pairs = PairedDataset(Vectors(9), Vectors())
    monkeypatch.setattr(PairedDataset, "shuffled", lambda self, distinct: order)
    trainer = trainer_of(pairs, lambda a, b: (a - b).square().mean())
    with pytest.raises(TrainingError, match="the loss is nan in epoch 1, step 3 of 10: 'features' of sample 's9'"):
        next(iter(trainer))
    assert len(steps) == 10  # found at the end of the epoch


def test_a_step_on_a_gpu_reads_nothing_from_it_and_calls_objectives_with_autocast(monkeypatch):
    """Fake tensors have a device and a shape, but no values: reading one raises. Their gradients need a GPU."""
    seen = []

    class Watched(Objective):
        takes = ("a", "b", "rows")

        def forward(self, a, b, rows):
            seen.append((a.dtype, b.device.type, rows.device.type, torch.is_autocast_enabled("cuda")))
            return (a - b).square().mean()

    pairs = PairedDataset(Vectors(), Vectors())
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *args, **kwargs: True)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    trainer = trainer_of(pairs, Watched(0.1), precision="bf16-mixed", device="cpu")
    trainer.device = trainer._step.device = torch.device("cuda")
    rows = torch.arange(4)
    sides = pairs.batch(rows)
    monkeypatch.setattr(pairs, "batch", lambda part: sides)  # samples are read on the CPU
    with FakeTensorMode(allow_non_fake_inputs=True):
        for tower in trainer.model.towers:
            for module in tower.modules():
                for name, value in module._parameters.items():
                    module._parameters[name] = torch.nn.Parameter(torch.empty(value.shape, device="cuda"))
        with trainer._step.located(lambda: "step 1"), trainer._step.autocast():
            trainer._step.check(trainer._backward(rows))
    assert seen == [(torch.bfloat16, "cuda", "cuda", True)]


def test_an_objective_on_a_cpu_gets_single_precision():
    seen = []
    trainer = build(precision="bf16-mixed", epochs=1)
    objective = trainer.objective
    forward = objective.forward
    objective.forward = lambda a, b: (seen.append((a.dtype, torch.is_autocast_enabled("cpu"))), forward(a, b))[1]
    list(trainer)
    assert set(seen) == {(torch.float32, False)}


def test_a_smaller_last_batch_is_dropped(monkeypatch):
    sizes = []
    trainer = build(epochs=1)  # 21 pairs, 8 a batch
    monkeypatch.setattr(trainer, "objective", lambda a, b: (sizes.append(len(a)), CLIPLoss()(a, b))[1])
    list(trainer)
    assert sizes == [8, 8]
    sizes.clear()
    trainer = build(epochs=1, batch_size=100)
    monkeypatch.setattr(trainer, "objective", lambda a, b: (sizes.append(len(a)), CLIPLoss()(a, b))[1])
    list(trainer)
    assert sizes == [21]


def test_distinct_texts_draws_one_sample_of_each_text(monkeypatch):
    trainer, seen = build(epochs=6, batch_size=20, distinct_texts=True), []
    batch = trainer.pairs.batch
    monkeypatch.setattr(trainer.pairs, "batch", lambda rows: (seen.append(rows.tolist()), batch(rows))[1])
    list(trainer)
    assert [len({TEXTS[row] for row in rows}) for rows in seen] == [20] * 6
    assert {row for rows in seen for row in rows} >= {0, 20}  # both samples of the repeated text


def test_a_frozen_tower_does_not_change():
    trainer = build()
    trainer.objective = CWCLLoss(0.1)
    before = [parameter.clone() for parameter in trainer.model.second.parameters()]
    list(trainer)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.second.parameters(), strict=True))


def test_a_loss_that_is_not_finite_raises(monkeypatch):
    trainer, steps = build(), []
    monkeypatch.setattr(
        trainer, "objective", lambda a, b: (steps.append(1), (a * b).sum() * (float("nan") if len(steps) > 3 else 1))[1]
    )
    with pytest.raises(TrainingError, match="nan.*epoch 2, step 2"):
        list(trainer)


def test_sizes_that_are_too_small_raise():
    with pytest.raises(ConfigError, match="batch_size=1"):
        build(batch_size=1)
    with pytest.raises(ConfigError, match="micro_batch_size=0"):
        build(micro_batch_size=0)
    with pytest.raises(ConfigError, match="epochs=0"):
        build(epochs=0)
    said = Tones()
    said.texts = ["one"] * len(TEXTS)
    trainer = build()
    pairs = PairedDataset(said, said)
    with pytest.raises(ConfigError, match="1 pair .*at least 2"):
        ContrastiveTrainer(trainer.model, pairs, CLIPLoss(), trainer.optimizer, distinct_texts=True)


def test_chunks_of_similar_length_do_not_change_training(monkeypatch):
    import mmcl.training.contrastive as module

    states, sizes = [], []
    for chunk in (128, 3):
        monkeypatch.setattr(module, "_CHUNK", chunk)
        trainer = build(dropout=0.0)
        trainer.model.first.encoder.augments = False
        trainer.pairs.lengths = torch.tensor([len(text) for text in TEXTS])
        trainer.model.first.register_forward_pre_hook(
            lambda _, inputs: sizes.append([len(t) for t in inputs[0]["text"]])
        )
        list(trainer)
        states.append(state(trainer))
    assert torch.allclose(*states, atol=1e-4)
    chunks = sizes[6:9]  # of the first batch in the second training
    assert list(map(len, chunks)) == [3, 3, 2] and sum(chunks, []) == sorted(sum(chunks, []))


SCHEDULE = {"scheduler": torch.optim.lr_scheduler.CosineAnnealingLR}


@pytest.mark.parametrize(
    ("saved", "loaded", "message"),
    [
        ({}, {"batch_size": 4}, "batch_size 8.*4"),
        ({}, {"distinct_texts": True}, "distinct_texts False.*True"),
        ({}, SCHEDULE, "schedule None.*CosineAnnealingLR"),
        (SCHEDULE, {}, "schedule CosineAnnealingLR.*None"),
        (SCHEDULE, {**SCHEDULE, "epochs": 5}, "epochs 3.*5"),
        ({}, {"epochs": 1}, "epoch 2.*1"),
    ],
)
def test_loading_the_state_of_another_training_raises(saved, loaded, message):
    trainer = build(**saved)
    for _ in trainer:
        if trainer.epoch == 2:
            break
    other = build(**loaded)
    with pytest.raises(CheckpointError, match=message):
        other.load_state_dict(trainer.state_dict())
    assert other.epoch == 0


CHANGES = {
    "model": (lambda state: state["model"].popitem(), "the model.* 1 of"),
    "shape": (lambda state: state["model"].update({"first.head.network.0.bias": torch.zeros(3)}), r"bias' \(3,\)"),
    "objective": (lambda state: state.update(objective=None), "no state of the objective"),
    "its parameter": (lambda state: state.update(objective={"x": torch.zeros(1)}), "the objective.* 1 of 1"),
    "optimizer": (lambda state: state["optimizer"]["param_groups"].pop(), "the optimizer.*groups"),
    "scheduler": (lambda state: state.pop("scheduler"), "'scheduler'"),
    "random": (lambda state: state.pop("random"), "'random'"),
    "epoch": (lambda state: state.pop("epoch"), "'epoch'"),
}


def test_the_temperature_in_a_state_of_version_0_1_is_restored():
    state = build().state_dict()
    name, value = state.pop("objective").popitem()
    state["temperature"] = {name.removeprefix("temperature."): value + 0.25}
    trainer = build()
    trainer.load_state_dict(state)
    assert torch.equal(trainer.objective.state_dict()[name], value + 0.25)


@pytest.mark.parametrize("name", ["sup_con", "mm", "mv_dhel", "nt_xent", "dcl", "hard_contrastive"])
def test_an_objective_receives_its_inputs_by_name(name):
    objective = PretrainingSection(temperature=0.2).make_objective(name)
    losses = list(build(objective=objective, epochs=8, dropout=0.0))
    assert all(math.isfinite(loss) for loss in losses) and losses[-1] < losses[0]


def with_teacher(**settings):
    seed_everything(0)
    model = TwoTower(
        build_encoder("audio", "cnn", dim=16, blocks=1, dropout=0.0), first_head=HeadOptions("mlp", 8), dim=4
    )
    objective = BECLRLoss(dim=4, memory=32, clusters=4, neighbours=2)
    optimizer = torch.optim.AdamW([*model.parameters(), *objective.parameters()], lr=5e-3)
    chosen = {"epochs": 4, "batch_size": 8, "views": 2, "momentum": 0.9, **settings}
    return ContrastiveTrainer(model, PairedDataset(Tones()), objective, optimizer, **chosen)


def test_a_teacher_embeds_the_views_of_the_tower(monkeypatch):
    trainer, seen = with_teacher(epochs=1), []
    monkeypatch.setattr(trainer.objective, "forward", lambda *given: (seen.append(given), given[0].square().mean())[1])
    trainer.model.first.encoder.augments = trainer._average.average.encoder.augments = False
    list(trainer)
    features, teacher = seen[0]
    assert features.shape == (16, 4) and features.requires_grad and not teacher.requires_grad
    assert torch.equal(features, teacher)  # before the first step, both have the same weights
    assert not torch.equal(*seen[1])
    with pytest.raises(ConfigError, match="BECLRLoss .*momentum"):
        with_teacher(momentum=None)


def test_memories_of_an_objective_are_resumed_to_the_last_digit():
    whole = with_teacher()
    losses = list(whole)
    first = with_teacher()
    for _ in first:
        if first.epoch == 2:
            state = first.state_dict()
            break
    second = with_teacher()
    second.load_state_dict(state)
    assert list(second) == losses[2:]
    expected = whole.objective.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in second.objective.state_dict().items())


@pytest.mark.parametrize("change", CHANGES)
def test_loading_an_incomplete_or_changed_state_raises(change):
    alter, message = CHANGES[change]
    state = build().state_dict()
    alter(state)
    with pytest.raises(CheckpointError, match=message):
        build().load_state_dict(state)


@pytest.mark.parametrize(("saved", "loaded"), [(True, False), (False, True), (True, True)])
def test_the_state_of_a_compiled_model_is_restored(saved, loaded):
    trainers = [build(), build()]
    for trainer, compiled in zip(trainers, (saved, loaded), strict=True):
        if compiled:
            trainer.model.first.head = torch.compile(trainer.model.first.head, backend="eager")
    with torch.no_grad():
        for parameter in trainers[0].model.parameters():
            parameter.add_(1.0)
    assert not torch.equal(state(trainers[0]), state(trainers[1]))
    saved = {**trainers[0].state_dict(), "epoch": 1}
    frozen = trainers[0].model.second.state_dict()  # frozen parameters are not saved
    trainers[1].model.second.load_state_dict(frozen)
    trainers[1].load_state_dict(saved)
    assert torch.equal(state(trainers[0]), state(trainers[1])) and trainers[1].epoch == 1


def test_a_state_without_settings_is_restored():
    trainer = build()
    next(iter(trainer))
    saved = trainer.state_dict()
    del saved["settings"]
    other = build()
    other.load_state_dict(saved)
    assert other.epoch == 1


def test_a_sample_that_is_not_finite_is_named():
    class Broken(Tones):
        def __getitem__(self, row):
            sample = super().__getitem__(row)
            return {**sample, "id": f"tone-{row}", "audio": sample["audio"] + (torch.inf if row == 5 else 0)}

    trainer = build(batch_size=21)
    trainer.pairs = PairedDataset(Broken(), Broken())
    with pytest.raises(TrainingError, match="epoch 1, step 1.*'audio'.*'tone-5'.*inf") as raised:
        list(trainer)
    assert "learning rate" not in str(raised.value)


def test_invalid_input_of_an_objective_names_the_step():
    trainer = build()
    with torch.no_grad():
        trainer.model.first.head.network[0].weight.fill_(torch.nan)
    with pytest.raises(InputError, match="row 0 .*nan.*epoch 1, step 1"):
        list(trainer)


ONE_TOWER = ("nt_xent", "dcl", "hard_contrastive", "mv_dhel", "sup_con", "clip", "mm")


def one_tower(name, views=2, **settings):
    seed_everything(0)
    encoder = build_encoder("audio", "cnn", dim=16, blocks=1, dropout=0.3)
    model = TwoTower(encoder, first_head=HeadOptions("mlp", 32, dropout=0.3), dim=8)
    objective = PretrainingSection(temperature=0.3).make_objective(name)
    optimizer = torch.optim.AdamW([*model.parameters(), *objective.parameters()], lr=5e-3)
    chosen = {"epochs": 15, "batch_size": 21, "views": views, **settings}
    return ContrastiveTrainer(model, PairedDataset(Tones()), objective, optimizer, **chosen)


@pytest.mark.parametrize("name", ONE_TOWER)
def test_views_of_one_modality_train_one_tower(name):
    trainer = one_tower(name)
    losses = list(trainer)
    assert len(trainer.model.towers) == 1 and losses[-1] < losses[0]
    first, second = trainer._inputs(torch.arange(4))
    assert first is second
    trainer.model.train()
    assert not torch.equal(*(trainer.model.first(batch) for batch in (first, second)))


@pytest.mark.parametrize("name", ["mv_dhel", "sup_con"])
def test_more_than_two_views_and_chunks_have_the_same_gradient(name):
    losses = [next(iter(one_tower(name, views=3, micro_batch_size=size))) for size in (None, 21)]
    assert losses[0] == losses[1]
    chunked = one_tower(name, views=3, micro_batch_size=6)
    assert next(iter(chunked)) > 0 and all(p.grad is not None for p in chunked.model.first.head.parameters())


def test_an_objective_receives_bags_if_it_takes_them():
    class Bagged(Objective):
        takes = ("a", "b", "bags")

        def forward(self, a, b, bags):
            seen.append(bags)
            return (a - b).square().sum()

    class InBags(Tones):
        bags = [row // 3 for row in range(len(TEXTS))]

    seen = []
    trainer = one_tower("clip", epochs=1)
    trainer.pairs, trainer.objective = PairedDataset(InBags()), Bagged(0.1)
    list(trainer)
    assert sorted(seen[0].tolist()) == InBags.bags


class Slopes:
    """Vectors, whose target is in a unit of its own."""

    classes, labels, ids = ("low", "high"), [0, 1] * 20, [str(row) for row in range(40)]
    texts, vectors = ids, torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    targets = (1000 + 50 * vectors[:, 0] - 20 * vectors[:, 1]).tolist()

    def __len__(self):
        return 40

    def __getitem__(self, row):
        return {"tabular": self.vectors[row]}


def regression(name="l1+conr", regressor=True, **settings):
    seed_everything(0)
    model = TwoTower(build_encoder("tabular", "mlp", features=6, dim=16), first_head=HeadOptions("mlp", 16), dim=4)
    pairs = PairedDataset(Slopes())
    if regressor:
        model.add_regressor(pairs.targets)
    config = {"objectives": {"conr": {"window": 20.0}}, "weights": {"conr": 4.0}, "temperature": 0.2}
    objective = PretrainingSection(**config).make_objective(name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    chosen = {"epochs": 20, "batch_size": 20, "views": 2, **settings}
    return ContrastiveTrainer(model, pairs, objective, optimizer, **chosen)


def test_a_regressor_is_trained_beside_a_contrast():
    trainer = regression()
    losses = list(trainer)
    predictions = PredictingTower(trainer.model.first)(Batch(tabular=Slopes.vectors))[:, -1]
    off = (predictions - torch.tensor(Slopes.targets)).abs().mean().item()
    assert losses[-1] < losses[0] and off < 0.3 * torch.tensor(Slopes.targets).std().item()


def test_an_objective_receives_the_targets_and_predictions_of_the_rows_of_all_views():
    class Spy(Objective):
        takes = ("features", "targets", "predictions")

        def forward(self, *given):
            seen.append(given)
            return sum(each.sum() for each in given)

    seen, trainer = [], regression("conr", epochs=1)
    trainer.objective = Spy(0.1)
    rows = torch.tensor([3, 0, 7])
    trainer._backward(rows)
    features, targets, predictions = seen[0]
    assert targets.tolist() == pytest.approx([Slopes.targets[row] for row in (3, 0, 7)] * 2)
    expected = PredictingTower(trainer.model.first)(Batch(tabular=Slopes.vectors[rows])).repeat(2, 1)
    assert torch.allclose(torch.cat([features, predictions[:, None]], 1), expected)


@pytest.mark.parametrize("settings", [{"micro_batch_size": 7}, {"momentum": 0.9}])
def test_predictions_pass_through_chunks_and_a_momentum_encoder(settings):
    whole = list(regression(epochs=2, **settings))
    if "micro_batch_size" in settings:  # the same gradients
        assert whole == pytest.approx(list(regression(epochs=2)), rel=1e-4)
    trainer = regression(epochs=2, **settings)
    first = next(iter(trainer))
    state, resumed = trainer.state_dict(), regression(epochs=2, **settings)
    resumed.load_state_dict(state)
    assert whole == [first, *resumed]


def test_without_a_regressor_or_targets_the_missing_input_is_named():
    with pytest.raises(ConfigError, match="'predictions'"):
        list(regression(regressor=False))
    trainer = regression()
    trainer.pairs = PairedDataset(Vectors())
    with pytest.raises(ConfigError, match="'targets'"):
        trainer._loss(torch.arange(4), torch.randn(4, 5), torch.randn(4, 5))


def test_a_missing_tower_or_fewer_than_two_embeddings_raise():
    for views, pairs in ((1, PairedDataset(Tones())), (2, PairedDataset(Tones(), Tones()))):
        trainer = one_tower("clip")
        with pytest.raises(ConfigError, match=f"views={views}"):
            ContrastiveTrainer(trainer.model, pairs, CLIPLoss(), trainer.optimizer, views=views)


def test_each_view_is_augmented_on_its_own():
    seen = []

    def view(name):
        def augment(batch):
            seen.append((name, len(batch["text"])))
            return batch

        return augment

    model, pairs = build_encoder("audio", "cnn", dim=8), PairedDataset(Tones())
    tower = TwoTower(model, dim=4)
    optimizer = torch.optim.SGD(tower.parameters(), lr=1e-3)
    settings = {"epochs": 1, "batch_size": 21, "views": 2}
    list(ContrastiveTrainer(tower, pairs, CLIPLoss(0.2), optimizer, augment=[view("a"), view("b")], **settings))
    assert seen == [("a", 21), ("b", 21)]
    with pytest.raises(ConfigError, match="1 augmentations for views=2"):
        ContrastiveTrainer(tower, pairs, CLIPLoss(0.2), optimizer, augment=[view("a")], **settings)


def queued(epochs=2, momentum=0.9):
    """A trainer whose keys are those of a momentum encoder."""
    seed_everything(0)
    tower = TwoTower(build_encoder("audio", "cnn", dim=8, blocks=1, dropout=0.1), first_head="linear", dim=4)
    objective = MoCHiLoss(queue=16, hardest=4, mixed=2, mixed_queries=1)
    optimizer = torch.optim.SGD(tower.parameters(), lr=0.1)
    settings = {"epochs": epochs, "batch_size": 8, "views": 2, "momentum": momentum}
    return ContrastiveTrainer(tower, PairedDataset(Tones()), objective, optimizer, **settings)


def test_a_momentum_encoder_embeds_the_further_views_and_follows_the_tower():
    trainer = queued(epochs=1, momentum=0.75)
    before = [each.detach().clone() for each in trainer.model.first.parameters()]
    trainer._batches = lambda order: [order[:8], order[8:16]]  # the first has an empty queue, and no gradient
    list(trainer)
    for old, new, average in zip(
        before, trainer.model.first.parameters(), trainer._average.average.parameters(), strict=True
    ):
        assert torch.allclose(average, 0.75 * old + 0.25 * new, atol=1e-6) and average.grad is None
    assert any((old != new).any() for old, new in zip(before, trainer.model.first.parameters(), strict=True))
    assert int(trainer.objective.queue.count) == 16


def test_training_with_a_momentum_encoder_resumes_to_the_last_digit(tmp_path):
    whole = queued()
    expected = list(whole)
    first = queued()
    loss = next(iter(first))
    save_checkpoint(tmp_path / "state.safetensors", first.state_dict())
    second = queued()
    second.load_state_dict(load_checkpoint(tmp_path / "state.safetensors"))
    assert [loss, *second] == expected
    pairs = [trainer._average.state_dict() for trainer in (second, whole)]
    assert all(torch.equal(value, pairs[1][name]) for name, value in pairs[0].items())
    with pytest.raises(CheckpointError, match="momentum"):
        queued(momentum=0.5).load_state_dict(load_checkpoint(tmp_path / "state.safetensors"))


def test_a_momentum_encoder_needs_one_tower_and_views():
    with pytest.raises(ConfigError, match="momentum=0.9 with 2 towers"):
        build(momentum=0.9)
