import subprocess
import sys

import pytest
import torch

from mmcl.encoders import build_encoder
from mmcl.encoders.build import check_encoder
from mmcl.errors import ConfigError, DataError, MissingDataError


def test_all_kinds_of_names(weights_dir, monkeypatch):
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
    assert build_encoder("text", "all-MiniLM-L6-v2", pooling="cls").pooling == "cls", "a folder name without a slash"


def test_a_frozen_encoder_from_scratch_is_constant():
    encoder = build_encoder("audio", "cnn", dim=32, frozen=True, pooling="mean_max")
    assert encoder.frozen and not encoder.train().training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_frozen_false_trains_all_layers(weights_dir):
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
            "'adio'.*'audio'.* audio, image, tabular, text",
        ),
        (("video", "cnn"), {}, "'video'.* audio, image, tabular, text"),
        (
            ("image", "resnet18"),
            {},
            "'resnet18'.* cnn, open_clip:..., timm:..., torch",
        ),
        (
            ("audio", "confromer"),
            {},
            "'confromer'.*'conformer'.* cnn, conformer",
        ),
        (
            ("text", "cnn"),
            {},
            "'cnn'.* words, open_clip:.*\"owner/model\"",
        ),
        (
            ("image", "tim:resnet18"),
            {},
            "'tim'.*'tim:resnet18'.*'timm'.* open_clip",
        ),
        (("audio", "timm:resnet18"), {}, "'timm'.* speechbrain, torchaudio"),
        (
            ("audio", "speechbrain:ecpa"),
            {},
            "'ecpa'.*'ecapa'.* ecapa, wav2vec2",
        ),
        (("image", "cnn"), {"pooling": "own"}, "'own'.* max, mean, mean_max"),
        (("image", "cnn"), {"tune_from": 0}, "'cnn'.*tune_from"),
        (("audio", "cnn"), {"pooling": "mean-max"}, "'mean-max'.*'mean_max'"),
        (("audio", "cnn"), {"pooling": "cls"}, "'cls'.* max, mean, mean_max"),
        (
            ("audio", "cnn"),
            {"dims": 3},
            "'dims'.*'cnn'.*'dim'.* blocks",
        ),
        (("audio", "cnn"), {"tune_from": 1}, "'cnn'.*tune_from"),
        (("audio", "a/b"), {"frozen": True, "tune_from": 1}, "frozen=True.*tune_from=1.*'a/b'"),
        (("audio", "a/b"), {"dim": 3}, "'dim'.*'a/b'.* download"),
    ],
)
def test_invalid_arguments_raise(arguments, options, message):
    with pytest.raises(ConfigError, match=message):
        build_encoder(*arguments, **options)


def test_a_missing_folder_raises():
    with pytest.raises(MissingDataError, match="./nothing/here"):
        build_encoder("audio", "./nothing/here")


def test_gradients_reach_a_projection_of_frozen_features(weights_dir):
    encoder = build_encoder("text", weights_dir / "all-MiniLM-L6-v2")
    projection = torch.nn.Linear(encoder.pooled_dim, 4)
    projection(encoder(["turn on the lights"]).pooled).sum().backward()
    assert projection.weight.grad is not None


def test_a_missing_library_raises(monkeypatch):
    monkeypatch.delitem(sys.modules, "mmcl.encoders.open_clip_towers", raising=False)
    monkeypatch.setitem(sys.modules, "open_clip.transformer", None)
    message = "'open_clip:ViT-B-32'.*pip install open_clip_torch"
    with pytest.raises(ConfigError, match=message):
        build_encoder("image", "open_clip:ViT-B-32")


def test_libraries_are_imported_only_when_needed():
    heavy = {"open_clip", "timm", "torchvision", "torchaudio", "speechbrain", "transformers"}
    code = (
        "import sys; from mmcl.encoders import build_encoder; build_encoder('text', 'words'); "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_own_pooling_is_the_default_if_available():
    assert build_encoder("image", "timm:test_vit").pooling == "own"
    assert build_encoder("image", "timm:test_vit", pooling="mean_max").pooled_dim == 128
    assert build_encoder("image", "cnn").pooling == build_encoder("audio", "cnn").pooling == "mean"


@pytest.mark.parametrize(
    ("modality", "name", "options"),
    [
        ("audio", "openai/whisper-none", {}),
        ("audio", "torchaudio:HUBERT_BASE", {}),
        ("audio", "torchaudio:HUBERT_BASE", {"pretrained": "/nowhere.pt"}),
        ("audio", "speechbrain:ecapa", {"weights": "/nowhere"}),
        ("image", "torchvision:resnet18", {"weights": "IMAGENET1K_V1"}),
        ("text", "/nowhere", {}),
    ],
)
def test_missing_weights_are_found_without_building(modality, name, options, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingDataError):
        check_encoder(modality, name, **options)
    if "nowhere" not in f"{name}{options}":
        check_encoder(modality, name, **options, download=True)  # nothing is downloaded


def test_weights_are_not_read_to_check_an_encoder(small_whisper, tmp_path):
    folder = small_whisper(tmp_path / "whisper")
    (folder / "model.safetensors").write_bytes(b"damaged")
    check_encoder("audio", folder, subsampling=2)
    for modality, options in (("text", {}), ("audio", {"subsampling": 0}), ("audio", {"tune_form": 1})):
        with pytest.raises(ConfigError):
            check_encoder(modality, folder, **options)
    with pytest.raises(DataError):
        build_encoder("audio", folder)
