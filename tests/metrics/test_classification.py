import math

import pytest
import torch

from mmcl.errors import InputError, LabelError, ShapeError
from mmcl.metrics.classification import classification_scores


def test_two_classes_by_hand():
    logits = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.5]])
    scores = classification_scores(logits, torch.tensor([0, 1, 0, 1, 1]))
    # class 1: 2 found, 1 wrong, 1 missed: 4 / 6; class 0: 1 found, 1 wrong, 1 missed: 2 / 4
    assert scores["accuracy"] == pytest.approx(0.6)
    assert scores["f1"] == pytest.approx(4 / 6) and scores["macro_f1"] == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert scores["weighted_f1"] == pytest.approx((3 * 4 / 6 + 2 * 2 / 4) / 5)
    # pairs of a sample of each class in the right order: 2.0 above both of 0, 0.5 above -1.0 alone, -3.0 above none
    assert scores["auc"] == pytest.approx(3 / 6)


def test_three_classes():
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    right = torch.nn.functional.one_hot(labels, 3).float()
    assert set(classification_scores(right, labels).values()) == {1.0}
    scores = classification_scores(right[:, [1, 0, 2]], labels)
    assert scores["accuracy"] == pytest.approx(1 / 3) and scores["f1"] == scores["weighted_f1"]
    assert scores["macro_f1"] == pytest.approx(1 / 3)


def test_undefined_auc_is_omitted():
    scores = classification_scores(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    assert "auc" not in scores and scores["f1"] == 0.0


def test_closed_columns_are_never_predicted():
    logits = torch.tensor([[0.0, float("-inf"), 1.0], [2.0, float("-inf"), 1.0]])
    assert classification_scores(logits, torch.tensor([2, 0]))["accuracy"] == 1.0


def test_invalid_inputs_raise():
    with pytest.raises(ShapeError, match=r"expected \(samples, classes\) and \(samples,\)"):
        classification_scores(torch.zeros(3, 2), torch.zeros(2))
    with pytest.raises(LabelError, match="labels range from 0 to 2, expected 0 to 1"):
        classification_scores(torch.zeros(2, 2), torch.tensor([0, 2]))


def test_single_class_has_no_auc_and_finite_scores():
    scores = classification_scores(torch.zeros(4, 1), torch.zeros(4, dtype=torch.long))
    assert scores == {"accuracy": 1.0, "f1": 1.0, "weighted_f1": 1.0, "macro_f1": 1.0}
    absent = classification_scores(torch.eye(3)[[0, 1, 2]], torch.tensor([0, 1, 1], dtype=torch.uint8))
    assert "auc" not in absent and all(math.isfinite(value) for value in absent.values())


@pytest.mark.parametrize("row", [[math.nan, 0.0], [math.inf, 0.0], [-math.inf, -math.inf]])
def test_non_finite_logits_raise(row):
    with pytest.raises(InputError, match="logits of row 1 are"):
        classification_scores(torch.tensor([[0.0, 1.0], row]), torch.tensor([0, 1]))


def test_non_integer_labels_raise():
    with pytest.raises(LabelError, match="labels holds 0.0"):
        classification_scores(torch.eye(2), torch.tensor([0.0, 1.0]))
