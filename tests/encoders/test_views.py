import pytest
import torch

from mmcl.data import SpokenWrittenDigits
from mmcl.encoders import build_encoder
from mmcl.encoders.views import CachedViews
from mmcl.errors import ConfigError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path))


class Samples:
    classes, labels, texts = ("a", "b"), [0, 1, 1], ["one", "two three", "two"]
    modalities = {"image": "image", "text": "text", "age": "tabular"}
    features = {"age": 2}

    def __init__(self):
        torch.manual_seed(0)
        self.images = torch.rand(3, 1, 8, 8)

    def __len__(self):
        return 3

    def __getitem__(self, row):
        about = {"label": self.labels[row], "text": self.texts[row]}
        return {"image": self.images[row], "age": torch.tensor([row, 2.0 * row]), **about}


def encoders():
    return {
        "image": build_encoder("image", "cnn", dim=8),
        "text": build_encoder("text", "words", dim=8),
        "age": build_encoder("tabular", "mlp", features=2),
    }


def test_a_batch_has_the_features_of_each_view():
    built = encoders()
    views = CachedViews(Samples(), built, progress=False)
    rows = torch.tensor([2, 0])
    batch = views.batch(rows)
    for view, inputs in (("image", Samples().images[rows]), ("text", ["two", "one"])):
        features, lengths = built[view].frozen_features(inputs)
        torch.testing.assert_close(
            batch[f"{view}_features"], features.to(batch[f"{view}_features"].dtype), atol=1e-3, rtol=0
        )
        assert torch.equal(batch[f"{view}_features_lengths"], lengths)
    assert batch["age"].tolist() == [[2.0, 4.0], [0.0, 0.0]]
    assert batch["label"].tolist() == [1, 0] and batch["text"] == ["two", "one"]
    assert views.vectors("age").shape == (3, 2) and views.features == {"age": 2}
    sample = views[-1]
    assert sample["label"] == 1 and sample["age"].tolist() == [2.0, 4.0] and sample["image_features"].shape == (8, 8)


def test_real_speech_and_images(data_dir):
    data = SpokenWrittenDigits(data_dir / "fsdd", "test", snr=10.0)
    built = {"audio": build_encoder("audio", "cnn", dim=8), "image": build_encoder("image", "cnn", dim=8)}
    batch = CachedViews(data, built, progress=False).batch(torch.tensor([5, 250]))
    frames, lengths = built["audio"].frozen_features(data[250]["audio"][None])
    assert batch["audio_features_lengths"][1] == lengths[0]
    torch.testing.assert_close(batch["audio_features"][1, : lengths[0]], frames[0], atol=5e-3, rtol=0)


def test_an_encoder_of_another_modality_raises():
    built = {**encoders(), "image": build_encoder("audio", "cnn")}
    with pytest.raises(ConfigError, match=r"image .*audio.*image \(image\)"):
        CachedViews(Samples(), built)


def test_pooled_features_have_no_lengths_and_attributes_are_kept():
    data = Samples()
    data.speakers = ["ann", "ben", "ann"]
    frozen = {"image": build_encoder("image", "cnn", dim=8, frozen=True)}
    views = CachedViews(data, frozen, keep="auto", progress=False)
    batch = views.batch(torch.tensor([1]))
    assert batch["image_features"].shape == (1, 8) and "image_features_lengths" not in batch
    assert views.speakers == data.speakers and views.superclasses == ()
