"""Targets of user data: bins, scaled numbers, and what is refused."""

from pathlib import Path

import pytest

from mmcl.data.own_rows import OwnRow
from mmcl.data.own_targets import with_bins
from mmcl.errors import DataError


def rows(*targets, numbers=((0.0, 5.0),)):
    vectors = [numbers[place % len(numbers)] for place in range(len(targets))]
    return [OwnRow(Path("a.csv"), "", "", numbers=v, target=t) for v, t in zip(vectors, targets, strict=True)]


def test_bins_and_scales_are_those_of_the_training_rows():
    """Two bins of 0 to 4; 9 is in the last one. The first column has mean 2 and deviation 2, the second is constant."""
    splits = {"train": rows(0.0, 4.0, numbers=((0.0, 5.0), (4.0, 5.0))), "test": rows(9.0, 1.0, numbers=((6.0, 7.0),))}
    found, names = with_bins(splits, "test", 2, Path("a.csv"))
    assert names == ("0 to 2", "2 to 4") and [row.label for row in found] == ["2 to 4", "0 to 2"]
    assert [row.numbers for row in found] == [(2.0, 0.0)] * 2 and [row.target for row in found] == [9.0, 1.0]
    assert [row.numbers for row in with_bins(splits, "train", 2, Path("a.csv"))[0]] == [(-1.0, 0.0), (1.0, 0.0)]


def test_a_lone_split_has_its_own_bins_and_rows_need_no_numbers():
    found, names = with_bins({"test": rows(1.0, 3.0, numbers=((),))}, "test", 2, Path("a.csv"))
    assert names == ("1 to 2", "2 to 3") and [row.numbers for row in found] == [(), ()]


def test_constant_training_targets_are_refused():
    with pytest.raises(DataError, match=r"a.csv .* 3.0 in all 4 samples"):
        with_bins({"train": rows(*[3.0] * 4), "test": rows(1.0, 2.0)}, "test", 2, Path("a.csv"))
