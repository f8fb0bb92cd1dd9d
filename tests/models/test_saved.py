"""Tests of saved models: writing, reading, and rejection of damaged or foreign files."""

import json
import os
import re

import pytest
import torch
from safetensors import safe_open
from torch import nn

from mmcl.batch import Batch, collate
from mmcl.encoders import build_encoder
from mmcl.encoders.fused_views import FusedViews
from mmcl.errors import CheckpointError
from mmcl.models import Frame, FrameTokenizer, SLUClassifier, SLUSeq2Seq
from mmcl.models.readouts import RanPAC, StreamingLDA
from mmcl.models.readouts.described import READOUTS
from mmcl.models.saved import load_slu, put_state, read_model, save_slu, seal, stored_state, write_model

CLASSES = ("lights on", "lights off", "play a song")
STATE = {"weight": torch.arange(6.0).view(3, 2), "bias": torch.ones(3)}


def test_a_written_model_is_read_back(tmp_path):
    tied = {"weight": STATE["weight"], "again": STATE["weight"], "part": STATE["weight"][:, :1]}
    write_model(tmp_path / "new" / "folder", "config.json", {"dim": 8, "names": ["é"]}, tied)
    content, state = read_model(tmp_path / "new" / "folder", "config.json")
    assert content["dim"] == 8 and content["names"] == ["é"] and content["mmcl_digests"]
    assert state.keys() == tied.keys() and all(torch.equal(state[name], tied[name]) for name in tied)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_or_a_link_is_an_error(name, tmp_path):
    write_model(tmp_path / "model", "config.json", {}, STATE)
    os.rename(tmp_path / "model" / name, tmp_path / "outside")
    with pytest.raises(CheckpointError, match=name):
        read_model(tmp_path / "model", "config.json")
    os.symlink("../outside", tmp_path / "model" / name)
    with pytest.raises(CheckpointError, match=f"{name} is a link"):
        read_model(tmp_path / "model", "config.json")


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file/model"):
        write_model(tmp_path / "file" / "model", "config.json", {}, STATE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"other": torch.ones(1)}, "unexpected tensor 'other'"),
        ({"weight": torch.ones(2, 3)}, r"'weight' .*\(2, 3\).*\(3, 2\)"),
        ({"weight": torch.ones(3, 2).int()}, "'weight' .*torch.int32"),
        ({"weight": torch.ones(3, 2).bool()}, "'weight' .*torch.bool"),
        ({"bias": torch.tensor([1.0, float("nan"), 2.0])}, "'bias' .* 1 "),
    ],
)
def test_weights_of_another_model_are_an_error(change, message, tmp_path):
    layer = nn.Linear(2, 3)
    before = layer.weight.clone()
    with pytest.raises(CheckpointError, match=message):
        put_state(layer, {**STATE, **change}, layer.state_dict(), tmp_path / "config.json")
    assert torch.equal(layer.weight, before)
    with pytest.raises(CheckpointError, match="missing tensor 'weight'"):
        put_state(layer, {"bias": STATE["bias"]}, layer.state_dict(), tmp_path / "config.json")
    put_state(layer, STATE, layer.state_dict(), tmp_path / "config.json")
    assert torch.equal(layer.weight, STATE["weight"])


def test_seal_stores_digests_of_all_files(tmp_path):
    write_model(tmp_path, "config.json", {"dim": 8}, STATE)
    content = json.loads((tmp_path / "config.json").read_text())
    digests = content.pop("mmcl_digests")
    (tmp_path / "config.json").write_text(json.dumps(content))
    (tmp_path / "graph.onnx").write_bytes(b"graph")
    (tmp_path / "README.md").write_text("may be edited")
    seal(tmp_path)
    sealed = json.loads((tmp_path / "config.json").read_text())["mmcl_digests"]
    assert sealed["tensors"] == digests["tensors"] and sealed["settings"] == digests["settings"]
    assert list(sealed["files"]) == ["graph.onnx"]
    (tmp_path / "graph.onnx").write_bytes(b"grapf")
    with pytest.raises(CheckpointError, match="graph.onnx"):
        read_model(tmp_path, "config.json")


def speech_batch():
    generator = torch.Generator().manual_seed(1)
    return collate([{"audio": torch.randn(size, generator=generator)} for size in (16000, 9000)])


def make_classifier(text="words", **options):
    torch.manual_seed(0)
    encoder = build_encoder("audio", "cnn", dim=16, **options)
    text = build_encoder("text", text, dim=16) if text else None
    model = SLUClassifier(encoder, hidden=24, dropout=0.1, text_encoder=text, projection=8)
    model.grow([0, 2])
    model.standardize(torch.randn(40, 16) * 3 + 1)
    return model.eval()


def make_seq2seq(**options):
    torch.manual_seed(0)
    frames = [Frame(name, (), f"please {name}") for name in CLASSES]
    tokenizer = FrameTokenizer.train(frames, CLASSES, dropout=0.0)
    sizes = {"dim": 32, "layers": 1, "heads": 2, "feedforward": 64, "max_tokens": 12, "beams": 2, "length_penalty": 0.9}
    return SLUSeq2Seq(build_encoder("audio", "cnn", dim=16), tokenizer, **sizes, **options).eval()


@pytest.mark.parametrize("frozen", [False, True])  # frozen random weights are stored
def test_a_loaded_classifier_gives_the_same_logits(frozen, tmp_path):
    model = make_classifier(frozen=frozen)
    save_slu(model, tmp_path, CLASSES)
    torch.manual_seed(1)
    again = load_slu(tmp_path)
    assert not again.training and again.classes == CLASSES and again.text_encoder is None
    given, expected = again(speech_batch()).logits, model(speech_batch()).logits
    assert torch.equal(given, expected) and bool((given[:, 1] == float("-inf")).all())  # an unseen class
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("name", READOUTS)
@pytest.mark.parametrize("hidden", [None, 24])
def test_a_loaded_read_out_gives_the_same_logits_without_its_statistics(name, hidden, tmp_path):
    torch.manual_seed(0)
    readout = READOUTS[name]() if name != "ranpac" else RanPAC(projections=12)
    model = SLUClassifier(build_encoder("audio", "cnn", dim=16), hidden=hidden, readout=readout)
    for part in (model, readout):
        part.grow([0, 2])
    readout.add(torch.randn(30, hidden or 16), torch.arange(30) % 2 * 2)
    readout.solve()
    save_slu(model, tmp_path, CLASSES)
    again = load_slu(tmp_path)
    given, expected = again(speech_batch()).logits, model.eval()(speech_batch()).logits
    assert torch.equal(given, expected) and bool((given[:, 1] == float("-inf")).all())
    assert type(again.readout) is type(readout) and again.readout.settings == readout.settings
    with safe_open(tmp_path / "model.safetensors", "pt") as weights:
        assert not any("statistics" in tensor or "held_out" in tensor for tensor in weights.keys())  # noqa: SIM118


def test_a_changed_read_out_is_an_error(tmp_path):
    model = SLUClassifier(build_encoder("audio", "cnn", dim=16), hidden=None, readout=StreamingLDA())
    for part in (model, model.readout):
        part.grow([0, 2])
    model.readout.add(torch.randn(30, 16), torch.arange(30) % 2 * 2)
    model.readout.solve()
    save_slu(model, tmp_path, CLASSES)
    described = json.loads((tmp_path / "config.json").read_text())
    described["readout"]["name"] = "qda"
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path))):
        load_slu(tmp_path)


@pytest.mark.parametrize("options", [{}, {"tied": True, "encoder_layers": 1, "summary": True, "entities": False}])
def test_a_loaded_sequence_model_gives_the_same_frames(options, tmp_path):
    model = make_seq2seq(**options)
    save_slu(model, tmp_path, CLASSES)
    torch.manual_seed(1)
    again = load_slu(tmp_path)
    assert again(speech_batch()).frames == model(speech_batch()).frames
    targets = model.targets([[5, 6, 7], [6, 5, 5]])
    one, other = (each.teacher_forced(each.encode(speech_batch()), targets) for each in (model, again))
    assert torch.equal(one, other)
    assert again.entities is model.entities and (again.beams, again.length_penalty) == (2, 0.9)


def test_pretrained_weights_are_not_stored(weights_dir, tmp_path):
    model = SLUClassifier(build_encoder("audio", "openai/whisper-base", pooling="mean_max"), hidden=8)
    model.grow(range(3))
    save_slu(model.eval(), tmp_path, CLASSES)
    assert (tmp_path / "model.safetensors").stat().st_size < 1e5
    assert torch.equal(load_slu(tmp_path)(speech_batch()).logits, model(speech_batch()).logits)


def test_damaged_models_are_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="2 classes.*3 classes"):
        save_slu(make_classifier(), tmp_path, CLASSES[:2])
    assert not list(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=tmp_path.name):
        load_slu(tmp_path)
    save_slu(make_classifier(), tmp_path, CLASSES)
    whole = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"format": 2}, "format 2"),
        ({"classes": 3}, "classes is 3"),
        ({"settings": {"hidden": "wide"}}, "hidden is 'wide'"),
        ({"settings": {"width": 3}}, "'width'"),
        ({"settings": {"hidden": 23}}, "model.safetensors .*23"),
        ({"classes": [*CLASSES, "a fourth"]}, "'head."),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**whole, **change}))
        with pytest.raises(CheckpointError, match=message):
            load_slu(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(whole))
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match=tmp_path.name):
        load_slu(tmp_path)


def test_weights_of_another_tokenizer_are_an_error(tmp_path):
    save_slu(make_seq2seq(), tmp_path, CLASSES)
    other = json.loads((tmp_path / "tokenizer.json").read_text())
    del other["digest"]  # as older versions saved it
    other["tokenizer"]["model"]["merges"].pop()
    (tmp_path / "tokenizer.json").write_text(json.dumps(other))
    with pytest.raises(CheckpointError, match="tokenizer.json was changed"):
        load_slu(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["mmcl_digests"]  # as older versions saved it
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="tokenizer.json of the same run"):
        load_slu(tmp_path)


def test_the_stored_state_leaves_out_frozen_weights_and_skipped_names():
    model = nn.ModuleDict({"frozen": nn.Linear(1, 1), "random": nn.Linear(1, 1), "head": nn.Linear(1, 1)})
    model.frozen.requires_grad_(False), model.random.requires_grad_(False)
    encoders = {"frozen.": {"fingerprint": "f"}, "random.": {"fingerprint": None}}
    assert stored_state(model, encoders, ("head.bias",)).keys() == {"random.weight", "random.bias", "head.weight"}


@pytest.mark.parametrize("frozen", [None, True])
def test_a_loaded_classifier_of_views_gives_the_same_logits(frozen, tmp_path):
    views = {"image": build_encoder("image", "cnn", dim=8, frozen=frozen)}
    views["age"] = build_encoder("tabular", "mlp", features=2, frozen=frozen)
    model = SLUClassifier(FusedViews(views), hidden=8, text_encoder=build_encoder("text", "words", dim=4)).eval()
    model.grow([0, 2])
    batch = Batch(image=torch.rand(3, 1, 8, 8), age=torch.rand(3, 2))
    save_slu(model, tmp_path / "model", CLASSES)
    loaded = load_slu(tmp_path / "model")
    torch.testing.assert_close(loaded(batch).logits, model(batch).logits)
    assert loaded.classes == CLASSES and loaded.text_encoder is None
    content = json.loads((tmp_path / "model" / "config.json").read_text())
    content["model_type"] = "mmcl_slu_seq2seq"
    del content["mmcl_digests"]
    (tmp_path / "model" / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError):
        load_slu(tmp_path / "model")
    save_slu(make_seq2seq(), tmp_path / "decoder", CLASSES)
    content["settings"] = json.loads((tmp_path / "decoder" / "config.json").read_text())["settings"]
    content.pop("readout", None)
    (tmp_path / "model" / "config.json").write_text(json.dumps(content))
    (tmp_path / "model" / "tokenizer.json").write_bytes((tmp_path / "decoder" / "tokenizer.json").read_bytes())
    with pytest.raises(CheckpointError, match="several views for a decoder"):
        load_slu(tmp_path / "model")
