import pytest
import torch

from mmcl.errors import ShapeError
from mmcl.objectives import Dense, Identity, two_way_info_nce, weighted_info_nce


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_two_way_equals_both_directions():
    a, b = draw(5, 3), draw(7, 3, seed=1)
    forward, backward = draw(5, 7, seed=2).abs(), draw(5, 7, seed=3).clamp(min=0)
    backward[:, 2] = 0
    for block_size in (None, 2):
        for normalize_rows in (True, False):
            options = {"temperature": 0.3, "normalize_rows": normalize_rows, "block_size": block_size}
            there, back = two_way_info_nce(a, b, Dense(forward), Dense(backward), **options)
            assert there.item() == pytest.approx(weighted_info_nce(a, b, forward, **options).item(), rel=1e-12)
            assert back.item() == pytest.approx(weighted_info_nce(b, a, backward.T, **options).item(), rel=1e-12)
        there, back = two_way_info_nce(a, b, Dense(forward), Dense(backward), skip_empty=False)
        assert back.item() == pytest.approx(weighted_info_nce(b, a, backward.T).item() * 6 / 7, rel=1e-12)


def test_weights_of_another_shape_are_an_error():
    a = torch.ones(2, 3)
    with pytest.raises(ShapeError, match="forward"):
        two_way_info_nce(a, a, Identity(3), Identity(2))
