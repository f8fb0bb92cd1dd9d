"""Audio encoder with Whisper, without padding utterances to 30 s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import WhisperFeatureExtractor

from mmcl.batch import length_mask
from mmcl.data.base import SAMPLE_RATE
from mmcl.encoders.base import Encoded, Encoder, fingerprint_end, pool, subsample, weights_hash
from mmcl.encoders.tracing import is_unpadded, max_length, power_spectrum
from mmcl.encoders.tuning import freeze_below, split_prefix
from mmcl.encoders.waveforms import checked_lengths, without_autocast
from mmcl.errors import ConfigError
from mmcl.freeze import freeze

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder


class WhisperAudioEncoder(Encoder):
    """Encode speech with Whisper (Radford et al., 2022), 50 steps per second.

    Differs from the paper: an utterance is not padded with silence to 30 s. Its log-mel frames end where it ends, the
    position table is sliced, and attention masks the padding. An utterance gives the same encoding alone and in a
    padded batch. A command of 3 s costs a tenth of the time. An utterance of 30 s is encoded as upstream.

    Args:
        model: transformers' ``WhisperEncoder``.
        front_end: settings of its ``WhisperFeatureExtractor``.
        tune_from: train the layers from this one on, and the final norm; None freezes all.
        pooling: see :func:`~mmcl.encoders.base.pool`.
        subsampling: number of steps to average into one, see :func:`~mmcl.encoders.base.subsample`.
        silence: seconds of silence before and after each utterance during encoding; their steps are dropped. Whisper
            was trained on windows with silence, so this improves the encoding of tightly cut words, but takes time.

    Raises:
        ConfigError: if there is no layer ``tune_from``, or ``silence`` is out of range.
        ShapeError: (when called) if an utterance is longer than 30 s.
    """

    modality = "audio"
    window: Tensor
    mel_filters: Tensor

    def __init__(
        self,
        model: WhisperEncoder,
        front_end: Mapping[str, Any],
        *,
        tune_from: int | None = None,
        pooling: str = "mean",
        subsampling: int = 1,
        silence: float = 0.0,
    ) -> None:
        super().__init__()
        extractor = WhisperFeatureExtractor(**front_end)
        self.n_fft, self.hop = extractor.n_fft, extractor.hop_length
        self.model = model
        self.dim = self.prefix_width = model.config.d_model
        self.pooling = pooling
        self.subsampling = subsampling
        self.margin = round(silence * SAMPLE_RATE / (2 * self.hop))  # steps
        self.max_seconds = 2 * (model.config.max_source_positions - 2 * self.margin) * self.hop / SAMPLE_RATE
        if silence < 0 or self.max_seconds <= 0:
            raise ConfigError(f"silence is {silence} s, expected at least 0 and less than half of Whisper's window")
        self.register_buffer("window", torch.hann_window(self.n_fft), persistent=False)
        mel_filters = torch.from_numpy(extractor.mel_filters).float()
        self.register_buffer("mel_filters", mel_filters, persistent=False)
        self.tune_from = len(model.layers) if tune_from is None else tune_from
        if tune_from is None:
            self.frozen = True
            freeze(self)
        else:
            freeze_below(model.name_or_path, tune_from, [model.conv1, model.conv2, model.embed_positions], model.layers)

    @without_autocast
    @torch.no_grad()
    def log_mel(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return Whisper's log-mel frames ``(batch, mels, time)``, 100 per second and zero in the padding.

        ``frames = (max(log10(mel power), maximum of the utterance - 8) + 4) / 4``
        """
        samples = checked_lengths(waveforms, lengths, max_seconds=self.max_seconds)
        if self.margin:
            silent = 2 * self.margin * self.hop
            waveforms, samples = nn.functional.pad(waveforms, (silent, silent)), samples + 2 * silent
        lengths = samples // self.hop
        signal = _reflected(waveforms, samples, self.n_fft // 2)
        frames = self.mel_filters.T @ self._power(signal, max_length(lengths, waveforms.shape[1] // self.hop))
        frames = frames.clamp(min=1e-10).log10()
        mask = length_mask(lengths, frames.shape[2])[:, None, :]
        largest = frames.masked_fill(~mask, float("-inf")).amax((1, 2), keepdim=True)
        return ((torch.maximum(frames, largest - 8.0) + 4.0) / 4.0) * mask, lengths

    @torch.no_grad()
    def frozen_features(self, inputs: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the input of layer ``tune_from``, or the last hidden states if all is frozen."""
        frames, lengths = self.log_mel(inputs, lengths)
        hidden = nn.functional.gelu(self.model.conv1(frames))
        # The output of the first convolution in the padding must not reach the second.
        hidden = hidden * length_mask(lengths, hidden.shape[2])[:, None, :]
        hidden = nn.functional.gelu(self.model.conv2(hidden)).transpose(1, 2)
        lengths = (lengths - 1) // 2 + 1
        hidden = hidden + self.model.embed_positions.weight[: hidden.shape[1]]
        hidden = self._layers(hidden, lengths, 0, self.tune_from)
        if self.frozen:
            hidden = self.model.layer_norm(hidden)
        hidden = hidden * length_mask(lengths, hidden.shape[1])[:, :, None]
        return self._end(hidden, lengths) if self.frozen else (hidden, lengths)

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        if not self.frozen:
            features, lengths = self._end(self._tuned(features, lengths), lengths)
        return Encoded(features, lengths, pool(features, lengths, self.pooling))

    def prefixed(self, prefix: Tensor, features: Tensor, lengths: Tensor) -> tuple[Tensor, Encoded]:
        outputs, steps = split_prefix(self._tuned, prefix, features, lengths)
        steps, lengths = self._end(steps, lengths)
        return outputs, Encoded(steps, lengths, pool(steps, lengths, self.pooling))

    def tuned_layers(self) -> Sequence[nn.Module]:
        return self.model.layers[self.tune_from :]

    def fingerprint(self) -> str:
        """Identify the front-end, the frozen weights and, if all is frozen, the pooling."""
        model = self.model
        used = [model.conv1, model.conv2, model.embed_positions, *model.layers[: self.tune_from]]
        if self.frozen:
            used.append(model.layer_norm)
        front_end = f"whisper 1: {self.n_fft}/{self.hop} samples, {self.mel_filters.shape[1]} bands"
        end = fingerprint_end(self.frozen, self.pooling, self.tune_from, self.subsampling)
        silence = f" within {self.margin} silent steps" if self.margin else ""
        return f"{front_end}{silence}; {weights_hash(*used)}{end}"

    def _tuned(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Apply the tuned layers and the final norm."""
        return self.model.layer_norm(self._layers(hidden, lengths, self.tune_from, len(self.model.layers)))

    def _power(self, signal: Tensor, frames: int) -> Tensor:
        if torch.compiler.is_exporting():
            return power_spectrum(signal, self.window, self.hop)[:, :, :frames]
        spectrum = torch.stft(signal, self.n_fft, self.hop, window=self.window, center=False, return_complex=True)
        return spectrum[:, :, :frames].abs().square()

    def _end(self, hidden: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Drop the steps of the silence, and subsample the rest."""
        if self.margin:
            lengths = lengths - 2 * self.margin
            hidden = hidden[:, self.margin : self.margin + max_length(lengths, hidden.shape[1] - 2 * self.margin)]
            hidden = hidden * length_mask(lengths, hidden.shape[1])[:, :, None]
        return subsample(hidden, lengths, self.subsampling)

    def _layers(self, hidden: Tensor, lengths: Tensor, first: int, last: int) -> Tensor:
        mask = length_mask(lengths, hidden.shape[1])
        attended = None if is_unpadded(mask) else mask[:, None, None, :]
        for layer in self.model.layers[first:last]:
            hidden = layer(hidden, attended)
        return hidden


def _reflected(waveforms: Tensor, lengths: Tensor, margin: int) -> Tensor:
    """Reflect each waveform at both of its ends, ``(batch, samples + 2 * margin)``; the rest is zero."""
    position = torch.arange(-margin, waveforms.shape[1] + margin, device=waveforms.device)
    position = position.expand(waveforms.shape[0], -1)
    last = lengths[:, None] - 1
    source = torch.where(position > last, 2 * last - position, position).abs()
    signal = waveforms.gather(1, source.clamp(max=waveforms.shape[1] - 1))
    return signal * (position <= last + margin)
