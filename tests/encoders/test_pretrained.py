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
    """Return a copy of the real weights, which tests may damage."""
    folder = tmp_path / "copy"
    shutil.copytree(weights_dir / "whisper-base-encoder", folder)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    return folder


def test_a_missing_folder_raises(tmp_path):
    with pytest.raises(MissingDataError, match="/nothing'"):
        pretrained_audio(tmp_path / "nothing")


def test_a_folder_without_a_model_raises(tmp_path):
    with pytest.raises(MissingDataError, match="config.json"):
        pretrained_audio(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match="config.json"):
        pretrained_text(tmp_path)


def test_a_missing_model_of_the_hub_raises():
    message = "'nobody/no-such-model'.*download.*MMCL_WEIGHTS"
    with pytest.raises(MissingDataError, match=message):
        pretrained_audio("nobody/no-such-model")


def test_a_model_of_the_hub_is_found_in_mmcl_weights(weights_dir, monkeypatch):
    monkeypatch.setenv("MMCL_WEIGHTS", str(weights_dir))
    text = pretrained_text("sentence-transformers/all-MiniLM-L6-v2")
    assert text.fingerprint() == pretrained_text(weights_dir / "all-MiniLM-L6-v2").fingerprint()
    assert pretrained_audio("openai/whisper-base").dim == 512  # whisper-base-encoder is a copy without the decoder


def test_the_hub_is_accessed_only_with_download(monkeypatch):
    asked = []

    def remember(name, **options):
        asked.append(name)
        raise OSError

    monkeypatch.setattr("huggingface_hub.snapshot_download", remember)
    for download in (False, True):
        with pytest.raises(MissingDataError):
            pretrained_audio("nobody/no-such-model", download=download)
    assert asked == ["nobody/no-such-model"]


def test_missing_weights_raise(whisper):
    (whisper / "model.safetensors").unlink()
    with pytest.raises(MissingDataError, match="model.safetensors"):
        pretrained_audio(whisper)


def test_truncated_weights_raise(whisper):
    weights = whisper / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(DataError, match="weights of '/.*'"):
        pretrained_audio(whisper)


def test_incomplete_weights_raise(whisper):
    weights = load_file(whisper / "model.safetensors")
    del weights["encoder.layers.3.fc1.weight"]
    save_file(weights, whisper / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match="1 .*'encoder.layers.3.fc1.weight'"):
        pretrained_audio(whisper)


def test_weights_of_another_size_raise(whisper):
    config = json.loads((whisper / "config.json").read_text())
    (whisper / "config.json").write_text(json.dumps({**config, "d_model": 256}))
    with pytest.raises(DataError, match="weights of '/.*'"):
        pretrained_audio(whisper)


def test_defaults_without_preprocessor_config(whisper, digits):
    expected = pretrained_audio(whisper)(digits[0][None]).pooled
    (whisper / "preprocessor_config.json").unlink()
    assert torch.equal(pretrained_audio(whisper)(digits[0][None]).pooled, expected)


def test_an_invalid_preprocessor_config_raises(whisper):
    (whisper / "preprocessor_config.json").write_text("{")
    with pytest.raises(DataError, match="preprocessor_config.json"):
        pretrained_audio(whisper)


def test_another_sample_rate_raises(whisper):
    path = whisper / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sampling_rate": 8000}))
    with pytest.raises(ConfigError, match="8000 Hz.* 16000 Hz"):
        pretrained_audio(whisper)


def test_an_unsupported_model_type_raises(whisper, tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=30, **sizes)).save_pretrained(tmp_path / "bert")
    message = "'bert'.* whisper, wav2vec2, hubert, wavlm"
    with pytest.raises(ConfigError, match=message):
        pretrained_audio(tmp_path / "bert")
    with pytest.raises(MissingDataError, match="tokenizer"):
        pretrained_text(tmp_path / "bert")
    with pytest.raises(ConfigError, match="'whisper'"):
        pretrained_text(whisper)
    t5 = T5Config(vocab_size=30, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(t5).save_pretrained(tmp_path / "t5")
    with pytest.raises(ConfigError, match="'t5'"):
        pretrained_text(tmp_path / "t5")


def test_loading_is_silent(whisper, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    pretrained_audio(whisper)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
