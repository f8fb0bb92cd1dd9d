"""The wav2vec 2.0, HuBERT and WavLM bundles of torchaudio, by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch.nn.utils.rnn import pad_sequence
from torchaudio.models import wav2vec2_model, wavlm_model
from torchaudio.models.wav2vec2.wavlm_attention import WavLMSelfAttention
from torchaudio.pipelines import Wav2Vec2Bundle

from mmcl.batch import length_mask
from mmcl.data.base import SAMPLE_RATE
from mmcl.encoders.base import Encoded, Encoder, check_subsampling, fingerprint_end, pool, subsample, weights_hash
from mmcl.encoders.gate import file_of
from mmcl.encoders.tracing import masked_channel_norm, no_padding
from mmcl.encoders.tuning import freeze_below
from mmcl.encoders.waveforms import checked_lengths, normalized
from mmcl.encoders.weights import linked_weights, load_weights, read_weights
from mmcl.errors import ConfigError
from mmcl.freeze import freeze
from mmcl.text.suggest import nearest

_SOURCE = "https://download.pytorch.org/torchaudio/models/"
_FACTORIES = {"Wav2Vec2": wav2vec2_model, "WavLM": wavlm_model}


def torchaudio_audio(
    name: str,
    *,
    pretrained: bool | str | Path = True,
    frozen: bool | None = None,
    tune_from: int | None = None,
    pooling: str = "mean",
    subsampling: int = 1,
    download: bool = False,
) -> BundleEncoder:
    """Build the network of the bundle ``name`` of ``torchaudio.pipelines``.

    Args:
        name: such as ``"WAV2VEC2_BASE"``, ``"HUBERT_BASE"`` or ``"WAVLM_BASE"``; of bundles made for recognition, what
            is before the letters.
        pretrained: False draws random weights, and a file has those of the bundle.
        frozen: train nothing; None is True where there are weights and no ``tune_from``. False trains all layers; the
            convolutions before them stay frozen.
        tune_from: train the layers from this one on.
        pooling: see :func:`~mmcl.encoders.base.pool`.
        subsampling: steps of the encoder that become one, their mean.
        download: fetch weights that are not on this machine.

    Raises:
        ConfigError: an unknown bundle, one of another sample rate, no layer ``tune_from``, or ``subsampling`` below 1.
        MissingDataError: the weights are not on this machine.
        DataError: the weights cannot be read, or are not those of the bundle.
    """
    bundles = {
        each: bundle
        for each, bundle in vars(torchaudio.pipelines).items()
        if isinstance(bundle, Wav2Vec2Bundle) and bundle._model_type in _FACTORIES
    }
    if name not in bundles:
        raise ConfigError(
            f"torchaudio has no bundle '{name}'{nearest(name, bundles)}, expected one of {', '.join(sorted(bundles))}"
        )
    check_subsampling(subsampling)
    bundle = bundles[name]
    if bundle.sample_rate != SAMPLE_RATE:
        raise ConfigError(f"'torchaudio:{name}' takes audio at {bundle.sample_rate:g} Hz, expected {SAMPLE_RATE} Hz")
    network = _FACTORIES[bundle._model_type](**{**bundle._params, "aux_num_out": None})
    if isinstance(pretrained, str | Path):
        load_weights(network, read_weights(file_of(pretrained)), f"torchaudio:{name}")
    elif pretrained:
        url = bundle._path if bundle._path.startswith("https") else _SOURCE + bundle._path
        load_weights(network, linked_weights(url, f"torchaudio:{name}", download=download), f"torchaudio:{name}")
    if frozen is None:
        frozen = pretrained is not False and tune_from is None
    first = None if frozen else tune_from or 0
    return BundleEncoder(
        network,
        normalize=bundle._normalize_waveform,
        name=f"torchaudio:{name}",
        tune_from=first,
        pooling=pooling,
        subsampling=subsampling,
    )


class BundleEncoder(Encoder):
    """Encode speech with wav2vec 2.0 (Baevski et al., 2020), HuBERT (Hsu et al., 2021) or WavLM (Chen et al., 2022).

    A batch gives what its utterances give alone, which torchaudio's own ``forward`` does not: the base models normalize
    their first convolution over the whole utterance (GroupNorm), padding included, so that their convolutions run
    utterance by utterance here; waveforms are normalized each by itself; and WavLM's attention leaves out padding as
    that of the others does. LayerDrop is off.

    Args:
        network: torchaudio's ``Wav2Vec2Model``.
        normalize: give each waveform mean 0 and variance 1, as the network was trained.
        name: how it was asked for.
        tune_from: train the layers from this one on, and a last norm; None freezes all. The convolutions stay frozen.
        pooling: see :func:`~mmcl.encoders.base.pool`.
        subsampling: steps that become one in the end, see :func:`~mmcl.encoders.base.subsample`.

    Raises:
        ConfigError: there is no layer ``tune_from``.
    """

    modality = "audio"

    def __init__(
        self,
        network: Any,
        *,
        normalize: bool,
        name: str,
        tune_from: int | None = None,
        pooling: str = "mean",
        subsampling: int = 1,
    ) -> None:
        super().__init__()
        self.network = network
        self.normalize = normalize
        self.name = name
        self.pooling = pooling
        self.subsampling = subsampling
        transformer = network.encoder.transformer
        self.dim = transformer.pos_conv_embed.embed_dim
        self.layers = transformer.layers
        self.is_wavlm = isinstance(self.layers[0].attention, WavLMSelfAttention)
        self.norm_comes_last = not transformer.layer_norm_first
        self.tune_from = len(self.layers) if tune_from is None else tune_from
        if tune_from is None:
            self.frozen = True
            freeze(self)
        else:
            freeze_below(name, tune_from, self._front(), self.layers)

    @torch.no_grad()
    def frozen_features(self, inputs: Any, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the hidden states that enter layer ``tune_from``, or where all is frozen the last."""
        samples = checked_lengths(inputs, lengths)
        transformer = self.network.encoder.transformer
        hidden, lengths = self._convolutions(self._normalized(inputs, samples), samples)
        mask = length_mask(lengths, hidden.shape[1])[:, :, None]
        hidden = self.network.encoder.feature_projection(hidden) * mask
        hidden = hidden + transformer.pos_conv_embed(hidden)
        if not self.norm_comes_last:
            hidden = transformer.layer_norm(hidden)
        hidden = self._through(hidden, lengths, 0, self.tune_from)
        if self.frozen and self.norm_comes_last:
            hidden = transformer.layer_norm(hidden)
        return subsample(hidden * mask, lengths, self.subsampling) if self.frozen else (hidden * mask, lengths)

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        if not self.frozen:
            features = self._through(features, lengths, self.tune_from, len(self.layers))
            if self.norm_comes_last:
                features = self.network.encoder.transformer.layer_norm(features)
            features, lengths = subsample(features, lengths, self.subsampling)
        return Encoded(features, lengths, pool(features, lengths, self.pooling))

    def fingerprint(self) -> str:
        """Name the preprocessing, the frozen weights and, where all is frozen, the pooling."""
        used = [*self._front(), *self.layers[: self.tune_from]]
        if self.frozen and self.norm_comes_last:
            used.append(self.network.encoder.transformer.layer_norm)
        end = fingerprint_end(self.frozen, self.pooling, self.tune_from, self.subsampling)
        return f"{self.name} 1: normalize={self.normalize}; {weights_hash(*used)}{end}"

    def _front(self) -> list[Any]:
        encoder = self.network.encoder
        front = [self.network.feature_extractor, encoder.feature_projection, encoder.transformer.pos_conv_embed]
        return front if self.norm_comes_last else [*front, encoder.transformer.layer_norm]

    def _normalized(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        if self.normalize:
            return normalized(waveforms, lengths, epsilon=1e-5)
        return waveforms * length_mask(lengths, waveforms.shape[1])

    def _convolutions(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, steps, channels)`` of waveforms ``(batch, samples)``, and how many steps each has."""
        convolve = self.network.feature_extractor
        whole = not isinstance(convolve.conv_layers[0].layer_norm, nn.GroupNorm)
        if whole or no_padding(lengths == waveforms.shape[1]):
            return convolve(waveforms, lengths)
        if torch.compiler.is_exporting():  # the same without going through the rows
            first, *others = convolve.conv_layers
            steps = (lengths - first.conv.kernel_size[0]) // first.conv.stride[0] + 1
            hidden = gelu(masked_channel_norm(first.layer_norm, first.conv(waveforms[:, None]), steps))
            for layer in others:
                hidden, steps = layer(hidden, steps)
            return hidden.transpose(1, 2), steps
        pairs = zip(waveforms, lengths.tolist(), strict=True)
        rows = [convolve(row[None, :length], None)[0][0] for row, length in pairs]
        return pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows], device=waveforms.device)

    def _through(self, hidden: Tensor, lengths: Tensor, first: int, last: int) -> Tensor:
        there = length_mask(lengths, hidden.shape[1])
        padded = not no_padding(there)
        steps = hidden.shape[1]
        if self.is_wavlm:
            bias = self.layers[0].attention.compute_bias(steps, steps).expand(hidden.shape[0], -1, -1, -1)
            beyond = torch.zeros_like(there, dtype=hidden.dtype).masked_fill(~there, float("-inf")) if padded else None
            for layer in self.layers[first:last]:
                hidden, _ = layer(hidden, position_bias=bias, key_padding_mask=beyond)
            return hidden
        mask = there[:, None, None, :].expand(-1, 1, steps, -1) if padded else None
        for layer in self.layers[first:last]:
            hidden, _ = layer(hidden, attention_mask=mask)
        return hidden
