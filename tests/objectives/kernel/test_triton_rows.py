import pytest
import torch
from torch.nn.functional import normalize

from mmcl.objectives.kernel.unit import unit, unit_for_products

HALF = [torch.bfloat16, torch.float16]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
@pytest.mark.parametrize("dim", [1, 3, 64, 513])
def test_rows_of_one_length(dim, dtype, kernels):
    rows = draw(5, dim).to(kernels, dtype)
    values, product, scale = unit_for_products(rows, 2.0, torch.bfloat16 if dtype in HALF else None)
    assert torch.allclose(values.cpu(), 2 * normalize(rows.cpu().float(), dim=1), atol=1e-6)
    if dtype == torch.bfloat16:  # the rows for products are the given ones, up to a power of two
        powers = (product.float() / rows.float()).cpu()
        assert bool((powers.log2() % 1 == 0).all())
        assert torch.allclose(scale[:, None] * product.float(), values, rtol=1e-6)


@pytest.mark.parametrize("size", [1e-42, 1e-38, 1e-20, 1e-3, 1e3, 1e19, 3e38])
def test_extreme_rows(size, kernels):
    rows = draw(3, 8)
    rows = (rows / rows.abs().amax() * size).requires_grad_()
    given = rows.detach().to(kernels).requires_grad_()
    weights = draw(3, 8, seed=1)
    found, expected = unit(given, 2.0), unit(rows.double(), 2.0)
    assert torch.allclose(found.cpu().double(), expected, atol=1e-6 if size > 1e-38 else 1e-3)
    (found * weights.to(kernels)).sum().backward()
    assert bool(given.grad.isfinite().all())


def test_zero_rows_stay_zero_and_have_a_gradient(kernels):
    rows = torch.zeros(2, 3, device=kernels, requires_grad=True)
    unit(rows, 3.0).sum().backward()
    assert rows.grad.tolist() == [[3.0] * 3] * 2


@pytest.mark.parametrize("shape", [(), (4, 1)])
def test_the_gradient_of_lengths(shape, kernels):
    rows, length = draw(4, 5).to(kernels), torch.full(shape, 1.5, device=kernels, requires_grad=True)
    exact = length.detach().cpu().double().requires_grad_()
    weights = draw(4, 5, seed=1).to(kernels)
    (unit(rows, length) * weights).sum().backward()
    (unit(rows.cpu().double(), exact) * weights.cpu()).sum().backward()
    assert torch.allclose(length.grad.cpu().double(), exact.grad, atol=1e-6)
