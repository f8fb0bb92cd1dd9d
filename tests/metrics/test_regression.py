import pytest
import torch
from sklearn.linear_model import RidgeCV
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.preprocessing import StandardScaler

from mmcl.errors import InputError, LabelError, ShapeError
from mmcl.metrics.regression import regression_errors, ridge_predictions


def draw(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    return features, (features @ torch.arange(5.0, dtype=torch.float64) + features[:, 0].square()).tolist()


def test_errors_are_those_of_scikit_learn():
    predictions = torch.randn(30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    _, targets = draw(30, 0)
    bins, train_bins = [row % 3 for row in range(30)], [0] * 101 + [1] * 100 + [2] * 19
    found = regression_errors(predictions, targets, bins, train_bins)
    assert found["MAE"] == pytest.approx(mean_absolute_error(targets, predictions), rel=1e-10)
    assert found["RMSE"] == pytest.approx(root_mean_squared_error(targets, predictions), rel=1e-10)
    assert found["R2"] == pytest.approx(r2_score(targets, predictions), rel=1e-10)
    for name, each in (("MAE, many-shot", 0), ("MAE, few-shot", 2)):
        expected = mean_absolute_error(targets[each::3], predictions[each::3])
        assert found[name] == pytest.approx(expected, rel=1e-10)


def test_bins_without_training_samples_are_rare_and_empty_parts_are_left_out():
    found = regression_errors(torch.tensor([1.0, 2.0]), [1.0, 4.0], [0, 7], [0] * 50)
    assert found["MAE, few-shot"] == 2.0 and "MAE, many-shot" not in found
    assert list(regression_errors(torch.tensor([1.0, 2.0]), [1.0, 4.0])) == ["MAE", "RMSE", "R2"]
    assert regression_errors(torch.tensor([1.0, 2.0]), [1.0, 4.0], [0, 7], [0] * 50, many=10)["MAE, many-shot"] == 0


def test_ridge_predictions_are_those_of_scikit_learn():
    (train, targets), (test, _) = draw(60, 0), draw(20, 1)
    scaler = StandardScaler().fit(train.numpy())
    fitted = RidgeCV([10.0**power for power in range(-3, 5)]).fit(scaler.transform(train.numpy()), targets)
    expected = torch.from_numpy(fitted.predict(scaler.transform(test.numpy())))
    assert torch.allclose(ridge_predictions(train, targets, test), expected)


def test_bad_input():
    for targets, error in (([1.0], ShapeError), ([1.0, float("nan")], InputError), ([2.0, 2.0], LabelError)):
        with pytest.raises(error):
            regression_errors(torch.tensor([1.0, 2.0]), targets)
    with pytest.raises(InputError, match="row 1"):
        regression_errors(torch.tensor([1.0, float("inf")]), [1.0, 2.0])
    with pytest.raises(ShapeError, match="3 bins"):
        regression_errors(torch.tensor([1.0, 2.0]), [1.0, 2.0], [0, 0, 0])
    with pytest.raises(ShapeError, match="4 embeddings and 3 targets"):
        ridge_predictions(torch.eye(4), [1.0, 2.0, 3.0], torch.eye(4))
    with pytest.raises(InputError, match="targets: row 0"):
        ridge_predictions(torch.eye(2), [float("nan"), 2.0], torch.eye(2))
