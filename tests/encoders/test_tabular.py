import pytest
import torch

from mmcl.encoders import build_encoder
from mmcl.encoders.tabular import TabularEncoder
from mmcl.errors import ConfigError, InputError, ShapeError


def test_the_network_is_linear_relu_linear():
    torch.manual_seed(0)
    encoder = build_encoder("tabular", "mlp", features=5, hidden=7, dim=3).eval()
    vectors = torch.rand(4, 5)
    first, last = encoder.network[0], encoder.network[3]
    expected = (vectors @ first.weight.T).clamp(min=0) @ last.weight.T  # biases are initialized with 0
    encoded = encoder(vectors)
    torch.testing.assert_close(encoded.pooled, expected)
    assert encoded.sequence.shape == (4, 1, 3) and encoded.lengths.tolist() == [1] * 4
    assert encoder.dim == encoder.pooled_dim == 3


def test_weights_have_the_initialization_of_xavier():
    torch.manual_seed(0)
    weight = TabularEncoder(features=300, hidden=500, dim=4).network[0].weight
    assert weight.std().item() == pytest.approx((2 / 800) ** 0.5, rel=0.02)


@pytest.mark.parametrize("to", ["range", "deviation"])
def test_scaling_is_fitted_to_the_training_data(to):
    torch.manual_seed(0)
    vectors = torch.rand(50, 3) * torch.tensor([1.0, 100.0, 0.0]) + 5
    plain, scaled = (TabularEncoder(features=3, dim=4) for _ in range(2))
    scaled.network.load_state_dict(plain.network.state_dict())
    scaled.scale(vectors, to)
    by_hand = (
        (vectors - vectors.amin(0)) / (vectors.amax(0) - vectors.amin(0))
        if to == "range"
        else (vectors - vectors.mean(0)) / vectors.std(0)
    )
    by_hand[:, 2] = 0  # a constant feature
    torch.testing.assert_close(scaled(vectors).pooled, plain(by_hand).pooled, rtol=1e-4, atol=1e-4)
    fresh = TabularEncoder(features=3, dim=4)
    fresh.load_state_dict(scaled.state_dict())
    torch.testing.assert_close(fresh(vectors).pooled, scaled(vectors).pooled)


def test_fingerprint_and_pooling():
    encoder, other = (build_encoder("tabular", "mlp", features=5, dim=3, frozen=frozen) for frozen in (False, True))
    assert encoder.fingerprint() == build_encoder("tabular", "mlp", features=5, dim=9).fingerprint()
    assert encoder.fingerprint() != other.fingerprint()
    both = build_encoder("tabular", "mlp", features=5, dim=3, pooling="mean_max")
    assert both(torch.rand(2, 5)).pooled.shape == (2, both.pooled_dim) == (2, 6)


def test_invalid_vectors_and_sizes_raise():
    encoder = TabularEncoder(features=5)
    for vectors in (torch.rand(2, 4), torch.rand(5), torch.ones(2, 5, dtype=torch.long)):
        with pytest.raises(ShapeError, match=r"\(batch, 5\)"):
            encoder(vectors)
    with pytest.raises(InputError, match="vector 1 "):
        encoder(torch.tensor([[1.0] * 5, [1.0, float("nan"), 1.0, 1.0, 1.0]]))
    for options, message in (({"features": 0}, "features .* 0"), ({"features": 2, "dropout": 1.0}, "dropout .* 1.0")):
        with pytest.raises(ConfigError, match=message):
            TabularEncoder(**options)
    with pytest.raises(ConfigError, match="'mpl'.*'mlp'"):
        build_encoder("tabular", "mpl", features=3)
