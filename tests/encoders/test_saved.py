import pytest
import torch

from mmcl.encoders import build_encoder
from mmcl.encoders.fused_views import FusedViews
from mmcl.encoders.saved import describe_encoder, described_encoders, rebuild_encoder, rebuild_views
from mmcl.errors import CheckpointError, ConfigError, MissingDataError


def test_an_encoder_is_rebuilt_from_its_description():
    described = describe_encoder(build_encoder("audio", "cnn", dim=16, pooling="max"))
    again = rebuild_encoder(described, "here")
    assert (again.dim, again.pooling, again.fingerprint()) == (16, "max", described["fingerprint"])


def test_a_random_frozen_encoder_has_no_fingerprint():
    assert describe_encoder(build_encoder("audio", "cnn", dim=16))["fingerprint"]
    assert describe_encoder(build_encoder("audio", "cnn", dim=16, frozen=True))["fingerprint"] is None
    encoder = build_encoder("audio", "cnn", dim=16)
    encoder.spec = None
    with pytest.raises(CheckpointError, match="build_encoder"):
        describe_encoder(encoder)


def test_pretrained_weights_are_found_by_name_and_compared(weights_dir):
    encoder = build_encoder("text", "sentence-transformers/all-MiniLM-L6-v2")
    described = describe_encoder(encoder)
    assert torch.equal(rebuild_encoder(described, "here")(["on"]).pooled, encoder(["on"]).pooled)
    with pytest.raises(CheckpointError, match="all-MiniLM-L6-v2'.* here "):
        rebuild_encoder({**described, "fingerprint": "another"}, "here")


def test_only_the_caller_enables_downloads(monkeypatch):
    described = {"encoder": {"modality": "audio", "name": "me/nowhere", "download": True}, "fingerprint": None}
    with pytest.raises(MissingDataError, match="me/nowhere.*MMCL_WEIGHTS"):
        rebuild_encoder(described, "here", download=False)
    cnn = {"encoder": {"modality": "audio", "name": "cnn"}, "fingerprint": None}
    assert rebuild_encoder(cnn, "here", download=True).dim == 128  # nothing to download


def test_an_encoder_of_the_caller_needs_the_described_options():
    described = describe_encoder(build_encoder("audio", "cnn", dim=16, pooling="max"))
    own = build_encoder("audio", "cnn", dim=16, pooling="max")
    assert rebuild_encoder(described, "here", encoders=[build_encoder("text", "words"), own]) is own
    for other, message in (({"dim": 16}, "pooling='mean'.*'max'"), ({"pooling": "max"}, "dim=None.* 16")):
        with pytest.raises(CheckpointError, match=message):
            rebuild_encoder(described, "here", encoders=[build_encoder("audio", "cnn", **other)])


@pytest.mark.parametrize(
    ("described", "error"),
    [
        ({}, CheckpointError),
        ({"encoder": None, "fingerprint": None}, CheckpointError),
        ({"encoder": {"modality": "audio", "name": "cnn"}}, CheckpointError),
        ({"encoder": {"modality": "audio", "name": "cnn", "dim": "wide"}, "fingerprint": None}, CheckpointError),
        ({"encoder": {"modality": "audio", "name": "cnn", "size": 3}, "fingerprint": None}, CheckpointError),
        ({"encoder": {"modality": "smell", "name": "cnn"}, "fingerprint": None}, ConfigError),
    ],
)
def test_an_invalid_description_raises(described, error):
    for download in (True, False):
        with pytest.raises(error):
            rebuild_encoder(described, "here", download=download)


def test_encoders_of_views_are_rebuilt_with_their_fusion():
    image, age = build_encoder("image", "cnn", dim=8, frozen=True), build_encoder("tabular", "mlp", features=2)
    described = describe_encoder(FusedViews({"image": image, "age": age}, fusion="gated", dim=4))
    assert list(described["views"]) == ["image", "age"] and described["views"]["image"]["fingerprint"] is None
    again = rebuild_views(described, "here")
    assert isinstance(again, FusedViews) and again.settings == {"fusion": "gated", "dim": 4}
    assert dict(again.views())["age"].features == 2
    assert list(described_encoders(described)) == ["encoder.encoders.image.", "encoder.encoders.age."]
    for change in (
        {"views": [1]},
        {"views": {}},
        {"views": {"a.b": described["views"]["age"]}},
        {"views": {"age": {}}},
        {"fusion": {"dim": 2**40}},
        {"fusion": {"fusion": "sum"}},
        {"fusion": None},
    ):
        with pytest.raises((CheckpointError, ConfigError)):
            rebuild_views({**described, **change}, "here")
