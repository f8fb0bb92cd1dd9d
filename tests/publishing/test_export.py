"""Models of runs become folders that others can load; a run that trains through the command line is in tests/tasks."""

import json
import os
import shutil

import pytest
import torch

from mmcl.batch import Batch, collate
from mmcl.config.tasks import load_task
from mmcl.encoders import build_encoder
from mmcl.errors import CheckpointError, ConfigError, DataError, ExportError, MissingDataError, RunError
from mmcl.freeze import trainable_state
from mmcl.models import TwoTower, from_pretrained
from mmcl.models.heads import HeadOptions
from mmcl.models.text_to_text import TextToText
from mmcl.publishing.export import export_run
from mmcl.runs.run import Run

TEXTS = ["turn on the lights", "volume down"]
CLASSES = ["lights on", "lights off", "play a song"]


def towers(seed=0, **options):
    torch.manual_seed(seed)
    audio = build_encoder("audio", "cnn", dim=16, blocks=1, **options)
    text = build_encoder("text", "words", dim=16)
    return TwoTower(audio, text, first_head=HeadOptions("mlp", 32), dim=8).eval()


def speech():
    generator = torch.Generator().manual_seed(1)
    return collate([{"audio": torch.randn(size, generator=generator)} for size in (16000, 9000)])


@pytest.fixture
def run(tmp_path):
    """A run of two towers with three models of two objectives, whose rows are as the task logs them."""
    config = load_task("speech_to_intent").Config(seeds=(0, 1), objective=("clip", "cwcl"))
    with Run.create("speech_to_intent", config, tmp_path / "run", config_name="tiny") as run:
        for number, (strategy, seed) in enumerate((("clip", 0), ("cwcl", 0), ("cwcl", 1))):
            towers(number).save(run.folder / "models" / f"{strategy}-seed{seed}")
            run.log("result", strategy=strategy, seed=seed, measures={"fsdd": 0.2 * number + 0.1})
    return run


@pytest.fixture
def slu_run(tmp_path):
    return make_slu_run(tmp_path)


def make_slu_run(tmp_path, **encoder):
    task = load_task("slu_incremental")
    sizes = {"classifier": {"hidden": 24}, "encoder": {"name": "cnn", "options": {"dim": 16}, **encoder}}
    config = task.Config(strategy=("naive", "icarl"), experiences=2, **sizes)
    torch.manual_seed(0)
    with Run.create("slu_incremental", config, tmp_path / "slu", config_name="tiny") as run:
        for strategy, finished in (("naive", True), ("icarl", True), ("joint", False)):
            model = config.classifier.build(config.encoder.build())
            model.grow([0, 2, 1])
            order, groups = [2, 0, 1], [["play a song", "lights on"], ["lights off"]]
            run.log("stream", strategy=strategy, seed=0, class_order=order, experiences=groups)
            run.log("result", strategy=strategy, seed=0, last_accuracy=0.5)
            run.checkpoint(f"{strategy}-seed0", {"finished": finished, "model": trainable_state(model)})
            if strategy == "naive":
                run.naive = model.eval()
    return run


def test_two_towers_are_loaded_as_they_were(run, tmp_path):
    done = export_run(run.folder, tmp_path / "hub" / "by-words", model="cwcl-seed1")
    assert done.model == "cwcl-seed1" and done.models == ["clip-seed0", "cwcl-seed0", "cwcl-seed1"] and not done.paths
    names = {"README.md", "config.json", "model.safetensors"}
    assert set(os.listdir(tmp_path / "hub" / "by-words")) == names and os.listdir(tmp_path / "hub") == ["by-words"]
    again, model = from_pretrained(tmp_path / "hub" / "by-words"), towers(2)
    assert torch.equal(again.first(speech()), model.first(speech()))
    assert torch.equal(again.second(Batch(text=TEXTS)), model.second(Batch(text=TEXTS)))
    config = json.loads((done.folder / "config.json").read_text())
    assert config["model_type"] == "mmcl_two_tower" and config["mmcl_version"]
    assert {"tensors", "files", "settings"} == config["mmcl_digests"].keys()


def test_models_saved_without_digests_are_exported_with_them(run, tmp_path):
    path = run.folder / "models" / "clip-seed0" / "model.json"
    described = json.loads(path.read_text())
    del described["mmcl_digests"]
    path.write_text(json.dumps(described))
    done = export_run(run.folder, tmp_path / "hub")
    tensors = json.loads((done.folder / "config.json").read_text())["mmcl_digests"]["tensors"]
    assert len(tensors) > 3
    weights = done.folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="tensor '.*' .* is damaged"):
        from_pretrained(done.folder)


@pytest.mark.parametrize("file", ["model.json", "model.safetensors"])
def test_a_model_that_was_changed_is_not_exported(file, run, tmp_path):
    path = run.folder / "models" / "clip-seed0" / file
    content = path.read_bytes()
    if file == "model.json":
        described = json.loads(content)
        described["first"]["head"]["dropout"] = 0.5
        path.write_text(json.dumps(described))
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="is damaged|was changed after the model was saved"):
        export_run(run.folder, tmp_path / "hub")
    assert os.listdir(tmp_path) == ["run"]


def test_the_first_is_taken_where_none_is_named(run, tmp_path):
    assert export_run(str(run.folder), str(tmp_path / "hub")).model == "clip-seed0"


def test_what_was_fetched_in_training_is_not_fetched_unasked(run, tmp_path):
    path = run.folder / "models" / "clip-seed0" / "model.json"
    described = json.loads(path.read_text())
    described["second"]["encoder"] = {"modality": "text", "name": "me/nowhere", "download": True}
    path.write_text(json.dumps(described))
    with pytest.raises(DataError, match="'me/nowhere' is neither"):
        export_run(run.folder, tmp_path / "hub")
    assert not (tmp_path / "hub").exists()


def test_weights_of_this_machine_are_told(weights_dir, tmp_path):
    config = load_task("contrastive_pretraining").Config()
    with Run.create("contrastive_pretraining", config, tmp_path / "run") as run:
        text = build_encoder("text", weights_dir / "all-MiniLM-L6-v2")
        TwoTower(build_encoder("audio", "cnn", dim=16), text, second_head="none").save(run.folder / "models/clip-seed0")
    done = export_run(run.folder, tmp_path / "hub")
    assert done.paths == [str(weights_dir / "all-MiniLM-L6-v2")]
    card = (done.folder / "README.md").read_text()
    assert (
        "Put a copy as `all-MiniLM-L6-v2` into the folder that `MMCL_WEIGHTS` names" in card
        and "base_model" not in card
    )
    assert done.paths[0] in card.partition("## Results")[0] and done.paths[0] not in card.partition("## Results")[2]


def test_a_classifier_names_what_it_did(slu_run, tmp_path):
    done = export_run(slu_run.folder, tmp_path / "hub")
    assert done.models == ["naive-seed0"]  # the others are not finished, or do not name classes by a head
    again = from_pretrained(tmp_path / "hub")
    assert again.classes == tuple(CLASSES)
    assert torch.equal(again(speech()).logits, slu_run.naive(speech()).logits)
    with pytest.raises(
        ConfigError, match="'icarl-seed0' cannot be exported: icarl names classes by the samples in its"
    ):
        export_run(slu_run.folder, tmp_path / "other", model="icarl-seed0")


def test_random_weights_that_the_run_does_not_hold_are_told(tmp_path):
    run = make_slu_run(tmp_path, frozen=True)
    with pytest.raises(CheckpointError, match="is frozen and random, and its weights are not in the run"):
        export_run(run.folder, tmp_path / "hub")
    assert os.listdir(tmp_path) == ["slu"]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "config.yaml",
            ("hidden: 24", "hidden: 23"),
            "is of another model .*expected .*: expected what config.yaml",
        ),
        (
            "config.yaml",
            ("name: cnn", "name: conformer"),
            "is of another model .it lacks .*: expected what config.yaml says",
        ),
        ("metrics.jsonl", ('"kind": "stream"', '"kind": "river"'), "does not say which classes naive-seed0 learnt"),
    ],
)
def test_a_run_whose_files_do_not_go_together_is_told(file, change, message, slu_run, tmp_path):
    content = (slu_run.folder / file).read_text()
    assert change[0] in content
    (slu_run.folder / file).write_text(content.replace(*change))
    with pytest.raises(RunError, match=f"{file} (was changed after the run began|has \\d+ bytes, but status.json)"):
        export_run(slu_run.folder, tmp_path / "hub")
    for name in ("environment.json", "status.json"):  # as older versions of mmcl wrote them, which knew less
        known = json.loads((slu_run.folder / name).read_text())
        old = {key: value for key, value in known.items() if key not in ("digest", "settings", "metrics")}
        (slu_run.folder / name).write_text(json.dumps(old))
    with pytest.raises(CheckpointError, match=message):
        export_run(slu_run.folder, tmp_path / "hub")
    assert os.listdir(tmp_path) == ["slu"]


def test_a_student_writes_what_it_did(tmp_path):
    config = load_task("rationale_distillation").Config()
    student = TextToText.from_scratch(["one and one is two"] * 3, vocabulary=60, dim=16, layers=1, heads=2).eval()
    with Run.create("rationale_distillation", config, tmp_path / "run") as run:
        student.save(run.folder / "models" / "dss-seed0")
        (run.folder / "models" / "dss-seed0" / "optimizer.bin").write_bytes(b"what could be run")
    done = export_run(run.folder, tmp_path / "hub")
    assert "optimizer.bin" not in os.listdir(done.folder)
    assert from_pretrained(done.folder).write(["predict: one"], longest=5) == student.write(["predict: one"], longest=5)
    config = json.loads((done.folder / "config.json").read_text())
    assert "tokenizer.json" in config["mmcl_digests"]["files"] and "mmcl_longest" in config["mmcl_digests"]["settings"]
    (done.folder / "config.json").write_text(json.dumps({**config, "mmcl_longest": 3}))
    with pytest.raises(CheckpointError, match="mmcl_longest in .* was changed"):
        from_pretrained(done.folder)


def test_a_name_that_is_not_there_has_a_nearest(run, tmp_path):
    with pytest.raises(ConfigError, match=r"no model 'cwcl-sed1' \(did you mean 'cwcl-seed1'\?\): expected clip-seed0"):
        export_run(run.folder, tmp_path / "hub", model="cwcl-sed1")
    assert not (tmp_path / "hub").exists()


def test_a_folder_that_is_not_empty_is_left_as_it_is(run, tmp_path):
    (tmp_path / "empty").mkdir()
    export_run(run.folder, tmp_path / "empty")
    (tmp_path / "file").touch()
    for name in ("empty", "file"):
        with pytest.raises(ExportError, match=f"{name} is not an empty folder: choose another"):
            export_run(run.folder, tmp_path / name, model="cwcl-seed1")
    assert "`clip-seed0`" in (tmp_path / "empty" / "README.md").read_text()


def test_a_run_without_models_says_which_have_some(tmp_path):
    config = load_task("unlearning").Config()
    Run.create("unlearning", config, tmp_path / "run").close("finished")
    with pytest.raises(
        CheckpointError, match="a run of unlearning, has no model .*: expected a run of contrastive_pret"
    ):
        export_run(tmp_path / "run", tmp_path / "hub")
    with pytest.raises(RunError, match="no run folder"):
        export_run(tmp_path / "nothing", tmp_path / "hub")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.json", b"cut", "clip-seed0/model.json is not JSON"),
        ("model.json", b"{}", "clip-seed0 of .*run"),
        ("model.safetensors", b"cut", "clip-seed0 of .*run.*model.safetensors"),
        ("model.safetensors", None, "clip-seed0 has no model.safetensors"),
    ],
)
def test_a_model_that_is_damaged_leaves_nothing(name, content, message, run, tmp_path):
    path = run.folder / "models" / "clip-seed0" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        export_run(run.folder, tmp_path / "hub")
    assert os.listdir(tmp_path) == ["run"]


def test_a_full_disk_leaves_nothing(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(ExportError, match=r"cannot write .*hub \(No space left on device\): choose another place"):
        export_run(run.folder, tmp_path / "hub")
    assert os.listdir(tmp_path) == ["run"]


def test_a_graph_is_beside_the_model_and_its_check_in_the_card(run, tmp_path, data_dir):
    onnxruntime = pytest.importorskip("onnxruntime", reason="graphs need the extra 'onnx'")
    done = export_run(run.folder, tmp_path / "hub", model="cwcl-seed0", onnx=True)
    assert done.graph.path == tmp_path / "hub" / "speech_tower.onnx" and done.graph.difference <= 1e-4
    card = (tmp_path / "hub" / "README.md").read_text()
    assert f"at most {done.graph.difference:.1g}, on {done.graph.recordings} recordings of 0.025 to" in card
    batch = speech()
    inputs = {"audio": batch["audio"].numpy(), "lengths": batch["audio_lengths"].numpy()}
    (found,) = onnxruntime.InferenceSession(str(done.graph.path)).run(None, inputs)
    with torch.no_grad():
        expected = torch.nn.functional.normalize(towers(1).first(batch), dim=1)
    assert (torch.from_numpy(found) - expected).abs().max() < 1e-4
    with done.graph.path.open("ab") as file:
        file.write(b" ")
    with pytest.raises(CheckpointError, match="speech_tower.onnx was changed after the model was saved"):
        from_pretrained(done.folder)
    done.graph.path.unlink()
    from_pretrained(done.folder)


def test_without_recordings_there_is_no_graph_and_no_folder(run, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="graphs need the extra 'onnx'")
    monkeypatch.setattr("mmcl.publishing.onnx._some_of", lambda *_, **__: [])
    with pytest.raises(MissingDataError, match="expected one of them in MMCL_DATA"):
        export_run(run.folder, tmp_path / "hub", onnx=True)
    assert os.listdir(tmp_path) == ["run"]


def test_a_missing_package_is_told_before_anything_is_done(run, tmp_path, monkeypatch):
    monkeypatch.setattr("mmcl.publishing.onnx.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'mmcl\[onnx\]'"):
        export_run(run.folder, tmp_path / "hub", onnx=True)
    assert os.listdir(tmp_path) == ["run"]
