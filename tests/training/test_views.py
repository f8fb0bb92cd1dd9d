"""Inputs of objectives, made from embeddings."""

import pytest
import torch

from mmcl.errors import ConfigError
from mmcl.objectives import (
    CLIPLoss,
    ISogCLRLoss,
    MoCHiLoss,
    MVDHELLoss,
    MWLoss,
    NTXentLoss,
    ObjectiveSum,
    SimLAPLoss,
    SupConLoss,
)
from mmcl.training.views import loss_of, objective_inputs

VIEWS = list(torch.arange(24.0).view(3, 4, 2))
LABELS = torch.tensor([0, 1, 1, 2])


def test_two_views_are_the_sides():
    inputs = objective_inputs(VIEWS[:2], labels=LABELS, takes=("a", "b", "labels"))
    assert inputs["a"] is VIEWS[0] and inputs["b"] is VIEWS[1] and inputs["labels"] is LABELS


def test_negative_views_are_hard_negatives():
    queries, passages, *hard = VIEWS
    expected = MWLoss(1.0)(queries, passages, torch.stack(hard, 1))
    assert loss_of(MWLoss(1.0), VIEWS, 1) == expected != loss_of(MWLoss(1.0), VIEWS[:2])
    assert loss_of(ObjectiveSum([MWLoss(1.0)], [2.0]), VIEWS, 1) == 2 * expected
    for objective in (CLIPLoss(1.0), ObjectiveSum([MWLoss(1.0), CLIPLoss(1.0)])):
        with pytest.raises(ConfigError, match="CLIPLoss takes no hard negatives"):
            loss_of(objective, VIEWS, 1)


def test_views_are_stacked_and_features_concatenated():
    inputs = objective_inputs(VIEWS, labels=LABELS, takes=("views", "features"))
    assert torch.equal(inputs["views"], torch.stack(VIEWS))
    assert torch.equal(inputs["features"], torch.cat(VIEWS))
    assert inputs["labels"].tolist() == LABELS.tolist() * 3


def test_targets_are_repeated_with_the_features_and_predictions_are_not():
    targets, predictions = torch.arange(4.0), torch.arange(12.0)
    inputs = objective_inputs(VIEWS, takes=("features", "targets"), targets=targets, predictions=predictions)
    assert inputs["targets"].tolist() == targets.tolist() * 3 and inputs["predictions"] is predictions
    assert objective_inputs(VIEWS, takes=("views",), targets=targets)["targets"] is targets
    inputs = objective_inputs(VIEWS, takes=("predictions", "targets"), targets=targets, predictions=predictions)
    assert inputs["targets"].tolist() == targets.tolist() * 3 and "features" not in inputs


def test_further_inputs_are_passed_by_name():
    rows = torch.arange(4)
    assert objective_inputs(VIEWS, takes=("views", "rows"), rows=rows)["rows"] is rows


@pytest.mark.parametrize("objective", [MVDHELLoss(), SupConLoss()])
def test_multi_view_objectives_accept_three_views(objective):
    assert objective.of(objective_inputs(VIEWS, labels=LABELS, takes=objective.takes)).isfinite()


def test_an_objective_of_two_sides_raises_for_three_views():
    with pytest.raises(ConfigError, match="'a'"):
        CLIPLoss().of(objective_inputs(VIEWS, takes=CLIPLoss.takes))


def test_the_loss_of_an_objective_is_that_of_its_inputs():
    expected = SupConLoss()(torch.cat(VIEWS), LABELS.repeat(3))
    assert torch.equal(loss_of(SupConLoss(), VIEWS, labels=LABELS), expected)


@pytest.mark.parametrize("objective", [NTXentLoss(0.5), CLIPLoss(0.5)])
def test_an_objective_of_two_sides_is_averaged_over_pairs_of_views(objective):
    first, second, third = VIEWS
    pairs = [objective(first, second), objective(first, third), objective(second, third)]
    assert torch.allclose(loss_of(objective, VIEWS), torch.stack(pairs).mean())


def test_labels_reach_each_pair_of_views():
    assert loss_of(SimLAPLoss(classes=3, dim=2), VIEWS, labels=LABELS).isfinite()


@pytest.mark.parametrize("objective", [ISogCLRLoss(samples=4), MoCHiLoss(queue=8)])
def test_an_objective_with_state_takes_two_views(objective):
    with pytest.raises(ConfigError, match="views=2"):
        loss_of(objective, VIEWS, rows=torch.arange(4))
