import pytest
import torch
from torch import nn

from mmcl.data import Mnist
from mmcl.data.selection import Selection
from mmcl.errors import ConfigError, DataError, TrainingError
from mmcl.training import loss_sums
from mmcl.unlearning.loop import adam, checked_sets, endless_batches, shuffled_batches, train_epochs


def test_losses_are_minimized_in_turn_and_their_sum_is_reported():
    weight, noted = nn.Parameter(torch.tensor(0.0)), []
    optimizer = torch.optim.SGD([weight], lr=1.0)
    steps = [(lambda batch: weight * batch, optimizer), (lambda batch: weight**2 / 4, optimizer)]
    train_epochs("trying", 2, lambda: iter([1.0, 3.0]), steps, lambda *row: noted.append(row))
    # 0 -1 -> -1, halved -> -.5; -3 -> -3.5, halved -> -1.75; -1 -> -2.75 -> -1.375; -3 -> -4.375 -> -2.1875
    assert weight.item() == pytest.approx(-2.1875)
    first = (0.0 + 0.25 + -1.5 + 3.5**2 / 4) / 2
    assert noted[0] == ("trying", 1, pytest.approx(first)) and noted[1][:2] == ("trying", 2)


def test_non_finite_loss_names_the_step():
    weight = nn.Parameter(torch.tensor(1.0))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    steps = [(lambda batch: weight * batch, optimizer)]
    with pytest.raises(TrainingError, match="trying.* nan .*epoch 1, step 2"):
        train_epochs("trying", 1, lambda: [1.0, float("nan")], steps)
    assert weight.item() == 0.0  # only the first step was taken
    with pytest.raises(ConfigError, match="epochs.*trying.*-1"):
        train_epochs("trying", -1, list, steps)


def test_losses_read_later_are_equal_and_name_the_first_step(monkeypatch):
    totals = []
    for later in (False, True):
        monkeypatch.setattr(loss_sums, "waits", lambda device, later=later: later)
        weight, values = nn.Parameter(torch.tensor(0.3)), torch.linspace(0.1, 0.7, 11)
        optimizer = torch.optim.SGD([weight], lr=0.1)
        steps = [(lambda batch, w=weight: w * batch, optimizer), (lambda batch, w=weight: w**2 / 3, optimizer)]
        train_epochs("trying", 3, lambda v=values: iter(v), steps, lambda *row: totals.append(row))
    assert totals[:3] == totals[3:]
    optimizer = torch.optim.SGD([weight], lr=1.0)
    steps = [(lambda batch: weight * batch, optimizer), (lambda batch: weight**2, optimizer)]
    epochs = []
    with pytest.raises(TrainingError, match="trying.* nan .*epoch 2, step 2"):
        batches = iter([[1.0, 1.0], [1.0, float("nan"), 1.0]])
        train_epochs("trying", 3, lambda: next(batches), steps, lambda *row: epochs.append(row[1]))
    assert epochs == [1]


def test_batches_hold_every_sample_once(forget):
    batches = list(shuffled_batches(forget, 16))
    assert sum(len(batch["label"]) for batch in batches) == len(forget)
    pixels = torch.cat([batch["image"] for batch in batches]).sum((1, 2, 3)).sort().values
    expected = torch.stack([forget[row]["image"].sum() for row in range(len(forget))]).sort().values
    assert torch.allclose(pixels, expected)


def test_overlapping_sets_are_refused_and_shared_samples_named(remain, forget):
    checked_sets(remain, forget)
    source = remain.source
    with pytest.raises(DataError, match="^2 .*train-4, train-7\\b"):
        checked_sets(Selection(source, [1, 4, 7]), Selection(source, [7, 4]))
    with pytest.raises(DataError, match="^1 .*train-7\\b"):
        checked_sets(source, Selection(source, [7]))

    class Other:
        """Other data set with some samples of the same ids."""

        classes, labels, texts = source.classes, [0, 1], ["zero", "one"]

        def __len__(self):
            return 2

        def __getitem__(self, row):
            return source[row + 3]

    with pytest.raises(DataError, match="^1 .*train-4\\b"):
        checked_sets(Other(), Selection(source, [4, 9]))
    for kept, gone, name in (([], forget, "remain"), (remain, [], "forget"), (remain, None, "forget")):
        with pytest.raises(DataError, match=f"{name}.* 0 samples"):
            checked_sets(kept, gone)


def test_splits_are_disjoint_and_nested_selections_are_resolved(data_dir):
    train, valid = (Mnist(data_dir / "MNIST", split) for split in ("train", "valid"))
    checked_sets(Selection(train, [0, 1]), Selection(valid, [0, 1]))
    checked_sets(valid, Selection(train, [0, 1]))
    inner = Selection(train, [5, 6, 7])
    checked_sets(Selection(inner, [0, 1]), Selection(train, [7, 0]))
    with pytest.raises(DataError, match=r"train-6\b"):
        checked_sets(Selection(inner, [0, 1]), Selection(train, [6]))


def test_data_set_without_batch_method(forget):
    class ByItem:
        classes, labels, texts = forget.classes, forget.labels, forget.texts

        def __len__(self):
            return len(forget)

        def __getitem__(self, row):
            return forget[row]

    torch.manual_seed(0)
    one = next(shuffled_batches(ByItem(), 5))
    torch.manual_seed(0)
    other = next(shuffled_batches(forget, 5))
    assert torch.equal(one["image"], other["image"]) and torch.equal(one["label"], other["label"])


def test_endless_batches_are_reshuffled(forget):
    turns = endless_batches(forget, len(forget))
    first, second = next(turns)["image"], next(turns)["image"]
    assert not torch.equal(first, second)
    assert torch.allclose(first.sum(0), second.sum(0), atol=1e-3)


def test_done_epochs_are_added_to_the_reported_epoch():
    noted = []
    train_epochs("trying", 2, list, [], lambda *row: noted.append(row), done=3)
    assert noted == [("trying", 4, 0.0), ("trying", 5, 0.0)]


def test_adam_needs_parameters():
    with pytest.raises(ConfigError, match="0 parameters to train"):
        adam([], 1e-3)


def test_non_finite_sample_is_named(remain, forget):
    class Broken:
        classes, labels, texts = forget.classes, forget.labels, forget.texts

        def __len__(self):
            return 5

        def __getitem__(self, row):
            sample = dict(forget[row])
            return {**sample, "image": sample["image"] / (row != 3)} if row == 3 else sample

    weight, data = nn.Parameter(torch.tensor(1.0)), Broken()
    steps = [(lambda batch: weight * batch["image"].sum(), torch.optim.SGD([weight], lr=1.0))]
    with pytest.raises(TrainingError, match=f"epoch 1, step 1: 'image' of sample '{forget[3]['id']}' holds") as raised:
        train_epochs("trying", 1, lambda: shuffled_batches(data, 5), steps, data=[remain, data])
    assert "learning rate" not in str(raised.value)


def test_each_epoch_begins_in_the_given_mode():
    model, seen = nn.Dropout(), []
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)

    def loss_of(batch):
        seen.append(model.training)
        return torch.zeros((), requires_grad=True)

    for begin, expected in ((model.train, True), (model.eval, False)):
        seen.clear()
        train_epochs(
            "trying", 2, lambda: [1], [(loss_of, optimizer)], lambda *_: model.train(not seen[-1]), begin=begin
        )
        assert seen == [expected] * 2
