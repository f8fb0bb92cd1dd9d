"""RepresentationVAE: a variational autoencoder of what an extractor gives."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mmcl.errors import ConfigError
from mmcl.objectives.laf import squared_errors, vae_loss


class Coded(NamedTuple):
    """What an autoencoder makes of representations: ``reconstruction`` ``(batch, dim)``, and ``mean`` and
    ``log_variance`` of the code, ``(batch, latent)``."""

    reconstruction: Tensor
    mean: Tensor
    log_variance: Tensor


class RepresentationVAE(nn.Module):
    """Code representations by a small variational autoencoder, as LAF does (Shen et al., arXiv 2404.00506).

    ``dim - 128 - 32`` with ReLU to mean and log-variance of the code, ``z = mean + exp(log_variance / 2) noise``,
    and ``latent - 32 - 128 - dim`` back, with a sigmoid in the end, as released. Representations beyond 0 and 1 a
    sigmoid can never rebuild; ``output="linear"`` can.

    Args:
        dim: of representations.
        latent: dimension of the code.
        output: ``"sigmoid"`` or ``"linear"``.

    Raises:
        ConfigError: sizes that cannot be, or another output.

    >>> vae = RepresentationVAE(16, latent=4)
    >>> vae(torch.rand(2, 16)).reconstruction.shape, vae.errors(torch.rand(2, 16)).shape
    (torch.Size([2, 16]), torch.Size([2]))
    """

    def __init__(self, dim: int, latent: int = 8, output: Literal["sigmoid", "linear"] = "sigmoid") -> None:
        super().__init__()
        if dim < 1 or latent < 1 or output not in ("sigmoid", "linear"):
            raise ConfigError(
                f"dim={dim}, latent={latent}, output={output!r}: expected sizes of 1 or more, and sigmoid or linear"
            )
        self.encoder = nn.Sequential(nn.Linear(dim, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(32, latent), nn.Linear(32, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, 32), nn.ReLU(), nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, dim)
        )
        if output == "sigmoid":
            self.decoder.append(nn.Sigmoid())

    def forward(self, representation: Tensor) -> Coded:
        hidden = self.encoder(representation)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        code = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        return Coded(self.decoder(code), mean, log_variance)

    def errors(self, representation: Tensor) -> Tensor:
        """Return how far each representation is from its reconstruction, squared, ``(batch,)``."""
        return squared_errors(self(representation).reconstruction, representation)

    def loss(self, representation: Tensor, kl_weight: float = 0.025) -> Tensor:
        """Return what to minimize, see :func:`~mmcl.objectives.laf.vae_loss`."""
        coded = self(representation)
        return vae_loss(coded.reconstruction, representation, coded.mean, coded.log_variance, kl_weight=kl_weight)
