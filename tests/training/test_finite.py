import pytest
import torch

from mmcl.errors import InputError, TrainingError
from mmcl.training.finite import not_finite, samples, step_error


class Data:
    classes, labels, texts, ids = ("a", "b"), [0, 1, 0, 1], ["x"] * 4, ["s0", "s1", "s2", "s3"]

    def __init__(self, bad=None, value=torch.nan):
        self.features = torch.arange(8.0).view(4, 2)
        if bad is not None:
            self.features[bad, 1] = value

    def __len__(self):
        return 4

    def __getitem__(self, row):
        return {"features": self.features[row], "label": self.labels[row], "text": "x"}


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_sample_that_is_not_finite_is_named(value):
    error = step_error("the loss is nan", "epoch 2, step 3", samples(Data(2, value), [3, 2], batch_size=1))
    assert isinstance(error, TrainingError) and "learning rate" not in str(error)
    assert all(part in str(error) for part in ("epoch 2, step 3", "'features'", "'s2'", str(value)))


def test_the_error_of_finite_inputs_gives_advice_or_has_the_given_type():
    error = step_error("the loss is nan", "epoch 2, step 3", samples(Data()))
    assert isinstance(error, TrainingError) and "epoch 2, step 3" in str(error) and "learning rate" in str(error)
    error = step_error("keys: row 0 is not finite", "epoch 2, step 3", samples(Data()), InputError)
    assert isinstance(error, InputError) and "row 0" in str(error) and "epoch 2, step 3" in str(error)


def test_values_that_are_not_floating_point_tensors_are_skipped():
    batch = {"text": ["nan"], "label": torch.tensor([1]), "scale": torch.tensor(torch.nan), "empty": torch.empty(0, 2)}
    assert not_finite(batch, str) is None
    found = not_finite({"image": torch.full((2, 1, 2, 2), torch.nan)}, str)
    assert all(part in found for part in ("'image'", "'0'", "nan"))
