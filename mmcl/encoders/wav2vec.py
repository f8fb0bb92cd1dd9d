"""Audio encoders with wav2vec 2.0, HuBERT or WavLM of transformers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmcl.batch import length_mask
from mmcl.encoders.base import Encoded, Encoder, fingerprint_end, pool, subsample, weights_hash
from mmcl.encoders.tracing import is_unpadded, masked_channel_norm
from mmcl.encoders.tuning import freeze_below, split_prefix
from mmcl.encoders.waveforms import checked_lengths, normalize_waveforms
from mmcl.errors import ConfigError
from mmcl.freeze import freeze

if TYPE_CHECKING:
    from transformers import HubertModel, Wav2Vec2Model, WavLMModel


class Wav2VecEncoder(Encoder):
    """Encode speech with wav2vec 2.0 (Baevski et al., 2020), HuBERT (Hsu et al., 2021) or WavLM (Chen et al., 2022).

    An utterance gives the same encoding alone and in a padded batch. The first GroupNorm of the base models would
    include the padding, so their convolutions run on one utterance at a time. LayerDrop and the masking of pretraining
    are disabled.

    Args:
        model: transformers' ``Wav2Vec2Model``, ``HubertModel`` or ``WavLMModel``.
        normalize: normalize each waveform to mean 0 and variance 1, as in the model's training.
        tune_from: train the layers from this one on, and a final norm; None freezes all. The convolutions stay frozen.
        pooling: see :func:`~mmcl.encoders.base.pool`.
        subsampling: number of steps to average into one, see :func:`~mmcl.encoders.base.subsample`.

    Raises:
        ConfigError: if there is no layer ``tune_from``, or the model has an adapter.
    """

    modality = "audio"

    def __init__(
        self,
        model: Wav2Vec2Model | HubertModel | WavLMModel,
        *,
        normalize: bool,
        tune_from: int | None = None,
        pooling: str = "mean",
        subsampling: int = 1,
    ) -> None:
        super().__init__()
        if getattr(model, "adapter", None) is not None:
            raise ConfigError("the model has add_adapter=True, expected False: choose a model without adapter")
        self.model = model
        self.normalize = normalize
        self.dim = self.prefix_width = model.config.hidden_size
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
    def frozen_features(self, inputs: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the input of layer ``tune_from``, or the last hidden states if all is frozen."""
        samples = checked_lengths(inputs, lengths)
        hidden = self._convolutions(self._normalized(inputs, samples), samples)
        lengths = self.model._get_feat_extract_output_lengths(samples)
        hidden = self.model.feature_projection(hidden)
        hidden = hidden if isinstance(hidden, Tensor) else hidden[0]  # a tensor for HuBERT, a tuple for the others
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
            features, lengths = subsample(self._tuned(features, lengths), lengths, self.subsampling)
        return Encoded(features, lengths, pool(features, lengths, self.pooling))

    def prefixed(self, prefix: Tensor, features: Tensor, lengths: Tensor) -> tuple[Tensor, Encoded]:
        outputs, steps = split_prefix(self._tuned, prefix, features, lengths)
        steps, lengths = subsample(steps, lengths, self.subsampling)
        return outputs, Encoded(steps, lengths, pool(steps, lengths, self.pooling))

    def tuned_layers(self) -> Sequence[nn.Module]:
        return self.model.encoder.layers[self.tune_from :]

    def fingerprint(self) -> str:
        """Identify the preprocessing, the frozen weights and, if all is frozen, the pooling."""
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
            return normalize_waveforms(waveforms, lengths, epsilon=1e-7)
        return waveforms * length_mask(lengths, waveforms.shape[1])

    def _convolutions(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Map waveforms ``(batch, samples)`` to ``(batch, steps, channels)``, independent of padding."""
        convolve = self.model.feature_extractor
        if self.model.config.feat_extract_norm != "group" or is_unpadded(lengths == waveforms.shape[1]):
            return convolve(waveforms).transpose(1, 2)
        if torch.compiler.is_exporting():
            return self._exported_convolutions(waveforms, lengths)
        rows = zip(waveforms, lengths.tolist(), strict=True)
        return pad_sequence([convolve(row[None, :length])[0].T for row, length in rows], batch_first=True)

    def _exported_convolutions(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Compute the convolutions of a whole batch, with a first norm that excludes the padding."""
        first, *others = self.model.feature_extractor.conv_layers
        steps = (lengths - first.conv.kernel_size[0]) // first.conv.stride[0] + 1
        hidden = first.activation(masked_channel_norm(first.layer_norm, first.conv(waveforms[:, None]), steps))
        for layer in others:
            hidden = layer(hidden)
        return hidden.transpose(1, 2)

    def _tuned(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Apply the tuned layers and, if it comes last, the norm."""
        hidden = self._layers(hidden, lengths, self.tune_from, len(self.model.encoder.layers))
        return self.model.encoder.layer_norm(hidden) if self.norm_comes_last else hidden

    def _layers(self, hidden: Tensor, lengths: Tensor, first: int, last: int) -> Tensor:
        mask = length_mask(lengths, hidden.shape[1])
        padded = not is_unpadded(mask)
        layers = self.model.encoder.layers
        if self.model.config.model_type != "wavlm":
            for layer in layers[first:last]:
                hidden = layer(hidden, attention_mask=mask[:, None, None, :] if padded else None)
            return hidden
        # WavLM's layers share the relative positions of layer 0, and expect an integer mask.
        steps = hidden.shape[1]
        bias = layers[0].attention.compute_bias(steps, steps).repeat(hidden.shape[0], 1, 1)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask and attn_mask")
            for layer in layers[first:last]:
                attended = mask.long() if padded else None
                hidden, _ = layer(hidden, attention_mask=attended, position_bias=bias)
        return hidden
