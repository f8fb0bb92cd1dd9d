import math

import pytest
import torch

from mmcl.errors import ShapeError
from mmcl.objectives import logit_distillation


def draw(seed):
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equals_the_slow_sum():
    student, teacher, temperature = draw(0), draw(1), 2.0
    expected = 0.0
    for one, other in zip((student / temperature).softmax(1), (teacher / temperature).softmax(1), strict=True):
        expected += sum(float(p) * math.log(float(p) / float(q)) for p, q in zip(other, one, strict=True))
    loss = logit_distillation(student, teacher, temperature)
    assert loss.item() == pytest.approx(expected / 3 * temperature**2, rel=1e-12)


def test_the_teacher_gets_no_gradient():
    student, teacher = draw(0).requires_grad_(), draw(1).requires_grad_()
    logit_distillation(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_other_classes_are_refused():
    with pytest.raises(ShapeError, match=r"student \(3, 4\) and teacher \(3, 3\) differ"):
        logit_distillation(draw(0), draw(1)[:, :3])
