"""The image and text towers of open_clip, by the names of its models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from open_clip.convert import convert_state_dict
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn

from mmcl.encoders.base import Encoded, Encoder, pool, weights_hash
from mmcl.encoders.image_input import ImageInput
from mmcl.encoders.image_tower import ImageTower, Tower
from mmcl.encoders.open_clip_models import model_config, model_tokenizer, model_weights, one_tower
from mmcl.encoders.text import CutTexts, checked_texts
from mmcl.encoders.tuning import freeze_below
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
    """Build the image tower of open_clip's model ``name``; ``pooling="own"`` is its ``encode_image``.

    The sequence of a vision transformer are its tokens after the last norm and before the projection, without the class
    token; other towers give one step, their embedding.

    Args:
        name: one of ``open_clip.list_models()``.
        pretrained: one of open_clip's tags of that model, or a file with the weights of the whole model; None draws
            random ones. Images are prepared as the tag says, or ``open_clip_config.json`` next to the file, or else as
            the tags of the model have in common.
        frozen: train nothing; None is True where there are weights and no ``tune_from``. False trains all.
        tune_from: train the layers of a vision transformer from this one on, and the projection.
        pooling: ``"own"``, or see :func:`~mmcl.encoders.base.pool`.
        download: fetch the weights of a tag.

    Raises:
        ConfigError: an unknown model or tag, or one that cannot be tuned from a layer.
        MissingDataError: the weights are not on this machine.
        DataError: the weights cannot be read, or are not those of the model.
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
    tower = _VisionTower(model.visual) if isinstance(model.visual, VisionTransformer) else _OneVector(model.visual)
    frozen = (weights is not None and tune_from is None) if frozen is None else frozen
    return ImageTower(tower, images, name=f"open_clip:{name}", frozen=frozen, tune_from=tune_from, pooling=pooling)


def open_clip_text(
    name: str,
    *,
    pretrained: str | Path | None = None,
    frozen: bool | None = None,
    tune_from: int | None = None,
    pooling: str = "own",
    download: bool = False,
) -> OpenCLIPTextEncoder:
    """Build the text tower of open_clip's model ``name``; arguments and errors as :func:`open_clip_image`."""
    config = model_config(name)
    text = config["text_cfg"]
    if "hf_model_name" in text:
        raise ConfigError(
            f"the text tower of 'open_clip:{name}' is '{text['hf_model_name']}' of transformers, expected one of "
            "open_clip's own: build it by that name, or its folder"
        )
    weights, _ = model_weights(name, config, pretrained, download)
    tokenizer = model_tokenizer(name, config, download)
    model = one_tower(config, "text")
    if weights is not None:
        weights = convert_state_dict(model, weights)
        apart = any(key.startswith("text.") for key in weights)  # in older files, the text tower is the model itself
        load_weights(model.text, weights, f"open_clip:{name}", prefix="text." if apart else "")
    frozen = (weights is not None and tune_from is None) if frozen is None else frozen
    return OpenCLIPTextEncoder(model.text, tokenizer, name=name, frozen=frozen, tune_from=tune_from, pooling=pooling)


class OpenCLIPTextEncoder(Encoder):
    """Encode texts with the text tower of a CLIP (Radford et al., 2021); ``pooling="own"`` is its ``encode_text``.

    The sequence are the tokens up to the one that is pooled, after the last norm and before the projection. A text of
    more tokens than the tower takes is cut, and that is logged.

    Args:
        model: open_clip's ``TextTransformer``.
        tokenizer: its tokenizer.
        name: of the model.
        frozen: train nothing.
        tune_from: train the layers from this one on, the last norm and the projection; None, where not frozen, trains
            all.
        pooling: ``"own"``, or see :func:`~mmcl.encoders.base.pool`.

    Raises:
        ConfigError: there is no layer ``tune_from``, or the tower pools at the end of a text but looks beyond it.
    """

    modality = "text"

    def __init__(
        self,
        model: TextTransformer,
        tokenizer: Any,
        *,
        name: str,
        frozen: bool,
        tune_from: int | None = None,
        pooling: str = "own",
    ) -> None:
        super().__init__()
        if model.cls_emb is not None or (model.attn_mask is None and model.pool_type not in ("first", "last")):
            raise ConfigError(
                f"the text tower of 'open_clip:{name}' has a class token, or pools at the end of a text and looks "
                "beyond it, expected one like CLIP's or SigLIP's: choose another model"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.dim = model.ln_final.weight.shape[0]
        projection = model.text_projection
        projected = projection.weight.shape[0] if isinstance(projection, nn.Linear) else None
        self.own_dim = self.dim if projection is None else projected or int(projection.shape[1])
        self.pooling = pooling
        self.cut_texts = CutTexts()
        self.frozen = frozen
        layers = model.transformer.resblocks
        self.start = len(layers) if frozen else tune_from  # the first layer that is trained; None trains all
        if frozen:
            freeze(self)
        elif tune_from is not None:
            freeze_below(f"open_clip:{name}", tune_from, [model.token_embedding], layers)
            model.positional_embedding.requires_grad_(False)

    def frozen_features(self, inputs: Any, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the hidden states that enter the first trained layer, or where all is frozen leave the last, ``(batch,
        tokens, width)``, or where all is trained the tokens themselves, integers ``(batch, tokens, 1)``."""
        texts = checked_texts(inputs)
        tokens = self.tokenizer(texts).to(self.model.positional_embedding.device)
        lengths = self._lengths(tokens)
        self.cut_texts.log(self._cut(texts, lengths), len(texts), self.model.context_length)
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
        place = torch.zeros_like(lengths) if self.model.pool_type == "first" else lengths - 1
        pooled = sequence[torch.arange(len(sequence), device=sequence.device), place]
        if self.model.text_projection is not None:
            linear = isinstance(self.model.text_projection, nn.Linear)
            pooled = self.model.text_projection(pooled) if linear else pooled @ self.model.text_projection
        return Encoded(sequence, lengths, pooled)

    def fingerprint(self) -> str:
        """Name the tokens, the frozen weights and, where all is frozen, the pooling."""
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
        """How many tokens of each text the tower needs: all that attention sees, or up to the one that is pooled."""
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

    def _cut(self, texts: list[str], lengths: Tensor) -> list[str]:
        """Those of the texts that have more tokens than the tower takes."""
        size = self.model.context_length
        full = [text for text, length in zip(texts, lengths.tolist(), strict=True) if length == size]
        if not full:
            return []
        padding = getattr(getattr(self.tokenizer, "tokenizer", None), "pad_token_id", 0)
        beyond = self.tokenizer(full, context_length=size + 1)[:, size] != padding
        return [text for text, longer in zip(full, beyond.tolist(), strict=True) if longer]


class _VisionTower(Tower):
    """open_clip's own vision transformer."""

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


class _OneVector(Tower):
    """A tower that is not a vision transformer, whose one step is its embedding."""

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
