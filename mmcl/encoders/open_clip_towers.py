"""Image and text encoders with a tower of open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from open_clip.convert import convert_state_dict
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn

from mmcl.encoders.base import Encoded, Encoder, pool, weights_hash
from mmcl.encoders.image_input import ImageInput
from mmcl.encoders.image_tower import ImageTower, LayeredTower
from mmcl.encoders.open_clip_models import model_config, model_tokenizer, model_weights, one_tower
from mmcl.encoders.text import TruncationLog, checked_texts
from mmcl.encoders.tuning import freeze_below, is_frozen
from mmcl.encoders.weights import load_weights
from mmcl.errors import ConfigError
from mmcl.freeze import freeze


def open_clip_image(
    name: str,
    *,
    pretrained: str | Path | None = None,
    frozen: bool | None = None,
    tune_from: int | None = None,
    pooling: str = "own",
    download: bool = False,
) -> ImageTower:
    """Build the image tower of open_clip's model ``name``.

    The sequence of a vision transformer holds its tokens, without the class token, after the last norm and before the
    projection. Other towers give one step, their embedding.

    Image preprocessing follows the tag, or ``open_clip_config.json`` next to the file of weights. Otherwise it follows
    the tags of the model if they agree, else open_clip's defaults.

    Args:
        name: one of ``open_clip.list_models()``.
        pretrained: a tag of the model in open_clip, or a file with the weights of the whole model; None gives random
            weights.
        frozen: train nothing. None means True with weights, unless ``tune_from`` is given. False trains all.
        tune_from: train the layers of a vision transformer from this one on, and the projection.
        pooling: ``"own"`` is open_clip's ``encode_image``; or see :func:`~mmcl.encoders.base.pool`.
        download: download the weights of a tag.

    Raises:
        ConfigError: if the model or tag is unknown, or the model has no layer ``tune_from``.
        MissingDataError: if the weights are not on this machine.
        DataError: if the weights cannot be read, or do not fit the model.
    """
    config = model_config(name)
    weights, preprocessing = model_weights(name, config, pretrained, download)
    model = one_tower(config, "image")
    if weights is not None:
        load_weights(model.visual, convert_state_dict(model, weights), f"open_clip:{name}", prefix="visual.")
    images = ImageInput(
        _size(model.visual),
        mean=preprocessing["mean"],
        std=preprocessing["std"],
        interpolation=preprocessing["interpolation"],
        mode=preprocessing["resize_mode"],
        fill=(preprocessing["fill_color"] / 255,) * 3,
    )
    is_transformer = isinstance(model.visual, VisionTransformer)
    return ImageTower(
        _VisionTower(model.visual) if is_transformer else _EmbeddingTower(model.visual),
        images,
        name=f"open_clip:{name}",
        frozen=is_frozen(frozen, weights is not None, tune_from),
        tune_from=tune_from,
        pooling=pooling,
    )


def open_clip_text(
    name: str,
    *,
    pretrained: str | Path | None = None,
    frozen: bool | None = None,
    tune_from: int | None = None,
    pooling: str = "own",
    download: bool = False,
) -> OpenCLIPTextEncoder:
    """Build the text tower of open_clip's model ``name``.

    ``pooling="own"`` is open_clip's ``encode_text``. Other arguments and errors are those of :func:`open_clip_image`.
    """
    config = model_config(name)
    text = config["text_cfg"]
    if "hf_model_name" in text:
        raise ConfigError(
            f"the text tower of 'open_clip:{name}' is '{text['hf_model_name']}' of transformers, expected one of "
            "open_clip itself: build the encoder with that name, or a folder of the model"
        )
    weights, _ = model_weights(name, config, pretrained, download)
    tokenizer = model_tokenizer(name, config, download)
    model = one_tower(config, "text")
    if weights is not None:
        weights = convert_state_dict(model, weights)
        has_prefix = any(key.startswith("text.") for key in weights)  # older files have no prefix
        load_weights(model.text, weights, f"open_clip:{name}", prefix="text." if has_prefix else "")
    return OpenCLIPTextEncoder(
        model.text,
        tokenizer,
        name=name,
        frozen=is_frozen(frozen, weights is not None, tune_from),
        tune_from=tune_from,
        pooling=pooling,
    )


class OpenCLIPTextEncoder(Encoder):
    """Encode texts with the text tower of a CLIP (Radford et al., 2021).

    The sequence holds the tokens up to the pooled one, after the last norm and before the projection. Texts with more
    tokens than the tower's context length are truncated, with a warning in the log.

    Args:
        model: open_clip's ``TextTransformer``.
        tokenizer: its tokenizer.
        name: name of the model.
        frozen: train nothing.
        tune_from: train the layers from this one on, the last norm and the projection. None trains all, unless frozen.
        pooling: ``"own"`` is open_clip's ``encode_text``; or see :func:`~mmcl.encoders.base.pool`.

    Raises:
        ConfigError: if there is no layer ``tune_from``, the tower has a class token, or it pools the last token but
            attends to the padding.
    """

    modality = "text"

    def __init__(
        self,
        model: TextTransformer,
        tokenizer: SimpleTokenizer | HFTokenizer,
        *,
        name: str,
        frozen: bool,
        tune_from: int | None = None,
        pooling: str = "own",
    ) -> None:
        super().__init__()
        if model.cls_emb is not None or (model.attn_mask is None and model.pool_type not in ("first", "last")):
            raise ConfigError(
                f"the text tower of 'open_clip:{name}' has a class token, or attends to the padding after the pooled "
                "token, expected a tower like CLIP's or SigLIP's: choose another model"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.dim = model.ln_final.weight.shape[0]
        projection = model.text_projection
        projected = projection.weight.shape[0] if isinstance(projection, nn.Linear) else None
        self.own_dim = self.dim if projection is None else projected or int(projection.shape[1])
        self.pooling = pooling
        self.truncation_log = TruncationLog()
        self.frozen = frozen
        layers = model.transformer.resblocks
        self.start = len(layers) if frozen else tune_from  # the first trained layer; None trains all
        if frozen:
            freeze(self)
        elif tune_from is not None:
            freeze_below(f"open_clip:{name}", tune_from, [model.token_embedding], layers)
            model.positional_embedding.requires_grad_(False)

    def frozen_features(self, inputs: Sequence[str], lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return hidden states ``(batch, tokens, width)`` or, if all is trained, token ids ``(batch, tokens, 1)``.

        Hidden states are the input of the first trained layer, or the output of the last layer if all are frozen.
        """
        texts = checked_texts(inputs)
        tokens = self.tokenizer(texts).to(self.model.positional_embedding.device)
        lengths = self._lengths(tokens)
        self.truncation_log.log(self._truncated(texts, lengths), len(texts), self.model.context_length)
        tokens = tokens[:, : int(lengths.max())]
        if self.start is None:
            return tokens[:, :, None], lengths
        with torch.no_grad():
            return self._layers(self._embedded(tokens), 0, self.start), lengths

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        hidden = self._embedded(features[:, :, 0]) if self.start is None else features
        hidden = self._layers(hidden, self.start or 0, len(self.model.transformer.resblocks))
        sequence = self.model.ln_final(hidden)
        if self.pooling != "own":
            return Encoded(sequence, lengths, pool(sequence, lengths, self.pooling))
        position = torch.zeros_like(lengths) if self.model.pool_type == "first" else lengths - 1
        pooled = sequence[torch.arange(len(sequence), device=sequence.device), position]
        if self.model.text_projection is not None:
            linear = isinstance(self.model.text_projection, nn.Linear)
            pooled = self.model.text_projection(pooled) if linear else pooled @ self.model.text_projection
        return Encoded(sequence, lengths, pooled)

    def fingerprint(self) -> str:
        """Identify the tokens, the frozen weights and, if all is frozen, the pooling."""
        model = self.model
        probe = self.tokenizer(["Turn on the lights! 2 cafés"])
        name = f"open_clip:{self.name} text 1: {model.context_length} tokens, {probe[probe != 0].tolist()}"
        if self.frozen:
            return f"{name}; {weights_hash(model)} {self.pooling}"
        if self.start is None:
            return f"tokens of {name}"
        bare = nn.ParameterList([model.positional_embedding])
        used = [bare, model.token_embedding, *model.transformer.resblocks[: self.start]]
        return f"{name}; {weights_hash(*used)} to {self.start}"

    def _lengths(self, tokens: Tensor) -> Tensor:
        """Return the number of tokens that each text needs: all that attention sees, or up to the pooled one."""
        if self.model.attn_mask is None or self.model.pool_type in ("first", "last"):
            return torch.full((len(tokens),), tokens.shape[1], device=tokens.device)
        ends = tokens if self.model.pool_type == "argmax" else (tokens == self.model.eos_id).int()
        return ends.argmax(1) + 1

    def _embedded(self, tokens: Tensor) -> Tensor:
        return self.model.token_embedding(tokens) + self.model.positional_embedding[: tokens.shape[1]]

    def _layers(self, hidden: Tensor, first: int, last: int) -> Tensor:
        mask = self.model.attn_mask
        steps = hidden.shape[1]
        for layer in self.model.transformer.resblocks[first:last]:
            hidden = layer(hidden, attn_mask=None if mask is None else mask[:steps, :steps])
        return hidden

    def _truncated(self, texts: list[str], lengths: Tensor) -> list[str]:
        """Return the texts with more tokens than the context length."""
        size = self.model.context_length
        full = [text for text, length in zip(texts, lengths.tolist(), strict=True) if length == size]
        if not full:
            return []
        padding = getattr(getattr(self.tokenizer, "tokenizer", None), "pad_token_id", 0)
        beyond = self.tokenizer(full, context_length=size + 1)[:, size] != padding
        return [text for text, longer in zip(full, beyond.tolist(), strict=True) if longer]


class _VisionTower(LayeredTower):
    """Vision transformer of open_clip."""

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__()
        self.visual = visual
        self.layers = visual.transformer.resblocks
        self.front_parts = (
            visual.conv1, visual.class_embedding, visual.positional_embedding, visual.patch_dropout, visual.ln_pre,
        )  # fmt: skip
        self.dim = visual.ln_post.weight.shape[0]
        self.own_dim = visual.proj.shape[1]

    def front(self, images: Tensor) -> Tensor:
        return self.visual._embeds(images)

    def end(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        own, tokens = self.visual._pool(hidden)
        return tokens, own @ self.visual.proj


class _EmbeddingTower(LayeredTower):
    """Any other tower of open_clip, with its embedding as the only step."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual
        self.layers = ()
        self.front_parts = (visual,)
        with torch.no_grad():
            self.dim = self.own_dim = visual.eval()(torch.zeros(1, 3, *_size(visual))).shape[1]
        visual.train()

    def front(self, images: Tensor) -> Tensor:
        return self.visual(images)[:, None]

    def end(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return hidden, hidden[:, 0]


def _size(visual: Any) -> tuple[int, int]:
    size = visual.image_size
    return (size, size) if isinstance(size, int) else (size[0], size[1])
