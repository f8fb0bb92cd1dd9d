"""Audio encoders with the wav2vec 2.0, HuBERT and WavLM bundles of torchaudio."""

from __future__ import annotations

from pathlib import Path

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch.nn.utils.rnn import pad_sequence
from torchaudio.models import Wav2Vec2Model, wav2vec2_model, wavlm_model
from torchaudio.models.wav2vec2.wavlm_attention import WavLMSelfAttention
from torchaudio.pipelines import Wav2Vec2Bundle

from mmcl.batch import length_mask
from mmcl.data.base import SAMPLE_RATE
from mmcl.encoders.base import Encoded, Encoder, check_subsampling, fingerprint_end, pool, subsample, weights_hash
from mmcl.encoders.gate import local_file
from mmcl.encoders.tracing import is_unpadded, masked_channel_norm
from mmcl.encoders.tuning import freeze_below, is_frozen
from mmcl.encoders.waveforms import checked_lengths, normalize_waveforms
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
        name: a bundle such as ``"WAV2VEC2_BASE"``, ``"HUBERT_BASE"`` or ``"WAVLM_BASE"``. The output layer of bundles
            for speech recognition is left out.
        pretrained: True loads the weights of the bundle, a path loads a file, False gives random weights.
        frozen: train nothing. None means True with weights, unless ``tune_from`` is given. False trains all layers,
            but not the convolutions before them.
        tune_from: train the layers from this one on.
        pooling: see :func:`~mmcl.encoders.base.pool`.
        subsampling: number of steps to average into one.
        download: download missing weights.

    Raises:
        ConfigError: if the bundle is unknown or needs another sample rate, there is no layer ``tune_from``, or
            ``subsampling`` is out of range.
        MissingDataError: if the weights are not on this machine.
        DataError: if the weights cannot be read, or do not fit the bundle.
    """
    bundles = {
        key: bundle
        for key, bundle in vars(torchaudio.pipelines).items()
        if isinstance(bundle, Wav2Vec2Bundle) and bundle._model_type in _FACTORIES
    }
    if name not in bundles:
        raise ConfigError(
            f"torchaudio has no bundle '{name}'{nearest(name, bundles)}, expected one of {', '.join(sorted(bundles))}"
        )
    check_subsampling(subsampling)
    bundle = bundles[name]
    if bundle.sample_rate != SAMPLE_RATE:
        raise ConfigError(f"'torchaudio:{name}' needs audio at {bundle.sample_rate:g} Hz, expected {SAMPLE_RATE} Hz")
    network = _FACTORIES[bundle._model_type](**{**bundle._params, "aux_num_out": None})
    if isinstance(pretrained, str | Path):
        load_weights(network, read_weights(local_file(pretrained)), f"torchaudio:{name}")
    elif pretrained:
        url = bundle._path if bundle._path.startswith("https") else _SOURCE + bundle._path
        load_weights(network, linked_weights(url, f"torchaudio:{name}", download=download), f"torchaudio:{name}")
    return BundleEncoder(
        network,
        normalize=bundle._normalize_waveform,
        name=f"torchaudio:{name}",
        tune_from=None if is_frozen(frozen, pretrained is not False, tune_from) else tune_from or 0,
        pooling=pooling,
        subsampling=subsampling,
    )


class BundleEncoder(Encoder):
    """Encode speech with wav2vec 2.0 (Baevski et al., 2020), HuBERT (Hsu et al., 2021) or WavLM (Chen et al., 2022).

    An utterance gives the same encoding alone and in a padded batch, unlike in torchaudio's ``forward``. There, the
    first GroupNorm of the base models includes the padding: here the convolutions run on one utterance at a time. Each
    waveform is normalized on its own, and the attention of WavLM masks the padding. LayerDrop is disabled.

    Args:
        network: torchaudio's ``Wav2Vec2Model``.
        normalize: normalize each waveform to mean 0 and variance 1, as in the network's training.
        name: name of the network, for errors and fingerprints.
        tune_from: train the layers from this one on, and a final norm; None freezes all. The convolutions stay frozen.
        pooling: see :func:`~mmcl.encoders.base.pool`.
        subsampling: number of steps to average into one, see :func:`~mmcl.encoders.base.subsample`.

    Raises:
        ConfigError: if there is no layer ``tune_from``.
    """

    modality = "audio"

    def __init__(
        self,
        network: Wav2Vec2Model,
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
    def frozen_features(self, inputs: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the input of layer ``tune_from``, or the last hidden states if all is frozen."""
        samples = checked_lengths(inputs, lengths)
        transformer = self.network.encoder.transformer
        hidden, lengths = self._convolutions(self._normalized(inputs, samples), samples)
        mask = length_mask(lengths, hidden.shape[1])[:, :, None]
        hidden = self.network.encoder.feature_projection(hidden) * mask
        hidden = hidden + transformer.pos_conv_embed(hidden)
        if not self.norm_comes_last:
            hidden = transformer.layer_norm(hidden)
        hidden = self._layers(hidden, lengths, 0, self.tune_from)
        if self.frozen and self.norm_comes_last:
            hidden = transformer.layer_norm(hidden)
        return subsample(hidden * mask, lengths, self.subsampling) if self.frozen else (hidden * mask, lengths)

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        if not self.frozen:
            features = self._layers(features, lengths, self.tune_from, len(self.layers))
            if self.norm_comes_last:
                features = self.network.encoder.transformer.layer_norm(features)
            features, lengths = subsample(features, lengths, self.subsampling)
        return Encoded(features, lengths, pool(features, lengths, self.pooling))

    def fingerprint(self) -> str:
        """Identify the preprocessing, the frozen weights and, if all is frozen, the pooling."""
        used = [*self._front(), *self.layers[: self.tune_from]]
        if self.frozen and self.norm_comes_last:
            used.append(self.network.encoder.transformer.layer_norm)
        end = fingerprint_end(self.frozen, self.pooling, self.tune_from, self.subsampling)
        return f"{self.name} 1: normalize={self.normalize}; {weights_hash(*used)}{end}"

    def _front(self) -> list[nn.Module]:
        encoder = self.network.encoder
        front = [self.network.feature_extractor, encoder.feature_projection, encoder.transformer.pos_conv_embed]
        return front if self.norm_comes_last else [*front, encoder.transformer.layer_norm]

    def _normalized(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        if self.normalize:
            return normalize_waveforms(waveforms, lengths, epsilon=1e-5)
        return waveforms * length_mask(lengths, waveforms.shape[1])

    def _convolutions(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map waveforms ``(batch, samples)`` to ``(batch, steps, channels)`` and lengths, independent of padding."""
        convolve = self.network.feature_extractor
        has_group_norm = isinstance(convolve.conv_layers[0].layer_norm, nn.GroupNorm)
        if not has_group_norm or is_unpadded(lengths == waveforms.shape[1]):
            return convolve(waveforms, lengths)
        if torch.compiler.is_exporting():  # a loop over rows cannot be exported
            first, *others = convolve.conv_layers
            steps = (lengths - first.conv.kernel_size[0]) // first.conv.stride[0] + 1
            hidden = gelu(masked_channel_norm(first.layer_norm, first.conv(waveforms[:, None]), steps))
            for layer in others:
                hidden, steps = layer(hidden, steps)
            return hidden.transpose(1, 2), steps
        pairs = zip(waveforms, lengths.tolist(), strict=True)
        rows = [convolve(row[None, :length], None)[0][0] for row, length in pairs]
        return pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows], device=waveforms.device)

    def _layers(self, hidden: Tensor, lengths: Tensor, first: int, last: int) -> Tensor:
        mask = length_mask(lengths, hidden.shape[1])
        padded = not is_unpadded(mask)
        steps = hidden.shape[1]
        if self.is_wavlm:
            bias = self.layers[0].attention.compute_bias(steps, steps).expand(hidden.shape[0], -1, -1, -1)
            padding = torch.zeros_like(mask, dtype=hidden.dtype).masked_fill(~mask, float("-inf")) if padded else None
            for layer in self.layers[first:last]:
                hidden, _ = layer(hidden, position_bias=bias, key_padding_mask=padding)
            return hidden
        attended = mask[:, None, None, :].expand(-1, 1, steps, -1) if padded else None
        for layer in self.layers[first:last]:
            hidden, _ = layer(hidden, attention_mask=attended)
        return hidden
