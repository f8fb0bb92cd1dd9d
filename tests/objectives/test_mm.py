import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from mmcl.errors import ShapeError
from mmcl.objectives import MMLoss

LABELS = torch.tensor([0, 0, 1, 2])


def draw(seed):
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(audio, text, labels, anchors, temperature):
    audio, text = normalize(audio, dim=1), normalize(text, dim=1)
    losses = []
    for k in anchors:
        positives = [p for p in range(len(labels)) if labels[p] == labels[k]]
        for one, other in ((audio, text), (text, audio)):
            below = sum(math.exp(one[k] @ other[i] / temperature) for i in range(len(labels)))
            losses.append(
                -sum(float(one[k] @ other[p] / temperature) - math.log(below) for p in positives) / len(positives)
            )
    return sum(losses) / len(anchors)


def test_equals_the_slow_double_loop():
    assert MMLoss(0.2)(draw(0), draw(1), LABELS).item() == pytest.approx(slow(draw(0), draw(1), LABELS, range(4), 0.2))
    some = torch.tensor([False, True, False, True])
    assert MMLoss(0.2)(draw(0), draw(1), LABELS, some).item() == pytest.approx(
        slow(draw(0), draw(1), LABELS, [1, 3], 0.2)
    )


def test_with_unique_labels_it_is_twice_the_clip_loss():
    logits = normalize(draw(0), dim=1) @ normalize(draw(1), dim=1).T / 0.1
    clip = (cross_entropy(logits, torch.arange(4)) + cross_entropy(logits.T, torch.arange(4))) / 2
    assert MMLoss(0.1)(draw(0), draw(1), torch.arange(4)).item() == pytest.approx(2 * clip.item(), rel=1e-12)


def test_without_anchors_it_is_0():
    audio = draw(0).requires_grad_()
    loss = MMLoss()(audio, draw(1), LABELS, torch.zeros(4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and not audio.grad.any()


def test_gradients_equal_finite_differences():
    assert torch.autograd.gradcheck(
        lambda a, t: MMLoss(0.3)(a, t, LABELS), (draw(0).requires_grad_(), draw(1).requires_grad_())
    )


def test_unpaired_sides_are_an_error():
    with pytest.raises(ShapeError, match="audio .* text"):
        MMLoss()(draw(0), draw(1)[:3], LABELS)
