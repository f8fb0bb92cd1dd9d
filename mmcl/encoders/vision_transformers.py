"""Vision transformers of transformers: ViT, DINOv2 and the image tower of CLIP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from PIL.Image import Resampling
from torch import Tensor, nn

from mmcl.encoders.image_input import ImageInput
from mmcl.encoders.image_tower import LayeredTower
from mmcl.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

MODEL_TYPES = ("vit", "dinov2", "clip", "clip_vision_model")
_HALF = (0.5, 0.5, 0.5)


class VisionTransformerTower(LayeredTower):
    """A ``ViTModel``, ``Dinov2Model``, ``CLIPModel`` or ``CLIPVisionModel`` of transformers.

    The sequence holds all tokens after the last norm, the class token first. The network's own vector is the class
    token; for CLIP with a projection, it is the projected class token, CLIP's image embedding.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.projection = getattr(model, "visual_projection", None)
        self.model = getattr(model, "vision_model", model)  # the image tower of a CLIP
        if hasattr(self.model, "pooler"):
            self.model.pooler = None  # unused, and missing in some checkpoints
        network = self.model
        self.is_clip = hasattr(network, "pre_layrnorm")
        holder = network if hasattr(network, "layers") else network.encoder
        self.layers = holder.layers if hasattr(holder, "layers") else holder.layer
        self.norm = network.post_layernorm if self.is_clip else network.layernorm
        self.front_parts: list[nn.Module | nn.Parameter] = [network.embeddings]
        if self.is_clip:
            self.front_parts.append(network.pre_layrnorm)
        self.dim = self.own_dim = self.prefix_width = network.config.hidden_size
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


def image_input(name: str, config: PreTrainedConfig, settings: Mapping[str, Any]) -> ImageInput:
    """Build the preprocessing of ``preprocessor_config.json``; missing settings are those of ViT.

    Args:
        name: name of the model, for errors.
        config: config of the model.
        settings: content of ``preprocessor_config.json``.

    Raises:
        ConfigError: if it needs anything but resizing, cropping and normalization.

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
            f"do_rescale={settings.get('do_rescale', True)}, expected a size with height and width or shortest_edge, "
            "and do_rescale=True"
        )
    normalize = settings.get("do_normalize", True)
    return ImageInput(
        size,
        mean=settings.get("image_mean", _HALF) if normalize else (0.0, 0.0, 0.0),
        std=settings.get("image_std", _HALF) if normalize else (1.0, 1.0, 1.0),
        interpolation=Resampling(settings.get("resample", Resampling.BILINEAR)).name.lower(),
        mode="shortest" if short else "squash",
        scale=scale if settings.get("do_resize", True) else size,
    )


def _sides(size: Any) -> tuple[int, int] | None:
    """Return the height and width of a size in a preprocessing file, or None if it has neither."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping):
        size = (size.get("height", size.get("shortest_edge")), size.get("width", size.get("shortest_edge")))
    return None if None in size else (int(size[0]), int(size[1]))
