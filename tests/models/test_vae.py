import pytest
import torch

from mmcl.errors import ConfigError
from mmcl.models.vae import RepresentationVAE
from mmcl.objectives.laf import vae_loss


@pytest.fixture
def near():
    """Points near a line in 12 dimensions, between 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    along = torch.rand(256, 1, generator=generator)
    return 0.2 + 0.6 * along * torch.linspace(0.1, 1, 12) + 0.01 * torch.rand(256, 12, generator=generator)


@pytest.mark.parametrize("output", ["sigmoid", "linear"])
def test_the_error_is_low_on_training_data_and_high_elsewhere(output, near):
    torch.manual_seed(0)
    vae = RepresentationVAE(12, latent=2, output=output)
    optimizer = torch.optim.Adam(vae.parameters(), lr=3e-3)
    first = vae.loss(near).item()
    for _ in range(300):
        optimizer.zero_grad()
        vae.loss(near).backward()
        optimizer.step()
    assert vae.loss(near).item() < first / 5
    with torch.no_grad():
        assert vae.errors(1 - near).mean() > 5 * vae.errors(near).mean()


def test_the_loss_equals_the_objective_on_the_code(near):
    vae = RepresentationVAE(12, latent=3)
    torch.manual_seed(1)
    coded = vae(near)
    assert coded.mean.shape == coded.log_variance.shape == (256, 3)
    expected = vae_loss(coded.reconstruction, near, coded.mean, coded.log_variance, kl_weight=0.5)
    torch.manual_seed(1)
    assert torch.equal(vae.loss(near, 0.5), expected)
    torch.manual_seed(1)
    errors = vae.errors(near)
    assert torch.allclose(errors, (coded.reconstruction - near).square().sum(1))
    assert coded.reconstruction.min() >= 0 and coded.reconstruction.max() <= 1


def test_invalid_arguments_are_an_error():
    for change, message in (({"dim": 0}, "dim=0"), ({"latent": 0}, "latent=0"), ({"output": "relu"}, "output='relu'")):
        with pytest.raises(ConfigError, match=message):
            RepresentationVAE(**{"dim": 4, **change})
