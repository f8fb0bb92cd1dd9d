"""Wav2VecEncoder: wav2vec 2.0, HuBERT and WavLM, which read the waveform itself."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmcl.batch import length_mask
from mmcl.encoders.base import Encoded, Encoder, fingerprint_end, pool, subsample, weights_hash
from mmcl.encoders.tracing import masked_channel_norm, no_padding
from mmcl.encoders.tuning import freeze_below
from mmcl.encoders.waveforms import checked_lengths, normalized
from mmcl.errors import ConfigError
from mmcl.freeze import freeze


class Wav2VecEncoder(Encoder):
    """Encode speech with wav2vec 2.0 (Baevski et al., 2020), HuBERT (Hsu et al., 2021) or WavLM (Chen et al., 2022).

    A batch gives what its utterances give alone. The base models normalise their first convolution over the whole
    utterance (GroupNorm), padding included: their convolutions run utterance by utterance. LayerDrop and the masking
    of pretraining are off.

    Args:
        model: transformers' ``Wav2Vec2Model``, ``HubertModel`` or ``WavLMModel``.
        normalize: give each waveform mean 0 and variance 1, as the model was trained.
        tune_from: train the layers from this one on, and a last norm; None freezes all. The convolutions stay frozen.
        pooling: see :func:`~mmcl.encoders.base.pool`.
        subsampling: steps that become one in the end, see :func:`~mmcl.encoders.base.subsample`.

    Raises:
        ConfigError: there is no layer ``tune_from``, or the model ends in an adapter.
    """

    modality = "audio"

    def __init__(
        self,
        model: Any,
        *,
        normalize: bool,
        tune_from: int | None = None,
        pooling: str = "mean",
        subsampling: int = 1,
    ) -> None:
        super().__init__()
        if getattr(model, "adapter", None) is not None:
            raise ConfigError(
                "the model has add_adapter=True, expected one without: choose the model before adaptation"
            )
        self.model = model
        self.normalize = normalize
        self.dim = model.config.hidden_size
        self.pooling = pooling
        self.subsampling = subsampling
        self.norm_comes_last = bool(model.config.do_stable_layer_norm)
        self.tune_from = len(model.encoder.layers) if tune_from is None else tune_from
        freeze(model.feature_extractor)
        if tune_from is None:
            self.frozen = True
            freeze(self)
        else:
            front = [model.feature_projection, model.encoder.pos_conv_embed]
            if not self.norm_comes_last:
                front.append(model.encoder.layer_norm)
            freeze_below(model.name_or_path, tune_from, front, model.encoder.layers)
            if hasattr(model, "masked_spec_embed"):
                model.masked_spec_embed.requires_grad_(False)

    @torch.no_grad()
    def frozen_features(self, inputs: Any, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the hidden states that enter layer ``tune_from``, or where all is frozen the last."""
        samples = checked_lengths(inputs, lengths)
        hidden = self._convolutions(self._normalized(inputs, samples), samples)
        lengths = self.model._get_feat_extract_output_lengths(samples)
        hidden = self.model.feature_projection(hidden)
        hidden = hidden if isinstance(hidden, Tensor) else hidden[0]  # HuBERT gives one tensor, the others two
        mask = length_mask(lengths, hidden.shape[1])[:, :, None]
        hidden = hidden * mask
        hidden = hidden + self.model.encoder.pos_conv_embed(hidden)
        if not self.norm_comes_last:
            hidden = self.model.encoder.layer_norm(hidden)
        hidden = self._layers(hidden, lengths, 0, self.tune_from)
        if self.frozen and self.norm_comes_last:
            hidden = self.model.encoder.layer_norm(hidden)
        return subsample(hidden * mask, lengths, self.subsampling) if self.frozen else (hidden * mask, lengths)

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        if not self.frozen:
            features = self._layers(features, lengths, self.tune_from, len(self.model.encoder.layers))
            if self.norm_comes_last:
                features = self.model.encoder.layer_norm(features)
            features, lengths = subsample(features, lengths, self.subsampling)
        return Encoded(features, lengths, pool(features, lengths, self.pooling))

    def fingerprint(self) -> str:
        """Name the preprocessing, the frozen weights and, where all is frozen, the pooling."""
        model = self.model
        used = [model.feature_extractor, model.feature_projection, model.encoder.pos_conv_embed]
        used += model.encoder.layers[: self.tune_from]
        if self.frozen or not self.norm_comes_last:
            used.append(model.encoder.layer_norm)
        front_end = f"{model.config.model_type} 1: normalize={self.normalize}"
        end = fingerprint_end(self.frozen, self.pooling, self.tune_from, self.subsampling)
        return f"{front_end}; {weights_hash(*used)}{end}"

    def _normalized(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        if self.normalize:
            return normalized(waveforms, lengths, epsilon=1e-7)
        return waveforms * length_mask(lengths, waveforms.shape[1])

    def _convolutions(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """``(batch, steps, channels)`` of waveforms ``(batch, samples)``."""
        convolve = self.model.feature_extractor
        if self.model.config.feat_extract_norm != "group" or no_padding(lengths == waveforms.shape[1]):
            return convolve(waveforms).transpose(1, 2)
        if torch.compiler.is_exporting():
            return self._convolutions_of_all(waveforms, lengths)
        rows = zip(waveforms, lengths.tolist(), strict=True)
        return pad_sequence([convolve(row[None, :length])[0].T for row, length in rows], batch_first=True)

    def _convolutions_of_all(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """The same without going through the rows: the first one's norm leaves the padding out."""
        first, *others = self.model.feature_extractor.conv_layers
        steps = (lengths - first.conv.kernel_size[0]) // first.conv.stride[0] + 1
        hidden = first.activation(masked_channel_norm(first.layer_norm, first.conv(waveforms[:, None]), steps))
        for layer in others:
            hidden = layer(hidden)
        return hidden.transpose(1, 2)

    def _layers(self, hidden: Tensor, lengths: Tensor, first: int, last: int) -> Tensor:
        mask = length_mask(lengths, hidden.shape[1])
        padded = not no_padding(mask)
        layers = self.model.encoder.layers
        if self.model.config.model_type != "wavlm":
            for layer in layers[first:last]:
                hidden = layer(hidden, attention_mask=mask[:, None, None, :] if padded else None)
            return hidden
        # WavLM's layers share the relative positions that the first of them holds, and mark what is attended by 1.
        steps = hidden.shape[1]
        bias = layers[0].attention.compute_bias(steps, steps).repeat(hidden.shape[0], 1, 1)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask and attn_mask")
            for layer in layers[first:last]:
                attended = mask.long() if padded else None
                hidden, _ = layer(hidden, attention_mask=attended, position_bias=bias)
        return hidden
