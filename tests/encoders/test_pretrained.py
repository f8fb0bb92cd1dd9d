import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, T5Config, T5ForConditionalGeneration

from mmcl.encoders.pretrained import pretrained_audio, pretrained_text
from mmcl.errors import ConfigError, DataError, MissingDataError


@pytest.fixture
def whisper(weights_dir, tmp_path):
    """A copy of the real weights, to be damaged."""
    folder = tmp_path / "copy"
    shutil.copytree(weights_dir / "whisper-base-encoder", folder)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    return folder


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(MissingDataError, match="there is no folder '.*/nothing': expected a folder with config.json"):
        pretrained_audio(tmp_path / "nothing")


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(MissingDataError, match="folder '.*' has no usable config.json with a model_type"):
        pretrained_audio(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match="config.json is not JSON"):
        pretrained_text(tmp_path)


def test_a_model_of_the_hub_that_is_not_on_this_machine():
    message = "'nobody/no-such-model' is neither a folder nor a model on this machine .* pass download=True to fetch it"
    with pytest.raises(MissingDataError, match=message):
        pretrained_audio("nobody/no-such-model")


def test_a_model_of_the_hub_is_found_among_the_weights(weights_dir, monkeypatch):
    monkeypatch.setenv("MMCL_WEIGHTS", str(weights_dir))
    text = pretrained_text("sentence-transformers/all-MiniLM-L6-v2")
    assert text.fingerprint() == pretrained_text(weights_dir / "all-MiniLM-L6-v2").fingerprint()
    assert pretrained_audio("openai/whisper-base").dim == 512  # from whisper-base-encoder, a copy without decoder


def test_nothing_is_asked_of_the_hub_unless_wanted(monkeypatch):
    asked = []

    def remember(name, **options):
        asked.append(name)
        raise OSError

    monkeypatch.setattr("huggingface_hub.snapshot_download", remember)
    for download in (False, True):
        with pytest.raises(MissingDataError):
            pretrained_audio("nobody/no-such-model", download=download)
    assert asked == ["nobody/no-such-model"]


def test_weights_that_are_not_there(whisper):
    (whisper / "model.safetensors").unlink()
    with pytest.raises(MissingDataError, match="folder '.*' has no usable model.safetensors"):
        pretrained_audio(whisper)


def test_weights_that_are_cut_off(whisper):
    weights = whisper / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(DataError, match=r"the weights of '.*' cannot be read \(.*\): copy it again"):
        pretrained_audio(whisper)


def test_weights_that_are_incomplete(whisper):
    weights = load_file(whisper / "model.safetensors")
    del weights["encoder.layers.3.fc1.weight"]
    save_file(weights, whisper / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"lack 1 that its config.json asks for, first 'encoder.layers.3.fc1.weight'"):
        pretrained_audio(whisper)


def test_weights_of_another_size(whisper):
    config = json.loads((whisper / "config.json").read_text())
    (whisper / "config.json").write_text(json.dumps({**config, "d_model": 256}))
    with pytest.raises(DataError, match="the weights of '.*' cannot be read"):
        pretrained_audio(whisper)


def test_without_preprocessor_config_the_defaults_hold(whisper, digits):
    expected = pretrained_audio(whisper)(digits[0][None]).pooled
    (whisper / "preprocessor_config.json").unlink()
    assert torch.equal(pretrained_audio(whisper)(digits[0][None]).pooled, expected)


def test_a_preprocessor_config_that_cannot_be_read(whisper):
    (whisper / "preprocessor_config.json").write_text("{")
    with pytest.raises(DataError, match="preprocessor_config.json is not JSON"):
        pretrained_audio(whisper)


def test_another_sample_rate(whisper):
    path = whisper / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sampling_rate": 8000}))
    with pytest.raises(ConfigError, match="takes audio at 8000 Hz, expected 16000 Hz"):
        pretrained_audio(whisper)


def test_a_model_of_another_kind(whisper, tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=30, **sizes)).save_pretrained(tmp_path / "bert")
    message = "a model of type 'bert', expected one of whisper, wav2vec2, hubert, wavlm"
    with pytest.raises(ConfigError, match=message):
        pretrained_audio(tmp_path / "bert")
    with pytest.raises(MissingDataError, match="folder '.*' has no usable tokenizer"):
        pretrained_text(tmp_path / "bert")
    with pytest.raises(ConfigError, match="a model of type 'whisper', expected an encoder of text"):
        pretrained_text(whisper)
    t5 = T5Config(vocab_size=30, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(t5).save_pretrained(tmp_path / "t5")
    with pytest.raises(ConfigError, match="a model of type 't5', expected an encoder of text"):
        pretrained_text(tmp_path / "t5")


def test_loading_is_silent(whisper, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    pretrained_audio(whisper)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
