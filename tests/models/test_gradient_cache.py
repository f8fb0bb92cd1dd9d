import pytest
import torch
from torch import nn

from mmcl.errors import ConfigError, ShapeError
from mmcl.freeze import freeze
from mmcl.models.gradient_cache import gradient_cached_backward
from mmcl.objectives import CLIPLoss, CWCLLoss, LearnableTemperature, M3CoLoss, SigLIPLoss, SoftClipLoss


def tower(dim, seed, dropout=0.0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(dim, 16), nn.GELU(), nn.Dropout(dropout), nn.LayerNorm(16), nn.Linear(16, 8))


def batch(rows=24):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, 5, generator=generator), torch.randn(rows, 7, generator=generator)


def gradients(*modules):
    return torch.cat([p.grad.flatten() for module in modules for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize("size", [1, 5, 8, 24])  # chunk size; with 5 the last chunk has 4 rows
@pytest.mark.parametrize("objective", [CLIPLoss, CWCLLoss, SigLIPLoss, SoftClipLoss])
def test_the_gradient_equals_that_of_the_whole_batch(objective, size):
    first, second = tower(5, 1).double(), tower(7, 2).double()
    a, b = (side.double() for side in batch())
    expected = objective()(first(a), second(b))
    expected.backward()
    wanted = gradients(first, second)
    first.zero_grad(), second.zero_grad()
    chunks = list(zip(a.split(size), b.split(size), strict=True))
    loss = gradient_cached_backward(objective(), (first, second), chunks)
    assert not loss.requires_grad and torch.isclose(loss, expected.detach(), rtol=1e-12)
    assert (gradients(first, second) - wanted).abs().max() < 1e-12 and wanted.abs().max() > 1e-4


def test_in_single_precision_the_gradient_agrees_to_1e_6():
    first, second = tower(5, 1), tower(7, 2)
    a, b = batch(512)
    CLIPLoss()(first(a), second(b)).backward()
    wanted = gradients(first, second)
    first.zero_grad(), second.zero_grad()
    gradient_cached_backward(CLIPLoss(), (first, second), list(zip(a.split(64), b.split(64), strict=True)))
    assert (gradients(first, second) - wanted).abs().max() < 1e-6


def test_the_second_pass_repeats_dropout():
    """The reference is one graph of all chunks, with random numbers drawn in the same order."""
    first, second = tower(5, 1, dropout=0.5), tower(7, 2, dropout=0.5)
    a, b = batch()
    chunks = list(zip(a.split(8), b.split(8), strict=True))
    torch.manual_seed(3)
    embedded = [(first(x), second(y)) for x, y in chunks]
    expected = CLIPLoss()(*(torch.cat(side) for side in zip(*embedded, strict=True)))
    after = torch.rand(1)
    expected.backward()
    wanted = gradients(first, second)
    first.zero_grad(), second.zero_grad()
    torch.manual_seed(3)
    loss = gradient_cached_backward(CLIPLoss(), (first, second), chunks)
    assert torch.equal(loss, expected.detach()) and (gradients(first, second) - wanted).abs().max() < 1e-6
    assert torch.equal(torch.rand(1), after)  # the random state after it is that of ordinary training


def test_a_mixing_objective_draws_once():
    first, second = tower(5, 1), tower(7, 2)
    a, b = batch()
    torch.manual_seed(4)
    expected = M3CoLoss()(first(a), second(b))
    torch.manual_seed(4)
    chunks = list(zip(a.split(6), b.split(6), strict=True))
    assert torch.isclose(gradient_cached_backward(M3CoLoss(), (first, second), chunks), expected.detach())


def test_a_locked_tower_runs_once_and_the_temperature_gets_a_gradient():
    first, second, passed = tower(5, 1), freeze(tower(7, 2)), []
    second.register_forward_hook(lambda *_: passed.append(1))
    temperature = LearnableTemperature(0.1)
    a, b = batch()
    chunks = list(zip(a.split(6), b.split(6), strict=True))
    gradient_cached_backward(CWCLLoss(temperature), (first, second), chunks)
    assert len(passed) == 4 and all(parameter.grad is None for parameter in second.parameters())
    assert temperature.log_scale.grad.abs() > 0 and gradients(first).abs().max() > 0


def test_gradients_accumulate():
    first, second = tower(5, 1), tower(7, 2)
    chunks = [batch()]
    gradient_cached_backward(CLIPLoss(), (first, second), chunks)
    once = gradients(first, second)
    gradient_cached_backward(CLIPLoss(), (first, second), chunks)
    assert torch.allclose(gradients(first, second), 2 * once, atol=1e-7)


def test_only_one_chunk_s_graph_is_in_memory():
    """The peak number of values that autograd saves for backward is that of one chunk."""
    alive, most = [0], [0]

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor
            alive[0] += tensor.numel()
            most[0] = max(most[0], alive[0])

        def __del__(self):
            alive[0] -= self.tensor.numel()

    def run(size):
        most[0] = alive[0] = 0
        first, second = tower(5, 1), tower(7, 2)
        a, b = batch(64)
        chunks = list(zip(a.split(size), b.split(size), strict=True))
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            gradient_cached_backward(lambda x, y: (x * y).sum(), (first, second), chunks)
        return most[0]

    assert run(8) < 0.3 * run(64)


def test_invalid_arguments_are_an_error():
    first = tower(5, 1)
    with pytest.raises(ShapeError, match="0 chunks"):
        gradient_cached_backward(CLIPLoss(), (first, first), [])
    with pytest.raises(ShapeError, match=r"chunk 0 has \[24, 23\] rows"):
        gradient_cached_backward(CLIPLoss(), (first, tower(7, 2)), [(batch()[0], batch()[1][:23])])
    normalised = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8))
    with pytest.raises(ConfigError, match="'1' .*batch normalization"):
        gradient_cached_backward(CLIPLoss(), (first, normalised), [(batch()[0], batch()[0])])
    gradient_cached_backward(CLIPLoss(), (first, freeze(normalised)), [(batch()[0], batch()[0])])
