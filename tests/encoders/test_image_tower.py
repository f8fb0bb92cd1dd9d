import pytest
import torch
from torch import nn

from mmcl.encoders.image_input import ImageInput
from mmcl.encoders.image_tower import ImageTower, LayeredTower
from mmcl.errors import ConfigError, ShapeError
from mmcl.freeze import frozen_copy

PREPARE = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


class Small(LayeredTower):
    """Perceptron with three layers, on maps or tokens, and a bare parameter in its front."""

    def __init__(self, maps, layers=3):
        super().__init__()
        self.maps = maps
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.BatchNorm2d(6))
        self.shift = nn.Parameter(torch.randn(6, 1, 1))
        kind = (lambda: nn.Conv2d(6, 6, 1)) if maps else (lambda: nn.Linear(6, 6))
        self.layers = nn.ModuleList(nn.Sequential(kind(), nn.Tanh()) for _ in range(layers))
        self.head = nn.Linear(6, 5)
        self.front_parts = (self.stem, self.shift)
        self.dim, self.own_dim = 6, 5

    def front(self, images):
        hidden = self.stem(images) + self.shift
        return hidden if self.maps else hidden.flatten(2).transpose(1, 2)

    def end(self, hidden):
        sequence = hidden.flatten(2).transpose(1, 2) if self.maps else hidden
        return sequence, self.head(sequence.mean(1))


def make(maps=True, layers=3, **options):
    torch.manual_seed(0)
    return ImageTower(
        Small(maps, layers), ImageInput((16, 24), **PREPARE), name="small", **{"frozen": False, **options}
    )


@pytest.mark.parametrize("maps", [True, False])
def test_tower(maps, images, check_tower):
    encoder, encoded = check_tower(lambda **options: make(maps, **options), [0, 1, 2])
    assert encoded.sequence.shape == (4, 24, 6) and encoder.pooled_dim == 5
    assert make(maps, frozen=True, pooling="mean_max").pooled_dim == 12


def test_shapes_of_cached_features(images):
    whole, tuned, frozen = make(), make(tune_from=1), make(frozen=True)
    assert whole.frozen_features(images)[0].shape == (4, 16, 24 * 3), "rows of pixels"
    assert tuned.frozen_features(images)[0].shape == (4, 4, 6 * 6), "rows of maps"
    assert make(False, tune_from=1).frozen_features(images)[0].shape == (4, 24, 6), "tokens"
    assert frozen.frozen_features(images)[1].tolist() == [4] * 4


def test_statistics_of_frozen_parts_do_not_change(images):
    for encoder, moves in ((make(frozen=True), False), (make(tune_from=0), False), (make(), True)):
        before = encoder.tower.stem[1].running_mean.clone()
        encoder.train()(images)
        assert torch.equal(encoder.tower.stem[1].running_mean, before) != moves


def test_building_does_not_change_the_network():
    torch.manual_seed(0)
    tower = Small(True)
    state = {key: value.clone() for key, value in tower.state_dict().items()}
    ImageTower(tower, ImageInput((16, 24), **PREPARE), name="small", frozen=False, tune_from=1)
    assert all(torch.equal(value, state[key]) for key, value in tower.state_dict().items())


def test_a_copy_is_independent(images):
    encoder = make(tune_from=1)
    copied = frozen_copy(encoder).eval()
    expected = copied(images).pooled.clone()
    encoder.tower.layers[1][0].bias.data += 1
    assert torch.equal(copied(images).pooled, expected)
    assert not torch.equal(encoder.eval()(images).pooled, expected)


def test_the_end_is_trained_with_the_layers():
    trained = {name for name, parameter in make(tune_from=2).named_parameters() if parameter.requires_grad}
    assert {name.rpartition(".")[0] for name in trained} == {"tower.layers.2.0", "tower.head"}


@pytest.mark.parametrize(
    ("layers", "tune_from", "message"),
    [
        (3, 3, "tune_from is 3.*'small'.* 0 to 2"),
        (3, -1, "tune_from is -1.*'small'"),
        (0, 0, "tune_from is 0.*'small'.*frozen=True"),
    ],
)
def test_a_missing_layer_raises(layers, tune_from, message):
    with pytest.raises(ConfigError, match=message):
        make(layers=layers, tune_from=tune_from)


def test_invalid_images_raise():
    with pytest.raises(ShapeError, match=r"float32.*\(3, 16, 24\)"):
        make()(torch.zeros(3, 16, 24))
