import pytest
import torch

from mmcl.errors import InputError
from mmcl.objectives.kernel import strips
from mmcl.objectives.kernel.logsumexp import pairwise_logsumexp
from mmcl.objectives.kernel.pairs import Identity, SameLabel

LABELS = torch.tensor([0, 1, 1, 5, 0, 2, 2])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("block_size", [None, 1, 3])
@pytest.mark.parametrize(
    "compared",
    [
        None,
        SameLabel(LABELS, LABELS[:5]),
        SameLabel(LABELS, LABELS[:5], differ=torch.arange(5) % 2 == 0),
        draw(7, 5, seed=2).clamp(min=0),
        draw(7, 5, seed=2) > 0,
    ],
    ids=["all", "labels", "differ", "matrix", "mask"],
)
def test_sums_of_rows_and_columns(compared, block_size, kernels):
    q, k = draw(7, 4).to(kernels).requires_grad_(), draw(5, 4, seed=1).to(kernels).requires_grad_()
    exact = [side.detach().cpu().double().requires_grad_() for side in (q, k)]
    given = compared.to(kernels) if isinstance(compared, torch.Tensor) else compared
    found = pairwise_logsumexp(q, k, given, columns=True, block_size=block_size)[:2]
    expected = pairwise_logsumexp(*exact, compared, columns=True)[:2]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one.cpu().double(), other, atol=1e-6)
    loss, reference = (sum(each[each.isfinite()].square().sum() for each in sums) for sums in (found, expected))
    for one, other in zip(torch.autograd.grad(loss, (q, k)), torch.autograd.grad(reference, exact), strict=True):
        assert torch.allclose(one.cpu().double(), other, atol=1e-4)


@pytest.mark.parametrize("block_size", [None, 1, 3])
@pytest.mark.parametrize("diagonal", [0, 2])
def test_the_diagonal_of_more_keys_than_queries(diagonal, block_size, kernels):
    q, k = draw(5, 4).to(kernels).requires_grad_(), draw(8, 4, seed=1).to(kernels).requires_grad_()
    exact = [side.detach().cpu().double().requires_grad_() for side in (q, k)]
    losses = []
    for queries, keys, size in ((q, k, block_size), (*exact, 2)):
        rows, columns, own = pairwise_logsumexp(queries, keys, columns=True, diagonal=diagonal, block_size=size)
        weights = torch.arange(1.0, 6, device=own.device).to(own)
        losses.append(rows.square().sum() + columns.sum() + weights @ own)
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    for one, other in zip(torch.autograd.grad(losses[0], (q, k)), torch.autograd.grad(losses[1], exact), strict=True):
        assert torch.allclose(one.cpu().double(), other, atol=1e-5)


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_the_gradient_of_one_side_alone(wanted, kernels):
    sides = [draw(6, 4, seed=seed).to(kernels).requires_grad_(needed) for seed, needed in enumerate(wanted)]
    exact = [side.detach().cpu().double().requires_grad_(side.requires_grad) for side in sides]
    for given, size in ((sides, None), (exact, 2)):
        sum(each.sum() for each in pairwise_logsumexp(*given, columns=True, diagonal=0, block_size=size)).backward()
    for one, other in zip(sides, exact, strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or torch.allclose(one.grad.cpu().double(), other.grad, atol=1e-5)


def test_half_of_the_products_suffice_for_views(kernels, monkeypatch):
    """Two stacked views of 64 samples in strips of 32 rows: 10 of 16 squares."""
    multiplied = []
    multiply = strips._multiply

    def counted(left, right, out, **options):
        multiplied.append(out.numel())
        multiply(left, right, out, **options)

    monkeypatch.setattr(strips, "_multiply", counted)
    rows = draw(128, 4).to(kernels)
    pairwise_logsumexp(rows, rows, Identity(128).complement(), block_size=32)
    assert sum(multiplied) == 10 * 32**2


def test_strips_fit_into_the_memory():
    cpu = torch.device("cpu")
    for queries, keys in ((1, 1), (100, 100), (8192, 8192), (65536, 65536), (10, 10**6), (10**6, 10)):
        rows = strips._rows_that_fit(cpu, queries, keys)
        assert rows % 64 == 0 and (rows <= max(queries, 64) + 64)
        assert 6 * rows * keys <= max(strips._STRIP_BYTES, 6 * keys * strips._MIN_ROWS) + 6 * 64 * keys
    assert strips._rows_that_fit(cpu, 8192, 8192) == 2048


def test_a_strip_that_does_not_fit_is_an_error(kernels, monkeypatch):
    def refuse(*args, **kwargs):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5 * 2**20, 10 * 2**20))
    with monkeypatch.context() as context:
        context.setattr(strips.torch, "empty", refuse)
        with pytest.raises(InputError, match=r"3 queries with 5 keys .*5 MiB .*block_size"):
            strips._buffers(draw(3, 2).to(kernels), 3, 5, True)
