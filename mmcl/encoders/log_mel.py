"""Log-mel spectrogram front-end of the audio encoders that are trained from scratch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from mmcl.arguments import takes_tensors
from mmcl.batch import length_mask
from mmcl.data.base import SAMPLE_RATE
from mmcl.encoders.standardize import masked_moments
from mmcl.encoders.tracing import power_spectrum
from mmcl.encoders.waveforms import SHORTEST, checked_lengths, without_autocast

_HOP = 160  # samples: 10 ms
_FLOOR = 1e-6  # added to the power: 100 dB below full scale, 20 dB above the rounding of 16-bit samples
_MIN_DEVIATION = 0.1  # lower bound of the standard deviation, so that silence and rounding errors are not amplified


class LogMel(nn.Module):
    """Convert waveforms to log-mel frames with mean 0 and variance 1 per band and utterance.

    ``frames = (log(mel power + 1e-6) - mean) / max(standard deviation, 0.1)``. Windows last 25 ms, every 10 ms, and
    lie within the utterance: no frame contains padding. Silence gives zeros.

    Args:
        mels: number of mel bands between 20 Hz and 8 kHz.

    >>> frames, lengths = LogMel(64)(torch.randn(2, 16000), torch.tensor([16000, 8000]))
    >>> frames.shape, lengths.tolist()
    (torch.Size([2, 98, 64]), [98, 48])
    """

    def __init__(self, mels: int = 64) -> None:
        super().__init__()
        self.mels = mels
        self.mel = MelSpectrogram(
            SAMPLE_RATE, n_fft=SHORTEST, hop_length=_HOP, f_min=20.0, n_mels=mels, center=False, power=2.0
        )

    @without_autocast
    @torch.no_grad()
    @takes_tensors
    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return frames ``(batch, time, mels)``, zero in the padding, and their lengths ``(batch,)``."""
        samples = checked_lengths(waveforms, lengths)
        lengths = (samples - SHORTEST) // _HOP + 1
        frames = (self._mel_power(waveforms) + _FLOOR).log().transpose(1, 2)
        mask = length_mask(lengths, frames.shape[1])[:, :, None]
        centered, variance = masked_moments(frames, mask, lengths[:, None, None], dim=1)
        return centered / variance.sqrt().clamp(min=_MIN_DEVIATION), lengths

    def _mel_power(self, waveforms: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            return self.mel(waveforms)
        return self.mel.mel_scale(power_spectrum(waveforms, self.mel.spectrogram.window, _HOP))

    def fingerprint(self) -> str:
        """Identify this computation in the keys of caches."""
        return f"log-mel 1: {self.mels} bands, {SHORTEST}/{_HOP} samples, floor {_FLOOR:g}, steady {_MIN_DEVIATION:g}"
