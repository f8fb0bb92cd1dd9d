import json

import pytest
import torch

from mmcl.batch import collate
from mmcl.encoders import build_encoder
from mmcl.errors import CheckpointError
from mmcl.models import Frame, FrameTokenizer, SLUClassifier, SLUSeq2Seq
from mmcl.models.slu_folder import load_slu, save_slu

CLASSES = ("lights on", "lights off", "play a song")


def speech():
    generator = torch.Generator().manual_seed(1)
    return collate([{"audio": torch.randn(size, generator=generator)} for size in (16000, 9000)])


def classifier(text="words", **options):
    torch.manual_seed(0)
    encoder = build_encoder("audio", "cnn", dim=16, **options)
    text = build_encoder("text", text, dim=16) if text else None
    model = SLUClassifier(encoder, hidden=24, dropout=0.1, text_encoder=text, projection=8)
    model.grow([0, 2])
    model.standardize(torch.randn(40, 16) * 3 + 1)
    return model.eval()


def writer(**options):
    torch.manual_seed(0)
    frames = [Frame(name, (), f"please {name}") for name in CLASSES]
    tokenizer = FrameTokenizer.train(frames, CLASSES, dropout=0.0)
    sizes = {"dim": 32, "layers": 1, "heads": 2, "feedforward": 64, "max_tokens": 12, "beams": 2, "length_penalty": 0.9}
    return SLUSeq2Seq(build_encoder("audio", "cnn", dim=16), tokenizer, **sizes, **options).eval()


@pytest.mark.parametrize("frozen", [False, True])  # of which the latter's weights are random, and stored
def test_a_classifier_names_what_it_did(frozen, tmp_path):
    model = classifier(frozen=frozen)
    save_slu(model, tmp_path, CLASSES)
    torch.manual_seed(1)
    again = load_slu(tmp_path)
    assert not again.training and again.classes == CLASSES and again.text_encoder is None
    given, expected = again(speech()).logits, model(speech()).logits
    assert torch.equal(given, expected) and bool((given[:, 1] == float("-inf")).all())  # a class that has not come
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("options", [{}, {"tied": True, "encoder_layers": 1, "summary": True, "entities": False}])
def test_a_writer_writes_what_it_did(options, tmp_path):
    model = writer(**options)
    save_slu(model, tmp_path, CLASSES)
    torch.manual_seed(1)
    again = load_slu(tmp_path)
    assert again(speech()).frames == model(speech()).frames
    targets = model.targets([[5, 6, 7], [6, 5, 5]])
    one, other = (each.teacher_forced(each.encode(speech()), targets) for each in (model, again))
    assert torch.equal(one, other)
    assert again.entities is model.entities and (again.beams, again.length_penalty) == (2, 0.9)


def test_pretrained_weights_are_not_stored(weights_dir, tmp_path):
    model = SLUClassifier(build_encoder("audio", "openai/whisper-base", pooling="mean_max"), hidden=8)
    model.grow(range(3))
    save_slu(model.eval(), tmp_path, CLASSES)
    assert (tmp_path / "model.safetensors").stat().st_size < 1e5
    assert torch.equal(load_slu(tmp_path)(speech()).logits, model(speech()).logits)


def test_what_is_damaged_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="names of 2 classes, expected 3"):
        save_slu(classifier(), tmp_path, CLASSES[:2])
    assert not list(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match="no model in"):
        load_slu(tmp_path)
    save_slu(classifier(), tmp_path, CLASSES)
    whole = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"format": 2}, "no model in"),
        ({"classes": 3}, "no model in"),
        ({"settings": {"hidden": "wide"}}, "describes no model"),
        ({"settings": {"width": 3}}, "describes no model"),
        ({"settings": {"hidden": 23}}, "of another model"),
        ({"classes": [*CLASSES, "a fourth"]}, "of another model"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**whole, **change}))
        with pytest.raises(CheckpointError, match=message):
            load_slu(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(whole))
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="no model in"):
        load_slu(tmp_path)


def test_weights_of_another_tokenizer_are_refused(tmp_path):
    save_slu(writer(), tmp_path, CLASSES)
    other = json.loads((tmp_path / "tokenizer.json").read_text())
    del other["digest"]  # as tokenizers were saved before
    other["tokenizer"]["model"]["merges"].pop()
    (tmp_path / "tokenizer.json").write_text(json.dumps(other))
    with pytest.raises(CheckpointError, match="tokenizer.json was changed after the model was saved"):
        load_slu(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["mmcl_digests"]  # as models were saved before
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="load the tokenizer.json of the same run"):
        load_slu(tmp_path)
