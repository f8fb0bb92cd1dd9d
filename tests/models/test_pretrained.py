import json
import shutil

import pytest
import torch
from huggingface_hub import constants

from mmcl.batch import Batch, collate
from mmcl.encoders import build_encoder
from mmcl.errors import CheckpointError, ConfigError, MissingDataError
from mmcl.models import SLUClassifier, TwoTower, from_pretrained
from mmcl.models.saved import save_slu
from mmcl.models.text_to_text import TextToText

TEXTS = ["turn on the lights", "volume down"]


def towers():
    torch.manual_seed(0)
    return TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16), dim=8).eval()


def export(model, folder):
    """Write two towers as `mmcl export` does."""
    model.save(folder)
    described = json.loads((folder / "model.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "mmcl_two_tower", **described}))
    (folder / "model.json").unlink()
    return folder


def same(one, other):
    return torch.equal(one.second(Batch(text=TEXTS)), other.second(Batch(text=TEXTS)))


def test_config_json_determines_the_kind_of_model(tmp_path):
    model = towers()
    found = from_pretrained(export(model, tmp_path / "towers"))
    assert isinstance(found, TwoTower) and same(found, model) and not found.training
    classifier = SLUClassifier(build_encoder("audio", "cnn", dim=16), hidden=8).eval()
    classifier.grow([0, 1])
    save_slu(classifier, tmp_path / "classifier", ["on", "off"])
    found = from_pretrained(str(tmp_path / "classifier"))
    batch = collate([{"audio": torch.randn(9000)}])
    assert found.classes == ("on", "off") and torch.equal(found(batch).logits, classifier(batch).logits)
    student = TextToText.from_scratch(["one and one is two"] * 3, vocabulary=60, dim=16, layers=1, heads=2).eval()
    student.save(tmp_path / "student")
    config = json.loads((tmp_path / "student" / "config.json").read_text())
    (tmp_path / "student" / "config.json").write_text(json.dumps({**config, "mmcl_longest": 7}))
    found = from_pretrained(tmp_path / "student")
    assert found.write(["one and"], longest=5) == student.write(["one and"], longest=5) and found.longest == 7


def test_a_model_folder_of_a_run_is_loaded(tmp_path):
    model = towers()
    model.save(tmp_path)
    assert same(from_pretrained(tmp_path), model)


def test_a_hub_model_is_found_in_mmcl_weights(tmp_path, monkeypatch):
    model = towers()
    export(model, tmp_path / "named-by-words")
    monkeypatch.setenv("MMCL_WEIGHTS", str(tmp_path))
    assert same(from_pretrained("me/named-by-words"), model)


def test_a_hub_model_is_found_in_the_hub_cache(tmp_path, monkeypatch):
    model = towers()
    repository = tmp_path / "models--me--named-by-words"
    export(model, repository / "snapshots" / "0123abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("MMCL_WEIGHTS", raising=False)
    assert same(from_pretrained("me/named-by-words"), model)


def test_a_missing_model_is_fetched_only_with_download(tmp_path, monkeypatch):
    asked = []

    def fetch(name, *, allow_patterns):
        asked.append((name, allow_patterns))
        return str(export(towers(), tmp_path))

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(MissingDataError, match="'me/model' .*download=True.*MMCL_WEIGHTS"):
        from_pretrained("me/model")
    assert asked == []
    assert same(from_pretrained("me/model", download=True), towers())
    assert asked == [("me/model", ["config.json", "*.json", "*.safetensors"])]  # never a pickle


def test_a_failed_download_is_an_error():
    with pytest.raises(MissingDataError, match="me/nowhere"):
        from_pretrained("me/nowhere", download=True)  # tests are offline


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, MissingDataError, "config.json"),
        ("{", CheckpointError, "config.json"),
        ("[1]", CheckpointError, "config.json .*list"),
        ('{"model_type": "bert"}', ConfigError, "'bert'"),
        ('{"model_type": "whisper", "is_encoder_decoder": true}', ConfigError, "'whisper'"),
        ('{"model_type": "mmcl_two_tower"}', CheckpointError, "model.safetensors"),
        ('{"model_type": "mmcl_slu_classifier"}', CheckpointError, "model.safetensors"),
        ('{"model_type": "mmcl_slu_poet", "format": 1}', CheckpointError, "model.safetensors"),
    ],
)
def test_a_folder_without_a_loadable_model_is_an_error(content, error, message, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(error, match=message):
        from_pretrained(tmp_path)
    with pytest.raises(MissingDataError, match="nowhere"):
        from_pretrained(tmp_path / "nowhere")


def test_a_missing_encoder_is_an_error_and_not_fetched(weights_dir, tmp_path, monkeypatch):
    copied = tmp_path / "weights" / "all-MiniLM-L6-v2"
    shutil.copytree(weights_dir / "all-MiniLM-L6-v2", copied)
    monkeypatch.setenv("MMCL_WEIGHTS", str(copied.parent))
    text = build_encoder("text", "me/all-MiniLM-L6-v2")
    model = TwoTower(build_encoder("audio", "cnn", dim=16), text, second_head="none").eval()
    folder = export(model, tmp_path / "towers")
    described = json.loads((folder / "config.json").read_text())
    described["second"]["encoder"]["download"] = True  # ignored: a file may not cause a download
    (folder / "config.json").write_text(json.dumps(described))
    assert same(from_pretrained(folder), model)
    shutil.rmtree(copied)
    with pytest.raises(MissingDataError, match="'me/all-MiniLM-L6-v2' .*download"):
        from_pretrained(folder)
