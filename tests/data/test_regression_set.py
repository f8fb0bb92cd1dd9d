import pytest
import torch

from mmcl.batch import collate
from mmcl.data import PairedDataset, Selection
from mmcl.data.regression_set import RegressionSet, bin_edges, bin_names, bins_of, check_targets
from mmcl.data.tabular_view import TabularView
from mmcl.errors import DataError


class Numbers(RegressionSet):
    """Vectors of three numbers, whose target is the first."""

    modalities = {"numbers": "tabular"}

    def __init__(self, targets, split="train", edges=(0.0, 2.0, 4.0)):
        self.root, self.split = "somewhere", split
        values = torch.tensor(targets)[:, None].float() + torch.arange(3)
        self._hold(values, targets, list(edges))


def test_samples_batches_and_bins_agree():
    data = Numbers([0.5, 2.0, 3.5, -1.0, 9.0])
    assert data.classes == ("0 to 2", "2 to 4") and data.labels == [0, 1, 1, 0, 1]
    batch, samples = data.batch(torch.tensor([3, 1])), collate([data[3], data[1]])
    assert batch["target"].tolist() == samples["target"].tolist() == [-1.0, 2.0]
    assert batch["label"].tolist() == samples["label"].tolist() == [0, 1]
    assert torch.equal(batch["numbers"], samples["numbers"]) and batch["text"] == samples["text"]
    assert data[-1]["target"] == 9.0 and data.features == {"numbers": 3}


def test_targets_reach_selections_views_and_pairs():
    data = Numbers([0.5, 2.0, 3.5])
    chosen = Selection(data, [2, 0])
    assert chosen.targets == [3.5, 0.5] and chosen[0]["target"] == 3.5
    view = TabularView(chosen)
    assert view.targets == [3.5, 0.5] and view[1]["target"] == 0.5
    assert PairedDataset(view).targets.tolist() == [3.5, 0.5]


def test_splits_are_concatenated_if_their_bins_are_equal():
    joined = Numbers([0.5, 2.0]) + Numbers([3.5], "valid")
    assert joined.targets == [0.5, 2.0, 3.5] and joined.split == "train+valid" and len(joined.ids) == 3
    assert joined[2]["numbers"].tolist() == [3.5, 4.5, 5.5]
    with pytest.raises(DataError):
        Numbers([0.5, 2.0]) + Numbers([3.5], edges=(0.0, 1.0))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_targets_that_are_not_finite_are_named(bad):
    with pytest.raises(DataError, match=f"target {bad} in sample 1"):
        Numbers([0.5, bad])


def test_constant_targets_are_refused_in_training_data():
    constant = Numbers([2.0, 2.0])  # a small test split may be constant
    with pytest.raises(DataError, match=r"2\.0 in all 2"):
        PairedDataset(constant)
    with pytest.raises(DataError, match="none in all 0"):
        check_targets([], "the table")


def test_numbers_of_inputs_and_targets_differ():
    data = Numbers([0.5, 2.0])
    with pytest.raises(DataError, match="2 samples and 3 targets"):
        data._hold(torch.zeros(2, 3), [1.0, 2.0, 3.0], [0.0, 4.0])


def test_an_edge_belongs_to_the_bin_above():
    assert bins_of([0.0, 2.0, 4.0], [0.0, 2.0, 4.0]) == [0, 1, 1]


def test_names_of_bins_differ_where_six_digits_are_too_few():
    edges = bin_edges(1_000_000.0, 1_000_001.0, 2)
    assert bin_names(edges) == ("1000000 to 1000000.5", "1000000.5 to 1000001")
