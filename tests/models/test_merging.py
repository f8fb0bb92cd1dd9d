"""Tests of the merge of tuned models against a loop, and its fixed points."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmcl.errors import InputError, ShapeError
from mmcl.models.merging import deviation_weighted_merge


def states(count=3, kind=nn.BatchNorm1d):
    torch.manual_seed(0)
    found = []
    for _ in range(count + 1):
        model = nn.Sequential(nn.Linear(4, 5), kind(5))
        found.append({name: each.clone() for name, each in model.state_dict().items()})
    return found[0], found[1:]


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype


def test_equals_the_slow_loop():
    start, tuned = states()
    found = deviation_weighted_merge(start, tuned)
    for name in ("0.weight", "0.bias"):
        for place, value in enumerate(start[name].flatten().tolist()):
            moves = [each[name].flatten()[place].item() - value for each in tuned]
            total = sum(map(abs, moves))
            expected = value + sum(abs(move) / total * move for move in moves)
            assert found[name].flatten()[place].item() == pytest.approx(expected, rel=1e-5)


def test_equal_models_one_model_and_models_that_did_not_move_stay():
    start, (one, *_) = states()
    for tuned in ([one], [one, one, one]):
        merged = deviation_weighted_merge(start, tuned)
        assert all(torch.allclose(merged[name], one[name], atol=1e-7) for name in ("0.weight", "0.bias"))
    assert_same(deviation_weighted_merge(start, [start, start]), start)


def test_what_one_model_learned_is_kept_whole():
    start, (one, *_) = states()
    merged = deviation_weighted_merge(start, [one, start, start])
    assert torch.allclose(merged["0.weight"], one["0.weight"], atol=1e-7)


def test_counters_are_those_of_the_start_and_half_precision_stays():
    start, tuned = states()
    assert deviation_weighted_merge(start, tuned)["1.num_batches_tracked"].item() == 0
    half = [{name: each.half() for name, each in weights.items()} for weights in (start, *tuned)]
    assert deviation_weighted_merge(half[0], half[1:])["0.weight"].dtype == torch.float16


def test_bad_input():
    start, tuned = states()
    with pytest.raises(InputError, match="0 tuned"):
        deviation_weighted_merge(start, [])
    with pytest.raises(InputError, match=r"model 1 .*0\.bias"):
        deviation_weighted_merge(start, [tuned[0], {name: each for name, each in start.items() if name != "0.bias"}])
    with pytest.raises(ShapeError, match=r"0\.bias.*\(7,\).*\(5,\)"):
        deviation_weighted_merge(start, [tuned[0] | {"0.bias": torch.zeros(7)}])
    with pytest.raises(InputError, match=r"0\.bias"):
        deviation_weighted_merge(start, [tuned[0] | {"0.bias": torch.full((5,), torch.nan)}])
