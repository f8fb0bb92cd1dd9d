import os
import shutil
import subprocess
import sys
from hashlib import blake2b

import numpy as np
import pytest
import soundfile
import torch

from mmcl.batch import collate
from mmcl.data.audio import load_audio
from mmcl.data.speech.spoken_digits import SpokenDigits
from mmcl.encoders import build_encoder, cached_features
from mmcl.encoders.cache import _file_key, default_folder
from mmcl.errors import AudioError, ConfigError, DataError, MissingDataError
from mmcl.precision import resolved


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return build_encoder("audio", "cnn", dim=32, pooling="mean_max", frozen=True)


def counted(encoder, monkeypatch):
    """Return a list that collects the batch sizes of the encoder's front-end."""
    calls = []
    forward = encoder.front_end.forward
    monkeypatch.setattr(
        encoder.front_end, "forward", lambda audio, lengths: (calls.append(len(audio)), forward(audio, lengths))[1]
    )
    return calls


def features(dataset, encoder, **options):
    return cached_features(dataset, encoder, progress=False, **options)


def everything(dataset):
    return dataset.batch(torch.arange(len(dataset)))


def test_pooled_features_equal_the_encoder(spoken, encoder):
    kept = features(spoken, encoder, batch_size=2)
    for row in range(len(spoken)):
        pooled = encoder(spoken[row]["audio"][None]).pooled[0]
        assert (kept[row]["features"] - pooled).abs().max() < 1e-5
        assert (kept[row]["id"], kept[row]["label"]) == (spoken.utterances[row].id, spoken.labels[row])
        assert kept[row]["text"] == spoken.texts[row]
    assert everything(kept)["features"].shape == (5, encoder.pooled_dim) and "features_lengths" not in everything(kept)


@pytest.mark.parametrize(("half", "tolerance"), [(True, 4e-3), (False, 1e-5)])
def test_sequences_equal_frozen_features(spoken, half, tolerance):
    encoder = build_encoder("audio", "cnn", dim=32).train()
    batch = everything(features(spoken, encoder, half=half))
    audio = collate([{"audio": spoken[row]["audio"]} for row in range(len(spoken))])
    frames, lengths = encoder.frozen_features(audio["audio"], audio["audio_lengths"])
    assert torch.equal(batch["features_lengths"], lengths) and batch["features"].dtype == torch.float32
    assert (batch["features"] - frames).abs().max() < tolerance
    assert encoder.training, "the mode is restored"


def test_the_second_call_computes_nothing(spoken, encoder, monkeypatch, caplog):
    caplog.set_level("INFO", "mmcl.encoders.cache")
    first = everything(features(spoken, encoder))
    calls, decoded = counted(encoder, monkeypatch), spoken.decoded
    second = everything(features(spoken, encoder))
    assert torch.equal(first["features"], second["features"])
    assert calls == [] and spoken.decoded == decoded
    assert [record.getMessage().split(" are in")[0] for record in caplog.records] == [
        "features of 0 of 5 samples",
        "features of 5 of 5 samples",
    ]


def test_weights_pooling_and_form_are_part_of_the_key(spoken, encoder, folder):
    features(spoken, encoder)
    encoder.network.subsampling.first.linear.bias.data += 1
    changed = everything(features(spoken, encoder))
    assert (changed["features"] - encoder(spoken[0]["audio"][None]).pooled).abs().amin(1)[0] < 1e-5
    features(spoken, encoder, keep="sequence")
    features(spoken, encoder, keep="sequence", half=False)
    encoder.pooling = "max"
    features(spoken, encoder)
    assert len(list(folder.iterdir())) == 5


def test_features_in_bfloat16_are_close_and_separate(spoken, encoder, folder):
    exact, mixed, auto = (
        everything(features(spoken, encoder, precision=precision))["features"]
        for precision in ("32", "bf16-mixed", "auto")
    )
    assert len(list(folder.iterdir())) == 2  # those of "auto" are one of the others
    assert 0 < (exact - mixed).abs().max() < 0.02 * exact.abs().max()
    assert torch.equal(auto, {"32": exact, "bf16-mixed": mixed}[resolved("auto", torch.device("cpu"))])


def test_a_changed_file_is_encoded_again(digit_paths, encoder, tmp_path, monkeypatch, make_spoken):
    for path in digit_paths:
        shutil.copy(path, tmp_path / path.name)
    dataset = make_spoken([tmp_path / path.name for path in digit_paths])
    before = everything(features(dataset, encoder))["features"]
    shutil.copy(digit_paths[1], dataset.utterances[3].path)
    calls = counted(encoder, monkeypatch)
    after = everything(features(dataset, encoder))["features"]
    assert calls == [], "the new content equals another file, which is cached"
    assert torch.equal(after[3], before[1]) and torch.equal(after[:3], before[:3])
    dataset.utterances[0].path.write_bytes((digit_paths[0].parent / "8_lucas_2.wav").read_bytes())
    fresh = features(dataset, encoder)[0]["features"]
    assert calls == [1]
    assert (fresh - encoder(load_audio(dataset.utterances[0].path)[None]).pooled[0]).abs().max() < 1e-5


def test_files_that_are_decoded_differently_have_new_keys(digit_paths, tmp_path):
    samples, rate = soundfile.read(digit_paths[0])
    stereo = np.stack([samples, samples], 1)
    for name, waveform, subtype, is_plain in (
        ("mono.wav", samples, "PCM_16", True),
        ("mono.flac", samples, "PCM_16", True),
        ("stereo.wav", stereo, "PCM_16", False),
        ("stereo.flac", stereo, "PCM_16", False),
        ("float.wav", samples, "FLOAT", False),
        ("lossy.ogg", samples, "VORBIS", False),
        ("lossy.mp3", samples, "MPEG_LAYER_III", False),
    ):
        soundfile.write(tmp_path / name, waveform, rate, subtype)
        key_before = blake2b((tmp_path / name).read_bytes(), digest_size=16).hexdigest()
        assert (_file_key(tmp_path / name) == key_before) is is_plain, name


def test_file_names_that_are_not_utf_8(digit_paths, encoder, tmp_path, monkeypatch):
    (tmp_path / "recordings").mkdir()
    for path in digit_paths:
        digit, _, number = path.stem.split("_")
        shutil.copy(path, os.fsencode(tmp_path / "recordings") + f"/{digit}_jos".encode() + b"\xe9_%d.wav" % 10)
    dataset = SpokenDigits(tmp_path, "train")
    calls = counted(encoder, monkeypatch)
    kept = [features(dataset, encoder) for _ in range(2)]
    assert sum(calls) == len(dataset)
    assert kept[1][0]["id"].endswith("_jos\\udce9_10")
    assert dataset[0]["speaker"] == "jos\\udce9"
    next(dataset.utterances[0].path.parent.glob("*")).write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"jos\\udce9_10\.wav"):
        features(dataset, encoder)


def test_equal_files_are_encoded_once(digit_paths, encoder, monkeypatch, make_spoken):
    calls = counted(encoder, monkeypatch)
    dataset = make_spoken([digit_paths[0], digit_paths[1], digit_paths[0], digit_paths[0]])
    batch = everything(features(dataset, encoder))
    assert sum(calls) == 2
    assert torch.equal(batch["features"][0], batch["features"][3]) and not batch["features"][0].equal(
        batch["features"][1]
    )


def test_overlapping_data_sets_share_features(digit_paths, encoder, monkeypatch, make_spoken):
    calls = counted(encoder, monkeypatch)
    features(make_spoken(digit_paths[:3]), encoder)
    features(make_spoken(digit_paths[1:]), encoder)
    assert sum(calls) == 5


def test_a_data_set_without_files(digits, encoder, monkeypatch):
    class Waveforms(list):
        classes, labels, texts = ("a",), [0] * 5, [""] * 5

    waveforms = Waveforms({"audio": audio, "label": 0} for audio in digits)
    calls = counted(encoder, monkeypatch)
    kept = features(waveforms, encoder)
    features(waveforms, encoder)
    assert sum(calls) == 5 and kept[2]["id"] == "2"
    assert (kept[2]["features"] - encoder(digits[2][None]).pooled[0]).abs().max() < 1e-5


def test_long_samples_are_encoded_first(digit_paths, encoder, monkeypatch, make_spoken):
    dataset = make_spoken(digit_paths)
    order = []
    monkeypatch.setattr(
        type(dataset), "__getitem__", lambda self, row: order.append(row) or {"audio": load_audio(digit_paths[row])}
    )
    features(dataset, encoder, batch_size=2)
    lengths = [len(load_audio(digit_paths[row])) for row in order]
    assert lengths == sorted(lengths, reverse=True)


def test_texts(encoder):
    class Texts(list):
        classes, labels, texts = ("a",), [0, 0, 0], ["turn on the lights", "lights", "turn on the lights"]

    texts = Texts([{}, {}, {}])
    words = build_encoder("text", "words", dim=8)
    batch = everything(features(texts, words))
    assert batch["features"].dtype == torch.int64, "embedding indices are exact"
    encoded = words.from_features(batch["features"], batch["features_lengths"])
    assert torch.equal(encoded.pooled, words(texts.texts).pooled)
    frozen = build_encoder("text", "words", dim=8, frozen=True)
    assert (everything(features(texts, frozen))["features"] - frozen(texts.texts).pooled).abs().max() < 1e-6


def test_cached_features_train_the_upper_layers_of_whisper(spoken, weights_dir):
    encoder = build_encoder("audio", weights_dir / "whisper-base-encoder", tune_from=5, pooling="mean_max").eval()
    batch = everything(features(spoken, encoder))
    pooled = encoder.from_features(batch["features"], batch["features_lengths"]).pooled
    direct = torch.cat([encoder(spoken[row]["audio"][None]).pooled for row in range(len(spoken))])
    assert batch["features"].shape[2] == 512 and (pooled - direct).abs().max() < 0.05
    pooled.sum().backward()
    assert encoder.model.layers[5].fc1.weight.grad is not None


def test_random_numbers_do_not_depend_on_the_cache(spoken):
    numbers = []
    for _ in range(2):
        torch.manual_seed(3)
        features(spoken, build_encoder("audio", "cnn", dim=32))
        numbers.append(torch.rand(1))
    assert torch.equal(*numbers)


def test_a_damaged_cache_is_repaired(spoken, encoder, folder, monkeypatch):
    expected = everything(features(spoken, encoder))["features"]
    index = next(folder.glob("*/index.jsonl"))
    calls = counted(encoder, monkeypatch)
    index.write_bytes(index.read_bytes()[:-20])
    assert torch.allclose(everything(features(spoken, encoder))["features"], expected, atol=1e-5)
    assert sum(calls) == 1
    index.with_name("features.bin").write_bytes(b"")
    assert torch.allclose(everything(features(spoken, encoder))["features"], expected, atol=1e-5)
    assert sum(calls) == 6


CODE = """
import sys
from pathlib import Path
from mmcl.encoders import build_encoder, cached_features
from mmcl.data.audio import load_audio
from types import SimpleNamespace

class Spoken(list):
    classes = ("a",)

paths = [Path(path) for path in sys.argv[1:]]
dataset = Spoken({"audio": load_audio(path)} for path in paths)
dataset.labels, dataset.texts = [0] * len(paths), [""] * len(paths)
dataset.utterances = [SimpleNamespace(id=path.stem, path=path) for path in paths]
cached_features(dataset, build_encoder("audio", "cnn"), batch_size=1, progress=False)
"""


def test_two_processes_share_a_folder(digit_paths, folder, make_spoken, monkeypatch):
    more = sorted(digit_paths[0].parent.glob("3_*_1*.wav"))[:20]
    sets = [more[:14], more[6:]]
    processes = [subprocess.Popen([sys.executable, "-c", CODE, *map(str, paths)]) for paths in sets]
    assert [process.wait() for process in processes] == [0, 0]
    encoder = build_encoder("audio", "cnn")
    calls = counted(encoder, monkeypatch)
    dataset = make_spoken(more)
    kept = features(dataset, encoder)
    assert calls == [] and len(next(folder.glob("*/index.jsonl")).read_text().splitlines()) == 20
    for row in range(20):
        frames, _ = encoder.frozen_features(dataset[row]["audio"][None])
        assert (kept[row]["features"] - frames[0]).abs().max() < 4e-3


def test_the_default_folder(monkeypatch, tmp_path, spoken, encoder):
    assert default_folder() == tmp_path / "cache" / "features"
    features(spoken, encoder, folder=tmp_path / "elsewhere")
    assert not default_folder().exists() and len(list((tmp_path / "elsewhere").iterdir())) == 1
    monkeypatch.delenv("MMCL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "mmcl" / "features"


def test_the_progress_bar_is_on_stderr(spoken, encoder, capsys):
    cached_features(spoken, encoder)
    output = capsys.readouterr()
    assert output.out == "" and "encoding" in output.err and "100%" in output.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"keep": "pooling"},
            "'pooling'.*'pooled'.* auto, pooled, sequence",
        ),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"keep": "pooled"}, "keep='pooled'.*keep='sequence'"),
    ],
)
def test_invalid_options_raise(spoken, options, message):
    with pytest.raises(ConfigError, match=message):
        features(spoken, build_encoder("audio", "cnn"), **options)


def test_unreadable_files_raise(digit_paths, encoder, tmp_path, make_spoken):
    bad = tmp_path / "0_bad_0.wav"
    with pytest.raises(MissingDataError, match="0_bad_0.wav"):
        features(make_spoken([*digit_paths, bad]), encoder)
    bad.write_bytes(b"")
    with pytest.raises(AudioError, match="0_bad_0.wav"):
        features(make_spoken([*digit_paths, bad]), encoder)
    with pytest.raises(DataError, match="0 samples"):
        features(make_spoken([]), encoder)


def test_features_that_are_not_finite_raise(spoken, encoder, folder):
    encoder.network.subsampling.second.norm.weight.data.fill_(float("inf"))
    with pytest.raises(DataError, match="float32"):
        features(spoken, encoder)
    assert not list(folder.glob("*/features.bin"))


def test_features_too_large_for_float16_raise(spoken, monkeypatch):
    encoder = build_encoder("audio", "cnn")
    forward = encoder.front_end.forward
    monkeypatch.setattr(encoder.front_end, "forward", lambda *inputs: (forward(*inputs)[0] * 1e5, forward(*inputs)[1]))
    with pytest.raises(DataError, match="float16.*half=False"):
        features(spoken, encoder)
    assert features(spoken, encoder, half=False)[0]["features"].abs().max() > 65504


def test_a_full_disk_keeps_stored_features(spoken, encoder, digit_paths, make_spoken, monkeypatch):
    features(make_spoken(digit_paths[:2]), encoder)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmcl.encoders.feature_store._write_all", full)
    with pytest.raises(DataError, match="No space left on device.*MMCL_CACHE"):
        features(spoken, encoder)
    calls = counted(encoder, monkeypatch)
    assert len(features(make_spoken(digit_paths[:2]), encoder)) == 2 and calls == []


def test_mode_and_device_are_restored(spoken):
    encoder = build_encoder("audio", "cnn").train()
    features(spoken, encoder, device="cpu")
    assert encoder.training and next(encoder.parameters()).device == torch.device("cpu")


@pytest.mark.parametrize("frozen", [False, True])
def test_images_of_another_size_are_encoded_again(frozen, pictures, images):
    kept = []
    for size in (32, 28):
        torch.manual_seed(0)
        encoder = build_encoder("image", "cnn", channels=3, size=size, frozen=frozen)
        kept.append(everything(features(pictures, encoder, half=False))["features"])
        direct = encoder.eval()(images).pooled if frozen else encoder.frozen_features(images)[0]
        assert torch.allclose(kept[-1], direct, atol=1e-5)
    assert kept[0].shape != kept[1].shape or not torch.allclose(*kept)


def test_images_of_equal_bytes_and_other_shape_are_encoded_apart():
    class Pictures(list):
        classes, labels, texts = ("a",), [0, 0], ["", ""]

    wide, high = (Pictures([{"image": torch.zeros(shape)}] * 2) for shape in ((1, 4, 8), (1, 8, 4)))
    encoder = build_encoder("image", "cnn")
    shapes = [everything(features(data, encoder))["features"].shape for data in (wide, high)]
    assert shapes == [(2, 4, 8), (2, 8, 4)]
