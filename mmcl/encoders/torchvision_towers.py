"""The image networks of torchvision, by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from mmcl.encoders.gate import place
from mmcl.encoders.image_input import ImageInput
from mmcl.encoders.image_tower import ImageTower, Tower
from mmcl.encoders.weights import linked_weights, load_weights, read_weights
from mmcl.errors import ConfigError
from mmcl.text.suggest import nearest

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_STAGED = (models.ConvNeXt, models.EfficientNet, models.MobileNetV2, models.MobileNetV3)


def torchvision_image(
    name: str,
    *,
    weights: str | Path | None = None,
    frozen: bool | None = None,
    tune_from: int | None = None,
    pooling: str = "own",
    download: bool = False,
) -> ImageTower:
    """Build torchvision's classifier ``name`` without its last layers; ``pooling="own"`` is what enters these.

    The sequence are the tokens of a vision transformer, or the positions of the last stage. Images are prepared by the
    transform of the weights; that of the default ones where weights are random or a file.

    Args:
        name: a ResNet (or ResNeXt), ViT, ConvNeXt, EfficientNet or MobileNet, such as ``"resnet18"``.
        weights: a file, or a tag of torchvision such as ``"IMAGENET1K_V1"`` or ``"DEFAULT"``; None draws random ones.
        frozen: train nothing; None is True where there are weights and no ``tune_from``. False trains all.
        tune_from: train the layers from this one on: blocks of a transformer, stages of the others.
        pooling: ``"own"``, or see :func:`~mmcl.encoders.base.pool`.
        download: fetch the weights of a tag.

    Raises:
        ConfigError: an unknown network or tag, or a network of another kind.
        MissingDataError: the weights are not on this machine.
        DataError: the weights cannot be read, or are not those of the network.
    """
    known = models.list_models(module=models)
    if name not in known:
        raise ConfigError(
            f"torchvision has no classifier '{name}'{nearest(name, known)}, expected one of its {len(known)}: see "
            "torchvision.models.list_models()"
        )
    offered = models.get_model_weights(name)
    tags = list(offered.__members__)
    chosen = offered["DEFAULT"] if "DEFAULT" in tags else None
    values = None
    file = None if weights is None else place(weights)
    if file is not None and file.is_file():
        values = read_weights(file)
    elif weights is not None:
        tag = str(weights).rpartition(".")[2]
        if tag not in tags:
            raise ConfigError(
                f"weights is '{weights}', which is neither a file nor a tag of 'torchvision:{name}'"
                f"{nearest(tag, tags)}, expected one of {', '.join(tags)}"
            )
        chosen = offered[tag]
        values = linked_weights(chosen.url, f"torchvision:{name} {tag}", download=download)
    network = models.get_model(name, weights=None)
    tower = _tower(name, network)
    if values is not None:
        load_weights(network, values, f"torchvision:{name}")
    frozen = (weights is not None and tune_from is None) if frozen is None else frozen
    return ImageTower(
        tower, _images(chosen), name=f"torchvision:{name}", frozen=frozen, tune_from=tune_from, pooling=pooling
    )


def _images(weights: Any) -> ImageInput:
    """The evaluation transform that belongs to weights."""
    if weights is None:
        return ImageInput((224, 224), mean=_MEAN, std=_STD, interpolation="bilinear", scale=(256, 256))
    transform = weights.transforms()
    (cut,), (short,) = transform.crop_size, transform.resize_size
    return ImageInput(
        (cut, cut),
        mean=transform.mean,
        std=transform.std,
        interpolation=transform.interpolation.value,
        scale=(short, short),
    )


def _tower(name: str, network: nn.Module) -> Tower:
    if isinstance(network, models.ResNet):
        network.fc = nn.Identity()
        return _ResNetTower(network)
    if isinstance(network, models.VisionTransformer):
        network.heads = nn.Sequential()
        return _TransformerTower(network)
    if isinstance(network, _STAGED):
        network.classifier = nn.Sequential()
        return _StagedTower(network)
    raise ConfigError(
        f"'torchvision:{name}' is a {type(network).__name__}, expected a ResNet, VisionTransformer, ConvNeXt, "
        "EfficientNet or MobileNet: look for it in timm"
    )


class _ResNetTower(Tower):
    def __init__(self, network: models.ResNet) -> None:
        super().__init__()
        self.network = network
        self.front_parts = (network.conv1, network.bn1, network.relu, network.maxpool)
        self.layers = (network.layer1, network.layer2, network.layer3, network.layer4)
        norms = [module for module in network.layer4.modules() if isinstance(module, nn.BatchNorm2d)]
        self.dim = self.own_dim = norms[-1].num_features

    def front(self, images: Tensor) -> Tensor:
        return self.network.maxpool(self.network.relu(self.network.bn1(self.network.conv1(images))))

    def end(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return hidden.flatten(2).transpose(1, 2), self.network.avgpool(hidden).flatten(1)


class _TransformerTower(Tower):
    def __init__(self, network: models.VisionTransformer) -> None:
        super().__init__()
        self.network = network
        encoder = network.encoder
        self.front_parts = (network.conv_proj, network.class_token, encoder.pos_embedding, encoder.dropout)
        self.layers = tuple(encoder.layers)
        self.dim = self.own_dim = network.hidden_dim

    def front(self, images: Tensor) -> Tensor:
        patches = self.network._process_input(images)
        tokens = torch.cat([self.network.class_token.expand(len(patches), -1, -1), patches], dim=1)
        return self.network.encoder.dropout(tokens + self.network.encoder.pos_embedding)

    def end(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.network.encoder.ln(hidden)
        return tokens, tokens[:, 0]


class _StagedTower(Tower):
    """Stages in ``features``, then the mean over the positions."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.front_parts = (network.features[0],)
        self.layers = tuple(network.features[1:])
        network.eval()
        with torch.no_grad():
            self.dim = self.own_dim = network.features(torch.zeros(1, 3, 64, 64)).shape[1]
        network.train()

    def front(self, images: Tensor) -> Tensor:
        return self.network.features[0](images)

    def end(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return hidden.flatten(2).transpose(1, 2), hidden.mean((2, 3))
