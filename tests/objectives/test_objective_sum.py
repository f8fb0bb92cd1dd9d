"""Tests of sums of objectives."""

import pytest
import torch

from mmcl.errors import ConfigError, InputError
from mmcl.objectives import ConRLoss, L1Loss, LearnableTemperature, NTXentLoss, ObjectiveSum, SupConLoss
from mmcl.training.views import loss_of

VIEWS = list(torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)))
LABELS, TARGETS = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([1.0, 1.5, 4.0, 4.5, 8.0, 9.0])
PREDICTIONS = torch.linspace(0, 9, 12)


def test_the_loss_is_the_weighted_sum_of_the_terms():
    l1, conr, nt_xent, sup_con = L1Loss(), ConRLoss(0.3), NTXentLoss(0.2), SupConLoss(0.2)
    both = ObjectiveSum([l1, conr, nt_xent, sup_con], [1.0, 4.0, 0.5, 2.0])
    assert both.takes == ("predictions", "targets", "features", "a", "b", "labels")
    found = loss_of(both, VIEWS, labels=LABELS, targets=TARGETS, predictions=PREDICTIONS)
    features, targets = torch.cat(VIEWS), TARGETS.repeat(2)
    expected = l1(PREDICTIONS, targets) + 4 * conr(features, targets, PREDICTIONS)
    expected += 0.5 * nt_xent(*VIEWS) + 2 * sup_con(features, LABELS.repeat(2))
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_parameters_and_state_are_those_of_the_terms():
    both = ObjectiveSum([NTXentLoss(LearnableTemperature(0.1)), L1Loss()])
    assert [name for name, _ in both.named_parameters()] == ["terms.0.temperature.log_scale"]
    assert both.weights == [1.0, 1.0]


def test_a_missing_input_names_the_term():
    with pytest.raises(ConfigError, match="L1Loss needs 'predictions'"):
        loss_of(ObjectiveSum([NTXentLoss(), L1Loss()]), VIEWS, labels=LABELS)


def test_terms_and_weights_are_checked():
    with pytest.raises(ConfigError, match="0 terms"):
        ObjectiveSum([])
    with pytest.raises(ConfigError, match="1 terms and 2 weights"):
        ObjectiveSum([L1Loss()], [1.0, 2.0])
    with pytest.raises(InputError, match="-1"):
        ObjectiveSum([L1Loss()], [-1.0])
