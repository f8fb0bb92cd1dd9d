import pytest
import torch

from mmcl.data import open_dataset
from mmcl.data.modalities import check_modality, image_shape, modalities_of
from mmcl.encoders import build_encoder, cached_features
from mmcl.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "found"),
    [("fsdd", {"audio", "text"}), ("mnist", {"image", "text"}), ("svamp", {"text"}), ("rosmap", {"tabular"})],
)
def test_modalities_of_data_sets(data_dir, name, found):
    assert set(modalities_of(open_dataset(name, "test"))) == found


def test_the_error_names_the_setting(data_dir, tmp_path):
    digits = open_dataset("mnist", "test", size=2)
    with pytest.raises(ConfigError, match="data.name=mnist has images.*need recordings.*or set model=cnn"):
        check_modality(digits, "audio", "data.name=mnist", "set model=cnn")
    with pytest.raises(ConfigError, match="for audio, but samples have .*image"):
        cached_features(digits, build_encoder("audio", "cnn", dim=8), tmp_path)


def test_the_shape_of_images_is_stated_or_that_of_the_first():
    class Data(list):
        texts, labels = ["a"], [0]

    assert image_shape(Data([{"image": torch.zeros(3, 8, 9)}])) == (3, 8, 9)
    assert image_shape(Data([{"audio": torch.zeros(5)}])) is None and image_shape(Data()) is None
    stated = Data()
    stated.image_shape = (1, 2, 3)
    assert image_shape(stated) == (1, 2, 3)
