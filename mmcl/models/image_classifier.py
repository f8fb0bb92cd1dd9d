"""ImageClassifier: the image networks of LAF, a small CNN and ResNet-18."""

from __future__ import annotations

from torch import Tensor, nn

from mmcl.arguments import takes_tensors
from mmcl.batch import Batch
from mmcl.encoders.image_input import checked_images
from mmcl.errors import ConfigError
from mmcl.models.classifier import Classified
from mmcl.text.suggest import nearest

BACKBONES = ("cnn", "resnet18")


class ImageClassifier(nn.Module):
    """Classify images with the networks of LAF (Shen et al., arXiv 2404.00506), untrained.

    * ``cnn``, for grayscale images of 28 x 28: two blocks of a 5 x 5 convolution, ReLU and max pooling with 16 and 32
      channels, then a linear layer to the representation of 256 dimensions. The classifier is
      ``Linear(256, 128), Linear(128, classes)``.
    * ``resnet18``: the ResNet-18 of torchvision, with ``Linear(512, 256)`` as last layer, the representation. The
      classifier is ``Linear(256, classes)``. Differs from the paper: images keep their size and are not normalized.

    Args:
        classes: number of classes.
        backbone: ``"cnn"`` or ``"resnet18"``.
        channels: number of image channels.

    Attributes:
        names: class names by label if the model was loaded, else empty.
        size: height and width of the images that it was trained on if it was loaded, in pixels.

    Raises:
        ConfigError: unknown backbone, or invalid sizes.

    >>> import torch
    >>> made = ImageClassifier()(Batch(image=torch.rand(2, 1, 28, 28)))
    >>> made.logits.shape, made.embedding.shape
    (torch.Size([2, 10]), torch.Size([2, 256]))
    """

    names: tuple[str, ...] = ()
    size: int = 28

    def __init__(self, classes: int = 10, backbone: str = "cnn", channels: int = 1) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ConfigError(
                f"backbone is '{backbone}'{nearest(backbone, BACKBONES)}, expected one of {', '.join(BACKBONES)}"
            )
        if classes < 2 or channels < 1:
            raise ConfigError(f"classes={classes}, channels={channels}: expected at least 2 classes and 1 channel")
        self.backbone, self.channels, self.labels = backbone, channels, classes
        if backbone == "cnn":
            self.extractor: nn.Module = nn.Sequential(
                nn.Conv2d(channels, 16, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(16, 32, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(1568, 256),
            )
            self.head: nn.Module = nn.Sequential(nn.Linear(256, 128), nn.Linear(128, classes))
            return
        from torchvision.models import resnet18

        self.extractor = resnet18(num_classes=256)
        if channels != 3:
            self.extractor.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.head = nn.Linear(256, classes)

    @takes_tensors
    def embed(self, batch: Batch) -> Tensor:
        """Return representations ``(batch, 256)``."""
        return self.extractor(checked_images(batch["image"], self.channels))

    @takes_tensors
    def forward(self, batch: Batch) -> Classified:
        """Return logits ``(batch, classes)`` and representations ``(batch, 256)``."""
        representation = self.embed(batch)
        return Classified(self.head(representation), representation)
