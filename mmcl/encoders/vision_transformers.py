"""The vision transformers of transformers as towers: ViT, DINOv2 and the image tower of CLIP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL.Image import Resampling
from torch import Tensor, nn

from mmcl.encoders.image_input import ImageInput
from mmcl.encoders.image_tower import Tower
from mmcl.errors import ConfigError

KINDS = ("vit", "dinov2", "clip", "clip_vision_model")
_HALF = (0.5, 0.5, 0.5)


class VisionTransformerTower(Tower):
    """A ``ViTModel``, ``Dinov2Model``, ``CLIPModel`` or ``CLIPVisionModel``; its own vector is that of the class token.

    The sequence are all tokens after the last norm, the class token first. CLIP's own vector is its image embedding,
    that is, projected, where the model has the projection.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.projection = getattr(model, "visual_projection", None)
        self.model = getattr(model, "vision_model", model)  # of CLIP, its image tower alone
        if hasattr(self.model, "pooler"):
            self.model.pooler = None  # made for classification, and not even in every checkpoint
        network = self.model
        self.is_clip = hasattr(network, "pre_layrnorm")
        self.layers = (
            network.layers
            if hasattr(network, "layers")
            else network.encoder.layers
            if self.is_clip
            else (network.encoder.layer)
        )
        self.norm = network.post_layernorm if self.is_clip else network.layernorm
        self.front_parts: list[nn.Module | nn.Parameter] = [network.embeddings]
        if self.is_clip:
            self.front_parts.append(network.pre_layrnorm)
        self.dim = self.own_dim = network.config.hidden_size
        if self.projection is not None:
            self.own_dim = self.projection.out_features

    def front(self, images: Tensor) -> Tensor:
        hidden = self.model.embeddings(images)
        return self.model.pre_layrnorm(hidden) if self.is_clip else hidden

    def between(self, hidden: Tensor, first: int, last: int) -> Tensor:
        for layer in self.layers[first:last]:
            hidden = layer(hidden, None)
        return hidden

    def end(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.norm(hidden)
        own = tokens[:, 0]
        return tokens, own if self.projection is None else self.projection(own)


def image_input(name: str, config: Any, settings: Mapping[str, Any]) -> ImageInput:
    """Make the preprocessing that ``preprocessor_config.json`` describes, or that of ViT where it says nothing.

    Raises:
        ConfigError: it asks for something else than resizing, cropping and normalizing.

    >>> import torch
    >>> from types import SimpleNamespace
    >>> settings = {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True}
    >>> image_input("some", SimpleNamespace(image_size=224), settings)(torch.zeros(1, 3, 300, 400)).shape
    torch.Size([1, 3, 224, 224])
    """
    side = getattr(config, "vision_config", config).image_size
    known = (side, side) if isinstance(side, int) else tuple(side)
    scale = _sides(settings.get("size", known))
    short = isinstance(settings.get("size"), Mapping) and "shortest_edge" in settings["size"]
    cropped = settings.get("do_center_crop", "crop_size" in settings)
    size = _sides(settings["crop_size"]) if cropped and "crop_size" in settings else scale
    if not settings.get("do_rescale", True) or scale is None or size is None:
        raise ConfigError(
            f"preprocessor_config.json of '{name}' has size={settings.get('size')} and "
            f"do_rescale={settings.get('do_rescale', True)}, expected height and width, or the shortest edge, and True"
        )
    normalized = settings.get("do_normalize", True)
    return ImageInput(
        size,
        mean=settings.get("image_mean", _HALF) if normalized else (0.0, 0.0, 0.0),
        std=settings.get("image_std", _HALF) if normalized else (1.0, 1.0, 1.0),
        interpolation=Resampling(settings.get("resample", Resampling.BILINEAR)).name.lower(),
        mode="shortest" if short else "squash",
        scale=scale if settings.get("do_resize", True) else size,
    )


def _sides(size: Any) -> tuple[int, int] | None:
    """Height and width of what preprocessing files hold."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping):
        size = (size.get("height", size.get("shortest_edge")), size.get("width", size.get("shortest_edge")))
    return None if None in size else (int(size[0]), int(size[1]))
