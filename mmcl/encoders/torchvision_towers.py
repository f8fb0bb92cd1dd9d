"""Image encoders with a classifier of torchvision."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models

from mmcl.encoders.gate import local_path
from mmcl.encoders.image_input import ImageInput
from mmcl.encoders.image_tower import ImageTower, LayeredTower
from mmcl.encoders.tuning import is_frozen
from mmcl.encoders.weights import linked_weights, load_weights, read_weights
from mmcl.errors import ConfigError
from mmcl.text.suggest import nearest

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # statistics of ImageNet
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
    """Build torchvision's classifier ``name`` without its last layers.

    The sequence holds the tokens of a vision transformer, or the positions of the last stage. Images are preprocessed
    by the transform of the weights. Random weights, and weights in a file, use the transform of the default weights.

    Args:
        name: a ResNet (or ResNeXt), ViT, ConvNeXt, EfficientNet or MobileNet, such as ``"resnet18"``.
        weights: a file, or a tag such as ``"IMAGENET1K_V1"`` or ``"DEFAULT"``; None gives random weights.
        frozen: train nothing. None means True with weights, unless ``tune_from`` is given. False trains all.
        tune_from: train the layers from this one on: blocks of a transformer, stages of other networks.
        pooling: ``"own"`` is the input of the classifier's last layers; or see :func:`~mmcl.encoders.base.pool`.
        download: download the weights of a tag.

    Raises:
        ConfigError: if the network or tag is unknown, or the network is of an unsupported type.
        MissingDataError: if the weights are not on this machine.
        DataError: if the weights cannot be read, or do not fit the network.
    """
    known = models.list_models(module=models)
    if name not in known:
        raise ConfigError(
            f"torchvision has no classifier '{name}'{nearest(name, known)}, expected one of its {len(known)} models: "
            "see torchvision.models.list_models()"
        )
    values, chosen = _weights(name, weights, download)
    network = models.get_model(name, weights=None)
    tower = _tower(name, network)
    if values is not None:
        load_weights(network, values, f"torchvision:{name}")
    return ImageTower(
        tower,
        _images(chosen),
        name=f"torchvision:{name}",
        frozen=is_frozen(frozen, weights is not None, tune_from),
        tune_from=tune_from,
        pooling=pooling,
    )


def _weights(
    name: str, weights: str | Path | None, download: bool
) -> tuple[dict[str, Tensor] | None, models.WeightsEnum | None]:
    """Return the weights of a network, or None for random ones, and the pretrained weights that define its images."""
    available = models.get_model_weights(name)
    tags = list(available.__members__)
    default = available["DEFAULT"] if "DEFAULT" in tags else None
    if weights is None:
        return None, default
    file = local_path(weights)
    if file is not None and file.is_file():
        return read_weights(file), default
    tag = str(weights).rpartition(".")[2]
    if tag not in tags:
        raise ConfigError(
            f"weights is '{weights}', which is neither a file nor a tag of 'torchvision:{name}'"
            f"{nearest(tag, tags)}, expected one of {', '.join(tags)}"
        )
    return linked_weights(available[tag].url, f"torchvision:{name} {tag}", download=download), available[tag]


def _images(weights: models.WeightsEnum | None) -> ImageInput:
    """Return the evaluation transform of pretrained weights."""
    if weights is None:
        return ImageInput((224, 224), mean=_MEAN, std=_STD, interpolation="bilinear", scale=(256, 256))
    transform = weights.transforms()
    (crop,), (resized,) = transform.crop_size, transform.resize_size
    return ImageInput(
        (crop, crop),
        mean=transform.mean,
        std=transform.std,
        interpolation=transform.interpolation.value,
        scale=(resized, resized),
    )


def _tower(name: str, network: nn.Module) -> LayeredTower:
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


class _ResNetTower(LayeredTower):
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


class _TransformerTower(LayeredTower):
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


class _StagedTower(LayeredTower):
    """Stages in ``features``, then the mean over positions."""

    def __init__(self, network: models.ConvNeXt) -> None:
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
