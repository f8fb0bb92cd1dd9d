import pytest
import torch

from mmcl.errors import TrainingError
from mmcl.objectives import CLIPLoss, Identity, LearnableTemperature, SigLIPLoss, two_way_info_nce
from mmcl.objectives.kernel import paired


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def calls(kernels, monkeypatch):
    """Count the calls of the functions of this module."""
    made = []
    for name in ("paired_info_nce", "paired_sigmoid"):
        function = getattr(paired, name)

        def counted(*args, function=function):
            made.append(function.__name__)
            return function(*args)

        for module in ("mmcl.objectives.kernel.two_way", "mmcl.objectives.siglip"):
            monkeypatch.setattr(f"{module}.{name}", counted, raising=False)
    return made


def gradients(loss, leaves):
    return [each.cpu().double() for each in torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("weights", [(0.5, 0.5), (1.0, 0.0), (0.2, 3.0)])
def test_each_direction_has_its_gradient(weights, kernels, calls):
    leaves = [draw(9, 5, seed=seed).to(kernels).requires_grad_() for seed in (0, 1)]
    leaves.append(torch.tensor(0.3, device=kernels, requires_grad=True))
    exact = [each.detach().cpu().double().requires_grad_() for each in leaves]
    found, expected = (
        two_way_info_nce(a, b, Identity(9), Identity(9), temperature=temperature)
        for a, b, temperature in (leaves, exact)
    )
    for one, other in zip(found, expected, strict=True):
        assert one.item() == pytest.approx(other.item(), rel=1e-6)
    sums = [weights[0] * there + weights[1] * back for there, back in (found, expected)]
    for one, other in zip(gradients(sums[0], leaves), gradients(sums[1], exact), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert calls == ["paired_info_nce"]


@pytest.mark.parametrize("bias", [-10.0, -1.0])
def test_siglip_learns_temperature_and_bias(bias, kernels, calls):
    leaves = [draw(9, 5, seed=seed).to(kernels).requires_grad_() for seed in (0, 1)]
    leaves += [torch.tensor(value, device=kernels, requires_grad=True) for value in (0.3, bias)]
    exact = [each.detach().cpu().double().requires_grad_() for each in leaves]
    found, expected = (SigLIPLoss(temperature, offset)(a, b) for a, b, temperature, offset in (leaves, exact))
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for one, other in zip(gradients(found, leaves), gradients(expected, exact), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)
    assert calls == ["paired_sigmoid"]


@pytest.mark.parametrize("objective", [CLIPLoss, SigLIPLoss])
@pytest.mark.parametrize("trained", [0, 1])
def test_one_side_may_be_frozen(objective, trained, kernels, calls):
    sides = [draw(6, 4, seed=seed).to(kernels).requires_grad_(seed == trained) for seed in (0, 1)]
    exact = [each.detach().cpu().double().requires_grad_(each.requires_grad) for each in sides]
    for given in (sides, exact):
        objective(0.3)(*given).backward()
    assert sides[1 - trained].grad is None and len(calls) == 1
    assert torch.allclose(sides[trained].grad.cpu().double(), exact[trained].grad, atol=1e-6)


def test_a_learnable_temperature_alone_has_a_gradient(kernels):
    a, b, temperature = draw(6, 4).to(kernels), draw(6, 4, seed=1).to(kernels), LearnableTemperature(0.3).to(kernels)
    exact = LearnableTemperature(0.3).double()
    CLIPLoss(temperature)(a, b).backward()
    CLIPLoss(exact)(a.cpu().double(), b.cpu().double()).backward()
    assert temperature.log_scale.grad.item() == pytest.approx(exact.log_scale.grad.item(), rel=1e-5)


@pytest.mark.parametrize("objective", [CLIPLoss, SigLIPLoss])
def test_a_second_derivative_needs_the_dense_path(objective, kernels):
    a, b = draw(4, 3).to(kernels).requires_grad_(), draw(4, 3, seed=1).to(kernels)
    with pytest.raises(TrainingError, match="block_size"):
        torch.autograd.grad(objective(0.3)(a, b), a, create_graph=True)
    (first,) = torch.autograd.grad(objective(0.3, block_size=4)(a, b), a, create_graph=True)
    first.sum().backward()


def test_a_temperature_for_each_query(kernels, calls):
    leaves = [draw(4, 3).to(kernels), draw(4, 3, seed=1).to(kernels), torch.linspace(0.2, 1, 4).to(kernels)]
    leaves = [each.requires_grad_() for each in leaves]
    exact = [each.detach().cpu().double().requires_grad_() for each in leaves]
    sums = []
    for a, b, temperatures in (leaves, exact):
        sums.append(sum(two_way_info_nce(a, b, Identity(4), Identity(4), temperature=temperatures)))
    assert sums[0].item() == pytest.approx(sums[1].item(), rel=1e-6) and calls == ["paired_info_nce"]
    for one, other in zip(gradients(sums[0], leaves), gradients(sums[1], exact), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
