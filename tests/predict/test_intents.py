import json
import re
from io import StringIO

import numpy as np
import pytest
import soundfile
import torch

from mmcl.encoders import build_encoder
from mmcl.errors import AudioError, ConfigError, MissingDataError
from mmcl.metrics.zero_shot import class_embeddings
from mmcl.models import TwoTower
from mmcl.predict import Prediction, predict, predictions_table, read_intents, written_intents


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16)).eval()


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "tone.wav"
    soundfile.write(path, torch.sin(torch.arange(9000) / 8).numpy() * 0.3, 16000)
    return path


def test_predictions_are_sorted_by_similarity_to_the_mean_direction(model, recording):
    intents = {"on": ["lights on", "lamp on please"], "music": ["play a song"], "off": ["lights off"]}
    found = predict(model, recording, intents)
    from mmcl.batch import Batch, collate
    from mmcl.data.audio import load_audio

    with torch.no_grad():
        texts = [text for each in intents.values() for text in each]
        classes = class_embeddings(model.second(Batch(text=texts)), [2, 1, 1])
        speech = model.first(collate([{"audio": load_audio(recording)}]))
    cosines = torch.cosine_similarity(speech, classes)
    assert {each.intent: each.cosine for each in found} == pytest.approx(
        dict(zip(intents, cosines.tolist(), strict=True)), abs=1e-6
    )
    assert [each.cosine for each in found] == sorted((each.cosine for each in found), reverse=True)
    assert sum(each.share for each in found) == pytest.approx(1.0)


def test_silent_recording_raises(model, recording, tmp_path):
    for name, waveform in (("silent", torch.zeros(9000, 2)), ("offset", torch.full((9000, 1), 0.5))):
        soundfile.write(tmp_path / f"{name}.wav", waveform.numpy(), 16000)
        with pytest.raises(AudioError, match=rf"{name}\.wav is silent, its loudest sample is "):
            predict(model, tmp_path / f"{name}.wav", {"one": ["one"], "two": ["two"]})


def test_cancelling_channels_are_decoded(model, recording, tmp_path, caplog):
    waveform, rate = soundfile.read(recording, dtype="int16")
    soundfile.write(tmp_path / "anti.wav", np.stack([waveform, -waveform], 1), rate)
    intents = {"one": ["one"], "two": ["two"]}
    assert predict(model, tmp_path / "anti.wav", intents) == predict(model, recording, intents)
    assert "anti.wav has channels that cancel one another" in caplog.text


def test_predicts_images(tmp_path):
    from torchvision.io import write_png

    write_png(torch.randint(0, 256, (3, 40, 30), dtype=torch.uint8), str(tmp_path / "1.png"))
    towers = TwoTower(build_encoder("image", "cnn", channels=3, dim=16), build_encoder("text", "words", dim=16)).eval()
    assert {each.intent for each in predict(towers, tmp_path / "1.png", {"one": ["one"], "two": ["two"]})} == {
        "one",
        "two",
    }


def test_grey_images_match_training(tmp_path, data_dir):
    from torchvision.io import write_png

    from mmcl.data import Mnist

    image = Mnist(data_dir / "MNIST", "test")[0]["image"]
    write_png((255 * image).byte(), str(tmp_path / "7.png"))
    towers = TwoTower(build_encoder("image", "cnn", size=28, dim=16), build_encoder("text", "words", dim=16)).eval()
    found = predict(towers, tmp_path / "7.png", {word: [word] for word in ("seven", "two")})
    with torch.no_grad():
        named = torch.cosine_similarity(
            towers.first({"image": image[None]}), towers.second({"text": [each.intent for each in found]})
        )
    assert [each.cosine for each in found] == pytest.approx(named.tolist(), abs=0.02)


def test_invalid_files_and_intents_raise(model, recording, tmp_path):
    (tmp_path / "empty.wav").touch()
    for file, intents, error in (
        (tmp_path / "empty.wav", {"a": ["a"]}, AudioError),
        (tmp_path / "nothing.wav", {"a": ["a"]}, MissingDataError),
        (recording, {}, ConfigError),
        (recording, {"a": ["x"], "b": ["x"]}, ConfigError),
    ):
        with pytest.raises(error):
            predict(model, file, intents)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (["on", "off"], {"on": ["on"], "off": ["off"]}),
        ({"on": "lights on", "off": ["lights off", "off"]}, {"on": ["lights on"], "off": ["lights off", "off"]}),
    ],
)
def test_intents_are_read(content, found, tmp_path):
    (tmp_path / "intents.json").write_text(json.dumps(content))
    assert read_intents(tmp_path / "intents.json") == found


@pytest.mark.parametrize("content", ["[1]", '"on"', '{"on": 3}', '{"on": ["a", 1]}', "[", ""])
def test_malformed_intent_files_raise(content, tmp_path):
    (tmp_path / "intents.json").write_text(content)
    with pytest.raises(ConfigError, match=r"intents\.json"):
        read_intents(tmp_path / "intents.json")


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (" turn  on\n\n off ", {"turn on": ["turn on"], "off": ["off"]}),
        ("on: lights on |  lamp on\noff", {"on": ["lights on", "lamp on"], "off": ["off"]}),
        ("an alarm at 7:30 | wake me", {"an alarm at 7:30": ["an alarm at 7:30", "wake me"]}),
        ("on: on | ON", {"on": ["on", "ON"]}),
        ("a: b: c", {"a": ["b: c"]}),
    ],
)
def test_intents_are_parsed_one_per_line(written, found):
    assert written_intents(written) == found


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "0 intents"),
        (" \n\t", "0 intents"),
        ("on\nOn", "intent 'on' is there twice"),
        ("on\noff\non", "intent 'on' is there twice"),
        ("on: a\noff: b | A", "'A' belongs to 'on' and to 'off'"),
        ("on\nlamp: on", "'on' belongs to 'on' and to 'lamp'"),
        ("on:", "'on:' has no name or no words"),
        (": on", "': on' has no name"),
        ("on | | off", "has no name or no words"),
    ],
)
def test_ambiguous_intents_raise(written, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        written_intents(written)


def test_table_has_a_bar_per_prediction():
    from rich.console import Console

    console = Console(width=80, record=True, file=StringIO())
    console.print(predictions_table([Prediction("on", 0.5, 0.9), Prediction("off", 0.1, 0.1)]))
    lines = console.export_text().splitlines()
    assert lines[1].count("█") == 27 and lines[2].count("█") == 3 and "90 %" in lines[1]
