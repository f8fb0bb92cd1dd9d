import pytest
import torch

from mmcl.config.tasks import load_task
from mmcl.data import open_dataset
from mmcl.encoders.fused_views import FusedViews
from mmcl.encoders.views import CachedViews
from mmcl.errors import ConfigError
from mmcl.sections.modalities import labelled, views_of


class Samples:
    """Samples with the given entries; texts are names of classes unless others are given."""

    classes, labels = ("on", "off"), [0, 1, 1]

    def __init__(self, *names, texts=("on", "off", "off"), modalities=None):
        self.names, self.texts = names, list(texts)
        if modalities:
            self.modalities = modalities
            self.features = {view: 2 for view, modality in modalities.items() if modality == "tabular"}

    def __len__(self):
        return 3

    def __getitem__(self, row):
        values = {"audio": torch.ones(1600), "image": torch.rand(1, 8, 8), "numbers": torch.tensor([row, 1.0])}
        about = {"text": self.texts[row], "label": self.labels[row]}
        return about | {name: values[name] for name in self.names}


SAID = ("turn it on", "turn it off", "off please")
IMAGES, TEXTS, SPEECH = Samples("image"), Samples(texts=SAID), Samples("audio", texts=SAID)
BOTH = Samples("image", "numbers", modalities={"image": "image", "numbers": "tabular"})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path))


@pytest.fixture
def config():
    """Function that makes a config."""
    return load_task("class_incremental").Config


def names(config, data):
    return {view: (each.modality, each.name) for view, each in config.sections(data).items()}


def test_encoders_follow_the_data(config):
    assert names(config(), IMAGES) == {"image": ("image", "cnn")}
    assert names(config(), TEXTS) == {"text": ("text", "words")}
    assert names(config(), SPEECH) == {"audio": ("audio", "cnn")}  # its texts are transcripts
    assert names(config(encoder={"modality": "text"}), SPEECH) == {"text": ("text", "words")}
    assert names(config(), BOTH) == {"image": ("image", "cnn"), "numbers": ("tabular", "mlp")}
    assert names(config(encoder={"modality": "tabular"}), BOTH) == {"numbers": ("tabular", "mlp")}


def test_sizes_of_images_and_numbers_come_from_the_data(config):
    assert config().build_encoder(IMAGES).size == 8
    both = config(dim=4).build_encoder(BOTH)
    assert isinstance(both, FusedViews) and both.encoders["numbers"].features == 2 and both.pooled_dim == 8
    again = config(dim=4).build_encoder(BOTH, {"image": both.encoders["image"]})
    assert again.encoders["image"] is both.encoders["image"] is not None
    assert again.encoders["numbers"] is not both.encoders["numbers"]


def test_texts_are_names_of_classes_or_those_of_samples(config):
    encoder = config().build_encoder(TEXTS)
    assert config().cached(TEXTS, encoder).texts == ["on", "off", "off"]
    assert config(texts="sample").cached(TEXTS, encoder).texts == list(SAID)
    cached = config().cached(BOTH, config().build_encoder(BOTH))
    assert isinstance(cached, CachedViews) and cached.batch(torch.tensor([1]))["text"] == ["off"]


@pytest.mark.parametrize(
    ("data", "settings", "match"),
    [
        (IMAGES, {"encoder": {"modality": "audio"}}, "audio.*image.*encoder.modality=image"),
        (IMAGES, {"encoder": {"modality": "text"}}, "text.*image"),
        (Samples(), {}, "inputs.*none"),
        (TEXTS, {"views": {"image": {"modality": "image"}}}, "image.*text"),
        (BOTH, {"encoder": {"name": "cnn"}}, "encoder.name.*encoder.modality"),
        (BOTH, {"views": {"numbers": {"modality": "image"}}}, "numbers.*image.*tabular"),
    ],
)
def test_encoders_of_other_modalities_raise(data, settings, match, config):
    with pytest.raises(ConfigError, match=match):
        config(**settings).sections(data)


def test_closed_forms_need_frozen_encoders_and_an_untrained_fusion(config):
    views = {"image": {"modality": "image", "frozen": True}, "numbers": {"modality": "tabular", "name": "mlp"}}
    for settings, match in (
        ({}, "encoder.frozen"),
        ({"views": views}, "views.numbers.frozen"),
        ({"views": {"image": views["image"]}, "dim": 4}, "dim"),
    ):
        given = config(strategy="slda", **settings)
        assert given.trains_encoder()
        with pytest.raises(ConfigError, match=match):
            given.check_frozen(is_trained=True)
    assert not config(views={"image": views["image"]}).trains_encoder()


def test_exercises_become_texts_with_labels(data_dir):
    data = labelled(open_dataset("slurp_text", "valid", size=40))
    assert views_of(data) == {"text": "text"} and len(data.labels) == 40 and labelled(data) is data
