import math

import pytest
import torch
from torch.nn.functional import normalize

from mmcl.errors import ConfigError, ShapeError
from mmcl.objectives import NSPTLoss

LABELS = torch.tensor([0, 0, 1, 2, 3, 3])
REHEARSAL = torch.tensor([True, True, True, False, False, False])


def draw(seed, rows=6):
    return torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(student, teacher, labels, is_rehearsal, denominator, temperature):
    """Return the loss computed from the equation, one anchor and one positive at a time."""
    student, teacher = normalize(student, dim=1), normalize(teacher, dim=1)
    losses = []
    for k in range(len(labels)):
        if not is_rehearsal[k]:
            continue
        positives = [p for p in range(len(labels)) if is_rehearsal[p] and labels[p] == labels[k]]
        if denominator == "literal":
            below = sum(math.exp(student[k] @ student[i] / temperature) for i in range(len(labels)))
        else:
            below = sum(math.exp(student[k] @ teacher[p] / temperature) for p in positives)
            below += sum(
                math.exp(student[k] @ student[i] / temperature) for i in range(len(labels)) if labels[i] != labels[k]
            )
        terms = [float(student[k] @ teacher[p] / temperature) - math.log(below) for p in positives]
        losses.append(-sum(terms) / len(terms))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("denominator", ["literal", "proper"])
def test_equals_the_slow_double_loop(denominator):
    loss = NSPTLoss(0.3, denominator)(draw(0), draw(1), LABELS, REHEARSAL)
    assert loss.item() == pytest.approx(slow(draw(0), draw(1), LABELS, REHEARSAL, denominator, 0.3), rel=1e-12)


def test_the_literal_form_can_be_negative_and_the_proper_one_cannot():
    student = draw(0)
    student[1] = -student[0]  # two samples of one label, opposite for the student and close for the teacher
    teacher = draw(0)
    teacher[1] = teacher[0]
    far = torch.tensor([True, False, False, False, False, False])
    one = NSPTLoss(0.1, "literal")(student[:1], teacher[:1], LABELS[:1], far[:1])
    assert one.item() == pytest.approx(0.0, abs=1e-9)  # log exp(s) - s: k is in its denominator
    proper = NSPTLoss(0.1, "proper")(student, teacher, LABELS, REHEARSAL)
    assert proper.item() >= 0
    drifted = -teacher[:1]  # k's own student view is near, its teacher view far: the literal form still counts exp(1)
    assert NSPTLoss(0.1, "literal")(drifted, teacher[:1], LABELS[:1], far[:1]).item() == pytest.approx(20.0)


def test_gradient_reaches_the_student_and_never_the_teacher():
    student, teacher = draw(0).requires_grad_(), draw(1).requires_grad_()
    NSPTLoss(0.3, "proper")(student, teacher, LABELS, REHEARSAL).backward()
    assert teacher.grad is None
    assert bool((student.grad[3:].norm(dim=1) > 0).all())  # new samples are negatives but not anchors
    assert torch.autograd.gradcheck(lambda s: NSPTLoss(0.3)(s, teacher, LABELS, REHEARSAL), student)


def test_without_rehearsal_samples_it_is_0():
    student = draw(0).requires_grad_()
    loss = NSPTLoss()(student, draw(1), LABELS, torch.zeros(6, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and not student.grad.any()


def test_teacher_rows_of_new_samples_are_ignored():
    teacher = draw(1)
    changed = teacher.clone()
    changed[3:] = 7.0
    for denominator in ("literal", "proper"):
        loss = NSPTLoss(0.3, denominator)
        first = loss(draw(0), teacher, LABELS, REHEARSAL)
        assert torch.equal(first, loss(draw(0), changed, LABELS, REHEARSAL))


def test_invalid_arguments_are_an_error():
    with pytest.raises(ConfigError, match="'exact'"):
        NSPTLoss(denominator="exact")
    with pytest.raises(ShapeError, match="teacher has shape"):
        NSPTLoss()(draw(0), draw(1, rows=5), LABELS, REHEARSAL)
