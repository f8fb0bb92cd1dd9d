import pytest
import torch

from mmcl.errors import TrainingError
from mmcl.training import loss_sums
from mmcl.training.finite import samples
from mmcl.training.loss_sums import CheckedStep, LossSums, waits


class Data:
    """Eight samples, of which one is not finite."""

    classes, labels, texts, ids = ("a",), [0] * 8, ["x"] * 8, [f"s{row}" for row in range(8)]

    def __len__(self):
        return 8

    def __getitem__(self, row):
        return {"features": torch.full((2,), torch.nan if row == 5 else 1.0)}


def step(number, rows=None, terms=("loss", "mm")):
    found = () if rows is None else samples(Data(), rows)
    return CheckedStep("the loss", f"step {number}", terms, found, "change it")


def check_all(sums, values):
    for number, value in enumerate(values, start=1):
        sums.check(torch.tensor(value), lambda number=number: step(number))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_values_read_later_have_the_same_sums_to_the_last_digit(dtype, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(100, generator=generator).exp().to(dtype) for _ in range(2)]
    found = []
    for later in (False, True):
        monkeypatch.setattr(loss_sums, "waits", lambda device, later=later: later)
        sums = LossSums()
        for number, (loss, term) in enumerate(zip(*values, strict=True)):
            sums.note("mm", term[None] if number % 2 else term)
            sums.note("mm", 0.1)
            sums.check(loss, lambda: step(0))
        found.append((list(sums.read().items()), sums.steps))
    assert found[0] == found[1] and found[0][1] == 100


def test_a_loss_that_is_not_finite_is_found_at_once_on_the_cpu():
    sums = LossSums()
    with pytest.raises(TrainingError, match="nan in step 3 .*mm.*change it"):
        check_all(sums, [1.0, 2.0, torch.nan, 4.0])
    assert sums.steps == 2 and sums.values == {"loss": 3.0}


@pytest.mark.parametrize("first", [1, 7, 32])
def test_a_loss_that_is_not_finite_is_found_within_the_steps_of_a_check(first, on_device):
    sums, checked = LossSums(), 0
    with pytest.raises(TrainingError, match=rf"the loss is inf in step {first} \(terms: mm\): change it"):
        for number in range(1, 100):
            checked = number
            value = torch.tensor(torch.inf if number == first else torch.nan if number > first else 1.0)
            sums.check(value, lambda number=number: step(number))
    assert checked == LossSums.CHECK_EVERY


def test_a_loss_that_is_not_finite_is_found_when_the_sums_are_read(on_device):
    sums = LossSums()
    check_all(sums, [1.0, torch.nan, torch.nan])
    with pytest.raises(TrainingError, match="step 2"):
        sums.read()


def test_the_sample_is_read_again(on_device):
    sums = LossSums()
    sums.check(torch.tensor(1.0), lambda: step(1, [5]))
    sums.check(torch.tensor(torch.nan), lambda: step(2, [3, 5, 7]))
    with pytest.raises(TrainingError, match=r"step 2 .*'features'.*'s5'.*nan"):
        sums.read()


def test_values_that_are_discarded_are_not_checked(on_device):
    sums = LossSums()
    check_all(sums, [torch.nan])
    sums.reset()
    assert sums.read() == {} and sums.steps == 0


def test_the_first_loss_of_several_processes_is_reported_by_all(on_device, monkeypatch):
    monkeypatch.setattr(loss_sums.distributed, "all_gather_object", lambda value: [value, 1])
    sums = LossSums()
    check_all(sums, [1.0, 2.0, torch.nan])
    with pytest.raises(TrainingError, match="another process .*step 2"):
        sums.read()
    check_all(sums, [1.0, torch.nan])
    with pytest.raises(TrainingError, match="the loss is nan in step 2"):
        sums.read()


def test_only_a_cpu_is_read_without_waiting():
    assert [waits(torch.device(name)) for name in ("cpu", "cuda", "mps", "xpu")] == [False, True, True, True]
