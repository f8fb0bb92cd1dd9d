import pytest
import torch

from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError, MissingDataError


def test_every_name(weights_dir, monkeypatch):
    built = [
        build_encoder("audio", "cnn", dim=32),
        build_encoder("audio", "conformer", dim=32, layers=1),
        build_encoder("text", "words", dim=32),
        build_encoder("audio", weights_dir / "whisper-base-encoder"),
        build_encoder("text", str(weights_dir / "all-MiniLM-L6-v2")),
    ]
    assert [encoder.modality for encoder in built] == ["audio", "audio", "text", "audio", "text"]
    assert [encoder.frozen for encoder in built] == [False, False, False, True, True]
    assert [encoder.dim for encoder in built] == [32, 32, 32, 512, 384]
    monkeypatch.chdir(weights_dir)
    assert build_encoder("text", "all-MiniLM-L6-v2", pooling="cls").pooling == "cls", "a folder without a slash"


def test_frozen_from_scratch_is_constant():
    encoder = build_encoder("audio", "cnn", dim=32, frozen=True, pooling="mean_max")
    assert encoder.frozen and not encoder.train().training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_not_frozen_is_tuned_from_the_first_layer(weights_dir):
    encoder = build_encoder("audio", weights_dir / "whisper-base-encoder", frozen=False)
    trained = [name for name, parameter in encoder.named_parameters() if parameter.requires_grad]
    assert encoder.tune_from == 0 and any("layers.0." in name for name in trained)
    assert not any("conv" in name for name in trained)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("adio", "cnn"), {}, r"unknown modality 'adio' \(did you mean 'audio'\?\), expected one of audio, text"),
        (("image", "resnet"), {}, "unknown modality 'image', expected one of audio, text"),
        (
            ("audio", "confromer"),
            {},
            r"unknown audio encoder 'confromer' \(did you mean 'conformer'\?\), expected one of cnn, conformer",
        ),
        (("text", "cnn"), {}, "unknown text encoder 'cnn', expected one of words, a folder, or \"owner/model\""),
        (("audio", "cnn"), {"pooling": "mean-max"}, r"unknown pooling 'mean-max' \(did you mean 'mean_max'\?\)"),
        (("audio", "cnn"), {"pooling": "cls"}, "unknown pooling 'cls', expected one of max, mean, mean_max"),
        (
            ("audio", "cnn"),
            {"dims": 3},
            r"unknown option 'dims' of 'cnn' \(did you mean 'dim'\?\), expected one of blocks",
        ),
        (("audio", "cnn"), {"tune_from": 1}, "'cnn' is trained from scratch and has no pretrained layers"),
        (("audio", "a/b"), {"frozen": True, "tune_from": 1}, "frozen=True and tune_from=1 of 'a/b' contradict"),
        (("audio", "a/b"), {"dim": 3}, "unknown option 'dim' of 'a/b', expected one of download"),
    ],
)
def test_what_cannot_be_built_is_named(arguments, options, message):
    with pytest.raises(ConfigError, match=message):
        build_encoder(*arguments, **options)


def test_a_folder_that_is_not_there():
    with pytest.raises(MissingDataError, match="there is no folder './nothing/here'"):
        build_encoder("audio", "./nothing/here")


def test_gradients_reach_a_projection_of_frozen_features(weights_dir):
    encoder = build_encoder("text", weights_dir / "all-MiniLM-L6-v2")
    projection = torch.nn.Linear(encoder.pooled_dim, 4)
    projection(encoder(["turn on the lights"]).pooled).sum().backward()
    assert projection.weight.grad is not None
