"""Augmentation of waveforms in training: other speeds, added noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from speechbrain.augment.time_domain import SpeedPerturb
from torch import Tensor, nn
from torchaudio.functional import add_noise

from mmcl.batch import length_mask
from mmcl.data.base import SAMPLE_RATE
from mmcl.errors import ConfigError, ShapeError


class WaveformAugment(nn.Module):
    """Change the speed of a batch of waveforms and add white noise, while training; in evaluation mode change nothing.

    The whole batch gets one of ``speeds`` (Ko et al., "Audio Augmentation for Speech Recognition", 2015: tempo and
    pitch together), each row a noise of its own at a signal-to-noise ratio drawn evenly from ``snr_db``:

        y = x + n |x| / |n| 10^(-snr / 20), norms over the row's own samples

    Padding stays zero. What is drawn follows ``torch.manual_seed``.

    Args:
        speeds: factors of speed, in whole per cent; above 1 is faster and shorter. Empty leaves the speed alone.
        snr_db: lowest and highest signal-to-noise ratio in decibels; None adds no noise.

    Raises:
        ConfigError: a speed or ratio that cannot be used.
        ShapeError: ``lengths`` do not fit the batch.

    >>> _ = torch.manual_seed(0)
    >>> augment = WaveformAugment(speeds=(0.8,), snr_db=(10, 10))
    >>> audio, lengths = augment(torch.ones(2, 100), torch.tensor([100, 50]))
    >>> audio.shape, lengths.tolist(), audio[1, 63:].abs().max().item()
    (torch.Size([2, 125]), [125, 63], 0.0)
    """

    def __init__(
        self, speeds: Sequence[float] = (0.9, 1.0, 1.1), snr_db: tuple[float, float] | None = (10.0, 30.0)
    ) -> None:
        super().__init__()
        # Speeds in whole per cent keep the resampling filters small.
        percents = [round(100 * speed) for speed in speeds]
        for speed, percent in zip(speeds, percents, strict=True):
            if abs(100 * speed - percent) > 1e-6 or not 10 <= percent <= 1000:
                raise ConfigError(f"speed is {speed}, expected a factor in whole per cent from 0.1 to 10, such as 0.95")
        if snr_db is not None and not (len(snr_db) == 2 and snr_db[0] <= snr_db[1]):
            raise ConfigError(f"snr_db is {snr_db}, expected (lowest, highest) in decibels or None")
        self.snr_db = snr_db
        self.speed = SpeedPerturb(SAMPLE_RATE, percents) if percents else None

    def forward(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Augment waveforms ``(batch, samples)`` with ``lengths`` ``(batch,)``; return both anew."""
        if audio.dim() != 2 or lengths.shape != audio.shape[:1]:
            raise ShapeError(
                f"audio is {tuple(audio.shape)} with lengths {tuple(lengths.shape)}, "
                "expected (batch, samples) and (batch,)"
            )
        if not self.training:
            return audio, lengths
        if self.speed is not None:
            audio = self.speed(audio)
            percent = self.speed.speeds[self.speed.samp_index]
            lengths = -(-lengths * 100 // percent)
        mask = length_mask(lengths, audio.shape[1])
        audio = audio * mask
        if self.snr_db is not None:
            low, high = self.snr_db
            snr = low + (high - low) * torch.rand(len(audio), device=audio.device)
            # speechbrain's own noise takes its level over the padding too, which makes it too quiet in short rows.
            audio = add_noise(audio, torch.randn_like(audio), snr, lengths) * mask
        return audio, lengths
