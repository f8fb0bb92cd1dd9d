"""Image encoders with a network of timm."""

from __future__ import annotations

from math import floor
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import get_pretrained_cfg
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mmcl.encoders.gate import local_path
from mmcl.encoders.image_input import ImageInput
from mmcl.encoders.image_tower import ImageTower, LayeredTower
from mmcl.encoders.tuning import is_frozen
from mmcl.encoders.weights import hub_file, linked_weights, load_weights, read_weights
from mmcl.errors import ConfigError
from mmcl.text.suggest import nearest

_MODES = {"center": "shortest", "squash": "squash", "border": "longest"}


def timm_image(
    name: str,
    *,
    weights: str | Path | None = None,
    frozen: bool | None = None,
    tune_from: int | None = None,
    pooling: str = "own",
    download: bool = False,
) -> ImageTower:
    """Build timm's network ``name`` without its classifier.

    The sequence holds the tokens or positions of ``forward_features``. Images are resized and normalized as by
    ``timm.data.create_transform``.

    Args:
        name: one of ``timm.list_models()``, such as ``"resnet18"``, or with a tag, such as ``"resnet18.a1_in1k"``.
        weights: a file, or a tag of the network in timm, such as ``"a1_in1k"``; None gives random weights.
        frozen: train nothing. None means True with weights, unless ``tune_from`` is given. False trains all.
        tune_from: train the layers from this one on: blocks of a vision transformer, or the 4 stages of a ResNet.
        pooling: ``"own"`` is the input of the classifier; or see :func:`~mmcl.encoders.base.pool`.
        download: download the weights of a tag.

    Raises:
        ConfigError: if the network or tag is unknown, or the network has no layer ``tune_from``.
        MissingDataError: if the weights are not on this machine.
        DataError: if the weights cannot be read, or do not fit the network.
    """
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        raise ConfigError(
            f"timm has no model '{architecture}'{nearest(architecture, known)}, expected one of its {len(known)} "
            "models: see timm.list_models()"
        )
    tags = [each.partition(".")[2] for each in timm.list_models(f"{architecture}.*", pretrained=True)]
    file = None if weights is None else local_path(weights)
    from_file = file is not None and file.is_file()
    if weights is not None and not from_file:
        tag = str(weights)
    if tag and tag not in tags:
        raise ConfigError(
            f"'{tag}' is neither a file nor a tag of 'timm:{architecture}'{nearest(tag, tags)}, "
            f"expected {'one of ' + ', '.join(tags) if tags else 'a file, since timm has no weights for it'}"
        )
    full = f"{architecture}.{tag}" if tag else architecture
    network = timm.create_model(full, pretrained=False, num_classes=0)
    if file is not None and from_file:
        load_weights(network, read_weights(file), f"timm:{full}")
    elif weights is not None:
        load_weights(network, _tagged_weights(full, download), f"timm:{full}")
    return ImageTower(
        _tower(network),
        _images(network),
        name=f"timm:{full}",
        frozen=is_frozen(frozen, weights is not None, tune_from),
        tune_from=tune_from,
        pooling=pooling,
    )


def _tagged_weights(name: str, download: bool) -> dict[str, Tensor]:
    """Read the weights of a network and tag from the cache of the hub or of torch.hub."""
    source = get_pretrained_cfg(name)
    if not source.hf_hub_id:
        return linked_weights(source.url, name, download=download)
    files = ["model.safetensors", "pytorch_model.bin"]
    return read_weights(hub_file(source.hf_hub_id, files, name, download=download))


def _images(network: nn.Module) -> ImageInput:
    """Return the evaluation transform of the network."""
    settings = resolve_model_data_config(network)
    _, height, width = settings["input_size"]
    crop = settings["crop_pct"]
    return ImageInput(
        (height, width),
        mean=settings["mean"],
        std=settings["std"],
        interpolation=settings["interpolation"] if settings["interpolation"] != "random" else "bilinear",
        mode=_MODES[settings["crop_mode"]],
        scale=(floor(height / crop), floor(width / crop)),
        fill=[round(255 * value) / 255 for value in settings["mean"]],
    )


def _tower(network: nn.Module) -> LayeredTower:
    # A subclass may override forward_features, and then run other layers.
    forward = getattr(type(network), "forward_features", None)
    if isinstance(network, VisionTransformer) and forward is VisionTransformer.forward_features:
        front = ["patch_embed", "cls_token", "reg_token", "pos_embed", "pos_drop", "patch_drop", "norm_pre"]
        return _TimmTower(network, front, list(network.blocks))
    if isinstance(network, ResNet) and forward is ResNet.forward_features:
        stages = [network.layer1, network.layer2, network.layer3, network.layer4]
        return _TimmTower(network, ["conv1", "bn1", "act1", "maxpool"], stages)
    return _TimmTower(network, [], [])


class _TimmTower(LayeredTower):
    """Network of timm, split between its layers if they are known, else before its head."""

    def __init__(self, network: Any, front: list[str], layers: list[nn.Module]) -> None:
        super().__init__()
        self.network = network
        self.layers = layers
        modules = [getattr(network, name, None) for name in front] if layers else [network]
        self.front_parts = [module for module in modules if module is not None]
        self.channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        network.eval()
        with torch.no_grad():
            size = resolve_model_data_config(network)["input_size"]
            sequence, own = self.end(self.between(self.front(torch.zeros(1, *size)), 0, len(layers)))
        network.train()
        self.dim, self.own_dim = sequence.shape[2], own.shape[1]

    def front(self, images: Tensor) -> Tensor:
        network = self.network
        if isinstance(network, VisionTransformer) and self.layers:
            return network.norm_pre(network.patch_drop(network._pos_embed(network.patch_embed(images))))
        if self.layers:
            return network.maxpool(network.act1(network.bn1(network.conv1(images))))
        hidden = network.forward_features(images)
        return hidden.permute(0, 3, 1, 2) if self.channels_last and hidden.dim() == 4 else hidden

    def end(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        network = self.network
        if isinstance(network, VisionTransformer) and self.layers:
            hidden = network.norm(hidden)
        sequence = hidden.flatten(2).transpose(1, 2) if hidden.dim() == 4 else hidden
        if self.channels_last and hidden.dim() == 4:
            hidden = hidden.permute(0, 2, 3, 1)
        return sequence, network.forward_head(hidden, pre_logits=True)
