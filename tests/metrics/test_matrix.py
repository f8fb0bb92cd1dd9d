import math

import numpy as np
import pytest

from mmcl.errors import InputError, ShapeError
from mmcl.metrics import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    last_accuracy,
    seen_accuracy,
    summary,
)

# Three experiences of 10, 20 and 30 test samples, worked by hand.
MATRIX = [
    [0.9, 0.1, 0.2],
    [0.6, 0.8, 0.3],
    [0.7, 0.5, 1.0],
]
SIZES = [10, 20, 30]


def test_seen_accuracy_by_hand():
    assert seen_accuracy(MATRIX) == pytest.approx([0.9, 1.4 / 2, 2.2 / 3])
    assert seen_accuracy(MATRIX, SIZES) == pytest.approx([0.9, (6 + 16) / 30, (7 + 10 + 30) / 60])


def test_seen_accuracy_of_an_unfinished_stream():
    assert seen_accuracy(MATRIX[:2], SIZES) == pytest.approx([0.9, 22 / 30])
    with pytest.raises(ShapeError, match=r"shape \(2, 1\), expected \(trained, experiences\)"):
        seen_accuracy([[0.1], [0.2]])


def test_average_and_last_accuracy_by_hand():
    assert average_accuracy(MATRIX) == pytest.approx((0.9 + 0.7 + 2.2 / 3) / 3)
    assert average_accuracy(MATRIX, SIZES) == pytest.approx((0.9 + 22 / 30 + 47 / 60) / 3)
    assert last_accuracy(MATRIX, SIZES) == pytest.approx(47 / 60)


def test_forgetting_is_best_so_far_minus_last():
    # Experience 0: best 0.9, last 0.7. Experience 1: best 0.8, last 0.5. The last experience does not count.
    assert forgetting(MATRIX) == pytest.approx((0.2 + 0.3) / 2)


def test_forgetting_counts_from_the_experience_itself_and_may_be_negative():
    # What is known of experience 1 before it was trained is no memory of it; and the last row may be the best.
    assert forgetting([[0.5, 1.0], [0.8, 0.2]]) == pytest.approx(-0.3)


def test_forgetting_differs_from_first_minus_last():
    assert forgetting([[0.5, 0, 0], [0.9, 0.5, 0], [0.6, 0.5, 0.5]]) == pytest.approx((0.3 + 0.0) / 2)


def test_transfers_by_hand():
    assert backward_transfer(MATRIX) == pytest.approx(((0.7 - 0.9) + (0.5 - 0.8)) / 2)
    assert forward_transfer(MATRIX) == pytest.approx((0.1 + 0.3) / 2)
    assert forward_transfer(MATRIX, baseline=[0.05, 0.05, 0.1]) == pytest.approx((0.05 + 0.2) / 2)


def test_a_single_experience_has_nothing_to_forget_or_transfer():
    assert (forgetting([[0.4]]), backward_transfer([[0.4]]), forward_transfer([[0.4]])) == (0.0, 0.0, 0.0)
    assert average_accuracy([[0.4]]) == last_accuracy([[0.4]]) == 0.4


def test_missing_cells_raise():
    with pytest.raises(InputError, match="forward transfer needs the accuracy on experience 1 after training on exp"):
        forward_transfer([[0.5, None], [0.5, 0.5]])
    assert math.isnan(summary([[0.5, None], [0.5, 0.5]])["forward_transfer"])


@pytest.mark.parametrize("matrix", [[[0.1, 0.2]], [], [0.1, 0.2], [[[0.1]]]])
def test_non_square_matrix_raises(matrix):
    with pytest.raises(ShapeError, match=r"expected \(experiences, experiences\)"):
        forgetting(matrix)


def test_other_lengths_of_sizes_and_baseline_raise():
    with pytest.raises(ShapeError, match="sizes has 2 entries, expected one per experience, 3"):
        average_accuracy(MATRIX, [1, 2])
    with pytest.raises(ShapeError, match="baseline has 2 entries"):
        forward_transfer(MATRIX, [0.1, 0.1])


@pytest.mark.parametrize("sizes", [[0, 1], [0, 0], [-1, 2], [float("nan"), 1], [1, float("inf")]])
def test_invalid_sizes_raise(sizes):
    with pytest.raises(InputError, match="sizes are"):
        seen_accuracy([[1.0, 0.0], [0.5, 0.9]], sizes=sizes)
    assert seen_accuracy([[1.0, 0.0], [0.5, 0.9]], sizes=[1, 0]) == [1.0, 0.5]


RAGGED = [[0.9], [0.6, 0.8], [0.7, 0.5, 1.0]]
WITHOUT = {
    "ragged": RAGGED,
    "none": [[0.9, None, None], [0.6, 0.8, None], [0.7, 0.5, 1.0]],
    "nan": np.array([[0.9, np.nan, np.nan], [0.6, 0.8, np.nan], [0.7, 0.5, 1.0]]),
    "objects": np.array([[0.9, None, None], [0.6, 0.8, None], [0.7, 0.5, 1.0]], dtype=object),
}


@pytest.mark.parametrize("form", WITHOUT)
def test_the_lower_triangle_is_enough_for_all_but_forward_transfer(form):
    whole, part = summary(MATRIX, SIZES), summary(WITHOUT[form], SIZES)
    assert math.isnan(part.pop("forward_transfer")) and whole.pop("forward_transfer") > 0
    assert part == whole and seen_accuracy(WITHOUT[form], SIZES) == seen_accuracy(MATRIX, SIZES)


@pytest.mark.parametrize(
    ("measure", "cell", "needs"),
    [
        (average_accuracy, (1, 0), True),
        (seen_accuracy, (2, 1), True),
        (last_accuracy, (2, 0), True),
        (last_accuracy, (1, 0), False),
        (forgetting, (1, 0), True),
        (forgetting, (2, 2), False),
        (backward_transfer, (1, 1), True),
        (backward_transfer, (1, 0), False),
        (forward_transfer, (0, 1), True),
        (forward_transfer, (0, 2), False),
    ],
)
def test_error_names_the_required_cell(measure, cell, needs):
    matrix = [list(row) for row in MATRIX]
    matrix[cell[0]][cell[1]] = math.nan
    if not needs:
        assert measure(matrix) == measure(MATRIX)
        return
    with pytest.raises(
        InputError, match=f"on experience {cell[1]} after training on experience {cell[0]}, which is nan"
    ):
        measure(matrix)


@pytest.mark.parametrize("matrix", [[[0.1, "x"], [0.1, 0.2]], [[[0.1]], [[0.2]]], 3.0, "ab"])
def test_malformed_matrix_raises(matrix):
    with pytest.raises(ShapeError, match=r"expected \(experiences, experiences\)"):
        summary(matrix)


def test_baseline_of_the_first_experience_is_optional():
    assert forward_transfer(MATRIX, baseline=[None, 0.05, 0.1]) == pytest.approx((0.05 + 0.2) / 2)
    with pytest.raises(InputError, match="needs the baseline of experience 2"):
        forward_transfer(MATRIX, baseline=[0.1, 0.1, math.nan])
