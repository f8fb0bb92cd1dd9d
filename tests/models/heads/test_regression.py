import torch

from mmcl.models.heads.regression import Regressor


def test_predictions_are_scaled_by_the_training_targets():
    regressor = Regressor(3)
    regressor.standardize(torch.tensor([10.0, 20.0, 60.0]))
    features = torch.randn(5, 3)
    expected = 30 + torch.tensor([10.0, 20.0, 60.0]).std(correction=0) * regressor.linear(features)[:, 0]
    assert torch.allclose(regressor(features), expected)


def test_mean_and_deviation_are_saved():
    regressor, other = Regressor(3), Regressor(3)
    regressor.standardize(torch.tensor([10.0, 60.0]))
    other.load_state_dict(regressor.state_dict())
    assert torch.equal(other(torch.ones(1, 3)), regressor(torch.ones(1, 3)))


def test_predictions_stay_in_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert Regressor(3)(torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.float32
