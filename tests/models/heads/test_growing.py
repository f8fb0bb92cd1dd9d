"""Tests of the growing classifier head."""

import pytest
import torch

from mmcl.errors import LabelError
from mmcl.models import GrowingHead


def test_growing_keeps_existing_weights():
    head = GrowingHead(4)
    head.grow([1])
    before = head.weight[1].clone()
    head.grow([0, 3])
    assert head.weight.shape == (4, 4) and torch.equal(head.weight[1], before)
    assert head.seen.tolist() == [True, True, False, True]
    head.grow([3])
    assert head.weight.shape == (4, 4)


def test_unseen_classes_are_masked_and_get_no_gradient():
    head = GrowingHead(4)
    head.grow([0, 3])
    logits = head(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    assert logits[:, 1:3].isneginf().all() and logits[:, [0, 3]].isfinite().all()
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 3, 0, 3, 0, 3])).backward()
    assert not head.weight.grad[1:3].any() and head.weight.grad[[0, 3]].all()


def test_reset_parameters_keeps_the_columns():
    head = GrowingHead(4)
    head.grow([0, 3])
    before = head.weight.clone()
    head.reset_parameters()
    assert not torch.isclose(head.weight, before).any() and head.weight.abs().max() <= 0.5  # 1 / sqrt(4)
    assert head.seen.tolist() == [True, False, False, True]


def test_a_negative_label_is_an_error():
    with pytest.raises(LabelError, match="-1"):
        GrowingHead(4).grow([-1])


def test_a_saved_head_loads_into_a_head_of_any_size():
    saved, small, large = GrowingHead(4), GrowingHead(4), GrowingHead(4)
    saved.grow([0, 2])
    large.grow(range(7))
    for head in (small, large):
        head.load_state_dict(saved.state_dict())
        assert torch.equal(head.weight, saved.weight) and torch.equal(head.seen, saved.seen)
