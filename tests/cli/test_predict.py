"""The command `mmcl predict`; tests/tasks predicts with models trained by a run."""

import json

import pytest
import soundfile
import torch

from mmcl.encoders import build_encoder
from mmcl.models import TwoTower


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    model = TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16), dim=8)
    model.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def recording(tmp_path):
    soundfile.write(tmp_path / "order.wav", torch.sin(torch.arange(9000) / 8).numpy() * 0.3, 16000)
    return tmp_path / "order.wav"


def test_predictions_are_printed(mmcl_, model, recording):
    code, out, err = mmcl_("predict", model, recording, "--intents", "order a latte", "turn on the lights")
    assert (code, err) == (0, "") and "order a latte" in out and "turn on the lights" in out
    _, out, _ = mmcl_("predict", model, recording, "--intents", "order a latte", "turn on the lights", "--json")
    assert {each["intent"] for each in json.loads(out)["predictions"]} == {"order a latte", "turn on the lights"}


def test_intents_and_models_are_checked(mmcl_, model, recording):
    for arguments, word in (([], "--intents"), (["--intents", "on", "off", "--model", "other"], "'other'")):
        code, out, err = mmcl_("predict", model, recording, *arguments)
        assert (code, out) == (2, "") and word in err and err.count("\n") == 1
