import subprocess
import sys

import pytest
import torch

from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError, MissingDataError


def test_every_name(weights_dir, monkeypatch):
    built = [
        build_encoder("audio", "cnn", dim=32),
        build_encoder("audio", "conformer", dim=32, layers=1),
        build_encoder("text", "words", dim=32),
        build_encoder("image", "cnn", dim=32),
        build_encoder("audio", weights_dir / "whisper-base-encoder"),
        build_encoder("text", str(weights_dir / "all-MiniLM-L6-v2")),
    ]
    assert [encoder.modality for encoder in built] == ["audio", "audio", "text", "image", "audio", "text"]
    assert [encoder.frozen for encoder in built] == [False] * 4 + [True] * 2
    assert [encoder.dim for encoder in built] == [32, 32, 32, 32, 512, 384]
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
        (
            ("adio", "cnn"),
            {},
            r"unknown modality 'adio' \(did you mean 'audio'\?\), expected one of audio, image, tabular, text",
        ),
        (("video", "cnn"), {}, "unknown modality 'video', expected one of audio, image, tabular, text"),
        (
            ("image", "resnet18"),
            {},
            "unknown image encoder 'resnet18', expected one of cnn, open_clip:..., timm:..., torch",
        ),
        (
            ("audio", "confromer"),
            {},
            r"unknown audio encoder 'confromer' \(did you mean 'conformer'\?\), expected one of cnn, conformer",
        ),
        (
            ("text", "cnn"),
            {},
            "unknown text encoder 'cnn', expected one of words, open_clip:..., a folder, or \"owner/model\"",
        ),
        (
            ("image", "tim:resnet18"),
            {},
            r"unknown library 'tim' of image encoder 'tim:resnet18' \(did you mean 'timm'\?\), expected one of open",
        ),
        (("audio", "timm:resnet18"), {}, "unknown library 'timm' .* expected one of speechbrain, torchaudio"),
        (
            ("audio", "speechbrain:ecpa"),
            {},
            r"unknown model 'ecpa' .*did you mean 'ecapa'\?\), expected one of ecapa, wav",
        ),
        (("image", "cnn"), {"pooling": "own"}, "unknown pooling 'own', expected one of max, mean, mean_max"),
        (("image", "cnn"), {"tune_from": 0}, "'cnn' is trained from scratch"),
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


def test_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.delitem(sys.modules, "mmcl.encoders.open_clip_towers", raising=False)
    monkeypatch.setitem(sys.modules, "open_clip.transformer", None)
    message = "'open_clip:ViT-B-32' needs open_clip, which is not installed: pip install open_clip_torch"
    with pytest.raises(ConfigError, match=message):
        build_encoder("image", "open_clip:ViT-B-32")


def test_libraries_are_loaded_when_they_are_needed():
    heavy = {"open_clip", "timm", "torchvision", "torchaudio", "speechbrain", "transformers"}
    code = (
        "import sys; from mmcl.encoders import build_encoder; build_encoder('text', 'words'); "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_pooling_is_the_networks_own_where_it_has_one():
    assert build_encoder("image", "timm:test_vit").pooling == "own"
    assert build_encoder("image", "timm:test_vit", pooling="mean_max").pooled_dim == 128
    assert build_encoder("image", "cnn").pooling == build_encoder("audio", "cnn").pooling == "mean"
