import pytest
import torch
from torch import nn

from mmcl.data.selection import Selection
from mmcl.errors import ConfigError, DataError, TrainingError
from mmcl.unlearning.loop import adam, check_apart, shuffled_batches, train_epochs


def test_steps_are_taken_in_turn_and_their_sum_is_reported():
    weight, noted = nn.Parameter(torch.tensor(0.0)), []
    optimizer = torch.optim.SGD([weight], lr=1.0)
    steps = [(lambda batch: weight * batch, optimizer), (lambda batch: weight**2 / 4, optimizer)]
    train_epochs("trying", 2, lambda: iter([1.0, 3.0]), steps, lambda *row: noted.append(row))
    # 0 -1 -> -1, halved -> -.5; -3 -> -3.5, halved -> -1.75; -1 -> -2.75 -> -1.375; -3 -> -4.375 -> -2.1875
    assert weight.item() == pytest.approx(-2.1875)
    first = (0.0 + 0.25 + -1.5 + 3.5**2 / 4) / 2
    assert noted[0] == ("trying", 1, pytest.approx(first)) and noted[1][:2] == ("trying", 2)


def test_a_loss_that_is_not_finite_says_where():
    weight = nn.Parameter(torch.tensor(1.0))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    steps = [(lambda batch: weight * batch, optimizer)]
    with pytest.raises(TrainingError, match="the loss of trying is nan in epoch 1, step 2"):
        train_epochs("trying", 1, lambda: [1.0, float("nan")], steps)
    assert weight.item() == 0.0  # the step before it was the last
    with pytest.raises(ConfigError, match="epochs of trying is -1"):
        train_epochs("trying", -1, list, steps)


def test_batches_have_all_samples_once(forget):
    batches = list(shuffled_batches(forget, 16))
    assert sum(len(batch["label"]) for batch in batches) == len(forget)
    pixels = torch.cat([batch["image"] for batch in batches]).sum((1, 2, 3)).sort().values
    expected = torch.stack([forget[row]["image"].sum() for row in range(len(forget))]).sort().values
    assert torch.allclose(pixels, expected)


def test_sets_that_overlap_are_refused_and_samples_are_named(remain, forget):
    check_apart(remain, forget)
    source = remain.source
    with pytest.raises(DataError, match="2 samples are to be kept and forgotten, expected none: row 4, row 7$"):
        check_apart(Selection(source, [1, 4, 7]), Selection(source, [7, 4]))
    with pytest.raises(DataError, match="samples are to be kept"):
        check_apart(source, Selection(source, [7]))

    class Other:
        """Some of the same samples, as another data set."""

        classes, labels, texts = source.classes, [0, 1], ["zero", "one"]

        def __len__(self):
            return 2

        def __getitem__(self, row):
            return source[row + 3]

    with pytest.raises(DataError, match="1 samples are to be kept and forgotten, expected none: train-4$"):
        check_apart(Other(), Selection(source, [4, 9]))
    for kept, gone, name in (([], forget, "remain"), (remain, [], "forget"), (remain, None, "forget")):
        with pytest.raises(DataError, match=f"the set to {name} has 0 samples"):
            check_apart(kept, gone)


def test_nothing_to_train():
    with pytest.raises(ConfigError, match="0 parameters to train"):
        adam([], 1e-3)
