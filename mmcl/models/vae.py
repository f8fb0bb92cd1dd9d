"""RepresentationVAE: a variational autoencoder of feature vectors."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mmcl.arguments import takes_tensors
from mmcl.errors import ConfigError
from mmcl.objectives.laf import squared_errors, vae_loss


class Coded(NamedTuple):
    """Output of the autoencoder.

    Attributes:
        reconstruction: ``(batch, dim)``.
        mean: mean of the code, ``(batch, latent)``.
        log_variance: log-variance of the code, ``(batch, latent)``.
    """

    reconstruction: Tensor
    mean: Tensor
    log_variance: Tensor


class RepresentationVAE(nn.Module):
    """Small variational autoencoder of LAF (Shen et al., arXiv 2404.00506).

    The encoder is ``dim - 128 - 32`` with ReLU, followed by the mean and the log-variance of the code. The code is
    ``z = mean + exp(log_variance / 2) noise``. The decoder is ``latent - 32 - 128 - dim`` with a final sigmoid, as in
    the released code. A sigmoid cannot reconstruct values outside (0, 1); ``output="linear"`` can.

    Args:
        dim: dimension of the representations.
        latent: dimension of the code.
        output: ``"sigmoid"`` or ``"linear"``.

    Raises:
        ConfigError: invalid sizes, or unknown output.

    >>> vae = RepresentationVAE(16, latent=4)
    >>> vae(torch.rand(2, 16)).reconstruction.shape, vae.errors(torch.rand(2, 16)).shape
    (torch.Size([2, 16]), torch.Size([2]))
    """

    def __init__(self, dim: int, latent: int = 8, output: Literal["sigmoid", "linear"] = "sigmoid") -> None:
        super().__init__()
        if dim < 1 or latent < 1 or output not in ("sigmoid", "linear"):
            raise ConfigError(
                f"dim={dim}, latent={latent}, output={output!r}: expected sizes of 1 or more, and output 'sigmoid' or "
                "'linear'"
            )
        self.encoder = nn.Sequential(nn.Linear(dim, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(32, latent), nn.Linear(32, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, 32), nn.ReLU(), nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, dim)
        )
        if output == "sigmoid":
            self.decoder.append(nn.Sigmoid())

    @takes_tensors
    def forward(self, representation: Tensor) -> Coded:
        hidden = self.encoder(representation)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        code = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        return Coded(self.decoder(code), mean, log_variance)

    def errors(self, representation: Tensor) -> Tensor:
        """Return the squared reconstruction error of each representation, ``(batch,)``."""
        return squared_errors(self(representation).reconstruction, representation)

    def loss(self, representation: Tensor, kl_weight: float = 0.025) -> Tensor:
        """Return the training loss, see :func:`~mmcl.objectives.laf.vae_loss`."""
        coded = self(representation)
        return vae_loss(coded.reconstruction, representation, coded.mean, coded.log_variance, kl_weight=kl_weight)
