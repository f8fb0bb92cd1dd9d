"""LogMel: the front-end of the encoders that are trained from scratch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from mmcl.batch import length_mask
from mmcl.data.base import SAMPLE_RATE
from mmcl.encoders.tracing import power_spectrum
from mmcl.encoders.waveforms import SHORTEST, checked_lengths, in_32_bits

_HOP = 160  # samples: 10 ms
_FLOOR = 1e-6  # added to the power: 100 dB below full scale, 20 dB above the rounding of 16-bit samples
_STEADY = 0.1  # a band whose log-power varies less than this is silence or rounding, not to be blown up


class LogMel(nn.Module):
    """Waveforms -> log-mel frames, each band with mean 0 and variance 1 over the utterance.

    ``frames = (log(mel power + 1e-6) - mean) / max(deviation, 0.1)``: windows of 25 ms every 10 ms that lie wholly
    within the utterance, so that no frame sees padding. Silence gives zeros.

    Args:
        mels: number of bands, from 20 Hz to 8 kHz.

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

    @in_32_bits
    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return frames ``(batch, time, mels)``, zero after their lengths ``(batch,)``."""
        samples = checked_lengths(waveforms, lengths)
        lengths = (samples - SHORTEST) // _HOP + 1
        frames = (self._mel_power(waveforms) + _FLOOR).log().transpose(1, 2)
        mask = length_mask(lengths, frames.shape[1])[:, :, None]
        counts = lengths[:, None, None]
        centred = (frames - (frames * mask).sum(1, keepdim=True) / counts) * mask
        deviation = (centred.square().sum(1, keepdim=True) / counts).sqrt()
        return centred / deviation.clamp(min=_STEADY), lengths

    def _mel_power(self, waveforms: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            return self.mel(waveforms)
        return self.mel.mel_scale(power_spectrum(waveforms, self.mel.spectrogram.window, _HOP))

    def fingerprint(self) -> str:
        """Name what this computes."""
        return f"log-mel 1: {self.mels} bands, {SHORTEST}/{_HOP} samples, floor {_FLOOR:g}, steady {_STEADY:g}"
