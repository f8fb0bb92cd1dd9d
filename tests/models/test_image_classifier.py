import pytest
import torch

from mmcl.batch import Batch
from mmcl.errors import ConfigError, ShapeError
from mmcl.models import ImageClassifier


def test_the_small_network_has_the_layers_of_the_paper():
    model = ImageClassifier()
    sizes = [tuple(parameter.shape) for name, parameter in model.named_parameters() if name.endswith("weight")]
    assert sizes == [(16, 1, 5, 5), (32, 16, 5, 5), (256, 1568), (128, 256), (10, 128)]
    made = model(Batch(image=torch.rand(3, 1, 28, 28)))
    assert made.logits.shape == (3, 10) and made.embedding.min() < 0  # the representation has no activation


@pytest.mark.parametrize("channels", [1, 3])
def test_resnet_takes_any_number_of_channels(channels):
    model = ImageClassifier(classes=7, backbone="resnet18", channels=channels).eval()
    batch = Batch(image=torch.rand(2, channels, 32, 32))
    made = model(batch)
    assert made.logits.shape == (2, 7) and made.embedding.shape == (2, 256)
    assert torch.equal(made.embedding, model.embed(batch))


def test_grayscale_images_are_repeated_for_a_color_network():
    assert ImageClassifier(backbone="resnet18", channels=3).eval()(Batch(image=torch.rand(1, 1, 32, 32))).logits.shape
    with pytest.raises(ShapeError, match="3 channels"):
        ImageClassifier()(Batch(image=torch.rand(1, 3, 28, 28)))


def test_invalid_arguments_are_an_error():
    with pytest.raises(ConfigError, match="backbone is 'resnet'.*'resnet18'"):
        ImageClassifier(backbone="resnet")
    with pytest.raises(ConfigError, match="classes=1"):
        ImageClassifier(classes=1)
