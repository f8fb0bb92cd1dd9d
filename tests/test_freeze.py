import torch
from torch import nn

from mmcl.freeze import freeze, frozen_copy


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))


def test_teacher_is_unchanged_while_its_student_trains():
    student = network()
    teacher = frozen_copy(student)
    parent = nn.ModuleDict({"student": student, "teacher": teacher})
    optimizer = torch.optim.SGD([p for p in parent.parameters() if p.requires_grad], lr=1.0)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    for step in range(3):
        parent.train()  # reaches the teacher too
        inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        (parent["student"](inputs) - parent["teacher"](inputs)).square().sum().backward()
        optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())  # BatchNorm as well
    assert not torch.equal(student[0].weight, teacher[0].weight)
    assert not any(part.training for part in teacher.modules())
    assert all(part.training for part in student.modules())


def test_a_copy_of_a_frozen_module_is_frozen():
    copy = frozen_copy(freeze(network()))
    assert not copy.train().training and not any(p.requires_grad for p in copy.parameters())


def test_the_copy_shares_nothing():
    student = network()
    teacher = frozen_copy(student)
    assert {p.data_ptr() for p in student.parameters()}.isdisjoint(p.data_ptr() for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())


def test_a_copy_may_share_frozen_parameters_only():
    model = nn.Sequential(freeze(nn.Linear(2, 3)), nn.BatchNorm1d(3), nn.Linear(3, 1))
    for share in (False, True):
        copy = frozen_copy(model, share_frozen=share)
        assert (copy[0].weight is model[0].weight) == share
        assert copy[2].weight is not model[2].weight and copy[1].running_mean is not model[1].running_mean
        assert not any(parameter.requires_grad for parameter in copy.parameters()) and model[2].weight.requires_grad
