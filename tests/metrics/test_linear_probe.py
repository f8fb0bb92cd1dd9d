import math

import pytest
import torch
from waits import elsewhere

from mmcl.errors import InputError, LabelError, ShapeError
from mmcl.metrics.linear_probe import linear_probe


def clusters(rows, noise, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % 3
    return torch.eye(8)[labels] + noise * torch.randn(rows, 8, generator=generator), labels.tolist()


def test_linear_structure_is_found_and_noise_is_not():
    train, test = clusters(90, 0.1), clusters(30, 0.1, seed=1)
    assert linear_probe(*train, *test) == 1.0
    far, labels = clusters(300, 50.0, seed=2)
    assert 0.2 < linear_probe(far[:150], labels[:150], far[150:], labels[150:]) < 0.5


def test_norms_do_not_matter():
    train, labels = clusters(90, 0.4)
    test, wanted = clusters(60, 0.4, seed=1)
    scales = torch.logspace(-3, 3, 60)[:, None]
    assert linear_probe(train, labels, test, wanted) == linear_probe(train, labels, test * scales, wanted)


def test_non_finite_embeddings_raise():
    train, labels = clusters(9, 0.1)
    with elsewhere(), pytest.raises(InputError, match="test: row 0 .*nan"):
        linear_probe(train, labels, train * float("nan"), labels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
def test_scale_and_dtype_do_not_matter(dtype, scale):
    rows = (scale * torch.eye(4)).to(dtype).requires_grad_()
    assert linear_probe(rows, [0, 0, 1, 1], rows, [0, 0, 1, 0]) == 0.75


def test_invalid_inputs_raise():
    rows = torch.eye(4)
    with pytest.raises(LabelError, match="train has 1 class, expected 2 or more"):
        linear_probe(rows, [0] * 4, rows, [0] * 4)
    with pytest.raises(ShapeError, match="test has 4 embeddings and 3 labels"):
        linear_probe(rows, [0, 0, 1, 1], rows, [0] * 3)
    with pytest.raises(ShapeError, match="equal dim"):
        linear_probe(rows, [0, 0, 1, 1], rows[:, :2], [0] * 4)
    with pytest.raises(InputError, match="strength is"):
        linear_probe(rows, [0, 0, 1, 1], rows, [0] * 4, strength=math.nan)
