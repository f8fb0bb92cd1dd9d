import pytest
import torch

from mmcl.encoders import Encoded, build_encoder
from mmcl.errors import ConfigError, ShapeError
from mmcl.models.heads import HEADS, HeadOptions
from mmcl.models.heads.projection import Reweighting


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return build_encoder("audio", "cnn", dim=12)


def encoded(rows=3, steps=7, dim=12):
    generator = torch.Generator().manual_seed(1)
    sequence, lengths = torch.randn(rows, steps, dim, generator=generator), torch.tensor([7, 4, 1][:rows])
    sequence = sequence * (torch.arange(steps) < lengths[:, None])[:, :, None]
    return Encoded(sequence, lengths, sequence.sum(1) / lengths[:, None])


@pytest.mark.parametrize("options", [HeadOptions("attention", 16, kernel=k, layers=n) for k, n in ((1, 0), (5, 2))])
def test_attention_ignores_padding(options, encoder):
    head, batch = options.build(encoder, dim=5).eval(), encoded()
    head.standardize(batch.sequence.flatten(0, 1) + 1)  # makes the padding nonzero
    together = head(batch)
    for row in range(3):
        length = int(batch.lengths[row])
        alone = Encoded(
            batch.sequence[row : row + 1, :length], batch.lengths[row : row + 1], batch.pooled[row : row + 1]
        )
        assert torch.allclose(head(alone)[0], together[row], atol=1e-5)
    loud = batch._replace(sequence=batch.sequence.masked_fill(batch.sequence == 0, 100.0))
    assert torch.allclose(head(loud), together, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3])
def test_attention_depends_on_the_order_of_steps_only_through_its_kernel(kernel, encoder):
    batch = encoded(rows=1)
    backwards = batch._replace(sequence=batch.sequence.flip(1))
    head = HeadOptions("attention", 16, kernel).build(encoder, dim=5).eval()
    assert torch.allclose(head(batch), head(backwards), atol=1e-5) == (kernel == 1)  # a weighted mean ignores the order


@pytest.mark.parametrize("name", HEADS)
def test_every_head_has_the_output_dimension_and_gradients(name, encoder):
    fixed, keeps_dim = name in ("none", "reweighting"), name in ("none", "reweighting", "residual")
    dim = 12 if keeps_dim else 5
    head = HeadOptions(name, hidden=16).build(encoder, dim=dim)
    embedding = head(encoded())
    assert embedding.shape == (3, dim) and head.options.keeps_dim == keeps_dim
    parameters = list(head.parameters())
    assert bool(parameters) != fixed
    if parameters:
        embedding.square().sum().backward()
        assert all(parameter.grad is not None for parameter in parameters)


@pytest.mark.parametrize("name", ["linear", "attention"])
def test_standardize_scales_the_input_of_the_network(name, encoder):
    head, seen = HeadOptions(name, 16).build(encoder, dim=5), []
    inner = head.network if name == "linear" else head.network.input
    inner.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = encoded()
    there = torch.arange(7) < batch.lengths[:, None]
    vectors = batch.sequence[there] if name == "attention" else batch.pooled
    head.standardize(10 * vectors + 3)
    head(Encoded(10 * batch.sequence + 3, batch.lengths, 10 * batch.pooled + 3))
    values = seen[0].transpose(1, 2)[there] if name == "attention" else seen[0]  # convolutions take time last
    assert values.mean(0).abs().max() < 1e-5 and (values.std(0) - 1).abs().max() < 1e-5


@pytest.mark.parametrize(
    "options", [HeadOptions("none"), HeadOptions("reweighting", kappa=1.0), HeadOptions("residual")]
)
def test_heads_that_keep_the_dimension_start_as_the_identity_and_are_not_scaled(options, encoder):
    head = options.build(encoder, dim=12)
    head.standardize(torch.randn(8, 12) * 5 + 2)
    assert torch.equal(head(encoded()), encoded().pooled)


@pytest.mark.parametrize("kappa", [0.7, 1.05, 2.28])
def test_reweighting_equals_the_slow_loop(kappa, encoder):
    vectors = encoded().pooled
    expected = vectors.clone()
    for row in range(3):
        for place in range(12):
            expected[row, place] = vectors[row, place].item() / kappa**place
    head = HeadOptions("reweighting", kappa=kappa).build(encoder, dim=12)
    assert torch.allclose(head(encoded()), expected, rtol=1e-6)
    assert not head.network.state_dict()


def test_small_weights_vanish():
    weights = Reweighting(300, kappa=1.5).weights
    assert weights[:257].gt(0).all() and not weights[257:].any()


def test_invalid_options_are_an_error(encoder):
    with pytest.raises(ConfigError, match="'lienar'"):
        HeadOptions("lienar")
    with pytest.raises(ConfigError, match="hidden=10, heads=4"):
        HeadOptions("attention", hidden=10)
    with pytest.raises(ConfigError, match="kernel=2"):
        HeadOptions("attention", kernel=2)
    with pytest.raises(ConfigError, match="dropout=1.0"):
        HeadOptions("mlp", dropout=1.0)
    with pytest.raises(ConfigError, match="kappa=0"):
        HeadOptions("reweighting", kappa=0)
    for name in ("none", "reweighting", "residual"):
        with pytest.raises(ConfigError, match=f"12 .* 5: .*{name}"):
            HeadOptions(name).build(encoder, dim=5)
    with pytest.raises(ShapeError, match="12"):
        HeadOptions("linear").build(encoder, dim=5).standardize(torch.ones(4, 3))


def test_batch_norm_standardizes_the_hidden_layer(encoder):
    head = HeadOptions("mlp", hidden=16, batch_norm=True).build(encoder, dim=5)
    batch, (linear, norm, *_) = encoded(), head.network
    seen = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    head(batch)
    hidden = linear(batch.pooled)
    expected = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + norm.eps).sqrt()
    assert torch.allclose(seen[0], expected, atol=1e-5)
    assert len(HeadOptions("mlp", hidden=16).build(encoder, dim=5).network) == len(head.network) - 1
