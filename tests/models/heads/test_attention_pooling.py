"""Tests of attention pooling."""

import torch

from mmcl.models.heads.attention_pooling import AttentionPooling


def test_without_layers_a_constant_sequence_pools_to_the_same_vector_at_any_length():
    torch.manual_seed(0)
    pooling = AttentionPooling(6, 5, hidden=16, kernel=1).eval()
    steps = torch.randn(1, 1, 6, generator=torch.Generator().manual_seed(1)).expand(3, 8, 6)
    vectors = pooling(steps, torch.tensor([8, 3, 1]))
    assert vectors.shape == (3, 5) and torch.allclose(vectors, vectors[:1].expand(3, 5), atol=1e-6)


def test_the_first_step_alone_is_its_own_mean():
    torch.manual_seed(0)
    pooling = AttentionPooling(6, 5, hidden=16, kernel=1, layers=1).eval()
    steps = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(1))
    padded = pooling(steps, torch.tensor([1, 1]))
    assert torch.allclose(padded, pooling(steps[:, :1], torch.tensor([1, 1])), atol=1e-6)
