import math

import pytest
import torch

from mmcl.errors import InputError, ShapeError
from mmcl.objectives import feature_distillation, logit_distillation, relational_distillation


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


def test_unequal_shapes_are_an_error():
    with pytest.raises(ShapeError, match=r"\(3, 4\).*\(3, 3\)"):
        logit_distillation(draw(0), draw(1)[:, :3])


def test_an_empty_batch_is_0_and_a_temperature_of_0_is_an_error():
    assert logit_distillation(draw(0)[:0], draw(1)[:0]).item() == 0
    with pytest.raises(InputError, match="temperature is 0"):
        logit_distillation(draw(0), draw(1), 0.0)


def test_features_equal_the_slow_sum():
    student, teacher = draw(0), draw(1)
    expected = sum(float(s - t) ** 2 for s, t in zip(student.flatten(), teacher.flatten(), strict=True)) / 12
    assert feature_distillation(student, teacher).item() == pytest.approx(expected)
    cosines = torch.cosine_similarity(student, teacher)
    assert feature_distillation(student, 7 * teacher, normalize=True).item() == pytest.approx(
        (2 - 2 * cosines).mean().item()
    )
    assert feature_distillation(student[:0], teacher[:0]).item() == 0


def huber(x):
    return x * x / 2 if abs(x) <= 1 else abs(x) - 0.5


def slow_relations(student, teacher, distance_weight, angle_weight):
    count = len(student)
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    scales = [sum(float((one[i] - one[j]).norm()) for i, j in pairs) / len(pairs) for one in (student, teacher)]
    distances = [
        huber(float((student[i] - student[j]).norm()) / scales[0] - float((teacher[i] - teacher[j]).norm()) / scales[1])
        for i, j in pairs
    ]
    angles = []
    for i, j in pairs:
        for k in range(count):
            if k not in (i, j):
                one, other = (
                    float(torch.cosine_similarity(z[i] - z[j], z[k] - z[j], dim=0)) for z in (student, teacher)
                )
                angles.append(huber(one - other))
    return distance_weight * sum(distances) / len(distances) + angle_weight * sum(angles) / len(angles)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (1.0, 2.0)])
def test_relations_equal_the_slow_triple_loop(weights):
    student = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    teacher = torch.randn(
        5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )  # a different dimension
    loss = relational_distillation(student, teacher, distance_weight=weights[0], angle_weight=weights[1])
    assert loss.item() == pytest.approx(slow_relations(student, teacher, *weights), rel=1e-12)


def test_relations_are_invariant_to_rotation_scale_and_translation():
    student = draw(0).requires_grad_()
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)).Q
    loss = relational_distillation(student, (3 * student @ rotation + 7).detach())
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-20) and torch.allclose(student.grad, torch.zeros(3, 4).double())


def test_relations_of_duplicates_and_of_few_samples_are_finite():
    for rows in (0, 1, 2, 3, 6):
        student = torch.ones(rows, 4, dtype=torch.float64, requires_grad=True)
        loss = relational_distillation(student, torch.randn(rows, 3, dtype=torch.float64))
        loss.backward()
        assert math.isfinite(loss.item()) and bool(student.grad.isfinite().all())


@pytest.mark.parametrize(
    "loss", [logit_distillation, feature_distillation, relational_distillation], ids=lambda loss: loss.__name__
)
def test_only_the_student_gets_gradients(loss):
    student, teacher = draw(0).requires_grad_(), draw(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher.detach()), student)
    loss(student, teacher).backward()
    assert teacher.grad is None
    low = loss(student.bfloat16(), teacher.bfloat16())
    assert low.dtype == torch.float32 and low.item() == pytest.approx(loss(student, teacher).item(), rel=0.05, abs=0.01)


def test_relations_of_unequal_batches_and_invalid_weights_are_an_error():
    with pytest.raises(ShapeError, match="student .* teacher"):
        relational_distillation(draw(0), draw(1)[:2])
    with pytest.raises(InputError, match="angle_weight is -1"):
        relational_distillation(draw(0), draw(1), angle_weight=-1)


LOSSES = [
    logit_distillation,
    feature_distillation,
    lambda student, teacher: feature_distillation(student, teacher, normalize=True),
    relational_distillation,
]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_error_names_the_side_and_the_row_that_is_not_finite(loss, bad, dtype):
    for side, name in enumerate(("student", "teacher")):
        given = [draw(0).to(dtype), draw(1).to(dtype)]
        given[side][2, 1] = bad
        with pytest.raises(InputError, match=f"{name}: row 2 .*{bad}"):
            loss(*given)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rows, dim", [(0, 3), (1, 3), (2, 1), (3, 1), (1, 1), (0, 0)])
def test_tiny_batches_have_a_finite_loss_and_a_gradient_path(loss, rows, dim):
    student = torch.ones(rows, dim, requires_grad=True)
    value = loss(student, torch.zeros(rows, dim))
    value.backward()
    assert math.isfinite(value.item()) and bool(student.grad.isfinite().all())


def test_overflowing_squares_are_an_error():
    with pytest.raises(InputError, match="features .*inf in torch.float32"):
        feature_distillation(torch.full((2, 2), 1e30), torch.zeros(2, 2))
    with pytest.raises(InputError, match="logits"):
        logit_distillation(torch.tensor([[3e38, -3e38]]), torch.tensor([[-3e38, 3e38]]), temperature=1e-3)
    for weight in ("1", None, math.nan, math.inf, True):
        with pytest.raises(InputError, match="distance_weight is"):
            relational_distillation(draw(0), draw(1), distance_weight=weight)
