"""Export of models into folders; runs that train through the command line are in tests/tasks."""

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
    """A run with three two-tower models of two objectives, and rows as the task logs them."""
    config = load_task("speech_to_intent").Config(seeds=(0, 1), objective=("clip", "cwcl"))
    with Run.create("speech_to_intent", config, tmp_path / "run", config_name="tiny") as run:
        for number, (strategy, seed) in enumerate((("clip", 0), ("cwcl", 0), ("cwcl", 1))):
            towers(number).save(run.folder / "models" / f"{strategy}-seed{seed}")
            run.log("result", strategy=strategy, seed=seed, measures={"fsdd": 0.2 * number + 0.1})
    return run


@pytest.fixture
def slu_run(tmp_path):
    return make_slu_run(tmp_path)


def make_slu_run(tmp_path, task_name="slu_incremental", **encoder):
    task = load_task(task_name)
    sizes = {"classifier": {"hidden": 24}, "encoder": {"name": "cnn", "options": {"dim": 16}, **encoder}}
    config = task.Config(strategy=("naive", "icarl"), experiences=2, **sizes)
    torch.manual_seed(0)
    with Run.create(task_name, config, tmp_path / "slu", config_name="tiny") as run:
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


def test_exported_two_towers_are_unchanged(run, tmp_path):
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


def test_missing_digests_are_added_by_the_export(run, tmp_path):
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
def test_changed_model_is_not_exported(file, run, tmp_path):
    path = run.folder / "models" / "clip-seed0" / file
    content = path.read_bytes()
    if file == "model.json":
        described = json.loads(content)
        described["first"]["head"]["dropout"] = 0.5
        path.write_text(json.dumps(described))
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="clip-seed0"):
        export_run(run.folder, tmp_path / "hub")
    assert os.listdir(tmp_path) == ["run"]


def test_first_model_is_the_default(run, tmp_path):
    assert export_run(str(run.folder), str(tmp_path / "hub")).model == "clip-seed0"


def test_export_downloads_nothing(run, tmp_path):
    path = run.folder / "models" / "clip-seed0" / "model.json"
    described = json.loads(path.read_text())
    described["second"]["encoder"] = {"modality": "text", "name": "me/nowhere", "download": True}
    path.write_text(json.dumps(described))
    with pytest.raises(DataError, match="me/nowhere"):
        export_run(run.folder, tmp_path / "hub")
    assert not (tmp_path / "hub").exists()


def test_local_weights_are_named(weights_dir, tmp_path):
    config = load_task("contrastive_pretraining").Config()
    with Run.create("contrastive_pretraining", config, tmp_path / "run") as run:
        text = build_encoder("text", weights_dir / "all-MiniLM-L6-v2")
        TwoTower(build_encoder("audio", "cnn", dim=16), text, second_head="none").save(run.folder / "models/clip-seed0")
    done = export_run(run.folder, tmp_path / "hub")
    assert done.paths == [str(weights_dir / "all-MiniLM-L6-v2")]
    card = (done.folder / "README.md").read_text()
    assert "Put a copy named `all-MiniLM-L6-v2` into the folder of `MMCL_WEIGHTS`" in card
    assert "base_model" not in card
    assert done.paths[0] in card.partition("## Results")[0] and done.paths[0] not in card.partition("## Results")[2]


def test_exported_classifier_is_unchanged(slu_run, tmp_path):
    done = export_run(slu_run.folder, tmp_path / "hub")
    assert done.models == ["naive-seed0"]  # the others are unfinished, or need their memory
    again = from_pretrained(tmp_path / "hub")
    assert again.classes == tuple(CLASSES)
    assert torch.equal(again(speech()).logits, slu_run.naive(speech()).logits)
    with pytest.raises(ConfigError, match="'icarl-seed0' .*icarl .*memory.* naive-seed0"):
        export_run(slu_run.folder, tmp_path / "other", model="icarl-seed0")


def test_exported_read_out_is_unchanged(tmp_path):
    task = load_task("slu_incremental")
    sizes = {"classifier": {"hidden": 24}, "encoder": {"name": "cnn", "options": {"dim": 16}}}
    config = task.Config(strategy=("naive@slda",), experiences=2, **sizes)
    with Run.create("slu_incremental", config, tmp_path / "run", config_name="tiny") as run:
        model = config.classifier.build(config.encoder.build())
        model.readout = config.readout.build("slda")
        for part in (model, model.readout):
            part.grow([0, 1, 2])
        model.readout.add(torch.randn(60, 24), torch.arange(60) % 3)
        model.readout.solve()
        run.log("stream", strategy="naive@slda", seed=0, class_order=[0, 1, 2], experiences=[CLASSES[:2], CLASSES[2:]])
        run.log("result", strategy="naive@slda", seed=0, last_accuracy=0.5)
        run.checkpoint("naive@slda-seed0", {"finished": True, "model": trainable_state(model)})
    done = export_run(run.folder, tmp_path / "hub")
    assert done.models == ["naive@slda-seed0"]
    again = from_pretrained(tmp_path / "hub")
    assert torch.equal(again(speech()).logits, model.eval()(speech()).logits)


def test_frozen_random_weights_cannot_be_exported(tmp_path):
    run = make_slu_run(tmp_path, frozen=True)
    with pytest.raises(CheckpointError, match="frozen encoder of .*slu"):
        export_run(run.folder, tmp_path / "hub")
    assert os.listdir(tmp_path) == ["slu"]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "config.yaml",
            ("hidden: 24", "hidden: 23"),
            "naive-seed0 .*config.yaml .*expected",
        ),
        (
            "config.yaml",
            ("name: cnn", "name: conformer"),
            "naive-seed0 .*config.yaml .*it lacks",
        ),
        ("metrics.jsonl", ('"kind": "stream"', '"kind": "river"'), "metrics.jsonl .*naive-seed0"),
    ],
)
def test_inconsistent_files_of_a_run_are_refused(file, change, message, slu_run, tmp_path):
    content = (slu_run.folder / file).read_text()
    assert change[0] in content
    (slu_run.folder / file).write_text(content.replace(*change))
    with pytest.raises(RunError, match=file):
        export_run(slu_run.folder, tmp_path / "hub")
    for name in ("environment.json", "status.json"):  # as older versions wrote them, without digests
        known = json.loads((slu_run.folder / name).read_text())
        old = {key: value for key, value in known.items() if key not in ("digest", "settings", "metrics")}
        (slu_run.folder / name).write_text(json.dumps(old))
    with pytest.raises(CheckpointError, match=message):
        export_run(slu_run.folder, tmp_path / "hub")
    assert os.listdir(tmp_path) == ["slu"]


def test_exported_student_is_unchanged(tmp_path):
    config = load_task("rationale_distillation").Config()
    student = TextToText.from_scratch(["one and one is two"] * 3, vocabulary=60, dim=16, layers=1, heads=2).eval()
    with Run.create("rationale_distillation", config, tmp_path / "run") as run:
        student.save(run.folder / "models" / "dss-seed0")
        (run.folder / "models" / "dss-seed0" / "optimizer.bin").write_bytes(b"a pickle")
    done = export_run(run.folder, tmp_path / "hub")
    assert "optimizer.bin" not in os.listdir(done.folder)
    assert from_pretrained(done.folder).write(["predict: one"], longest=5) == student.write(["predict: one"], longest=5)
    config = json.loads((done.folder / "config.json").read_text())
    assert "tokenizer.json" in config["mmcl_digests"]["files"] and "mmcl_longest" in config["mmcl_digests"]["settings"]
    (done.folder / "config.json").write_text(json.dumps({**config, "mmcl_longest": 3}))
    with pytest.raises(CheckpointError, match="mmcl_longest"):
        from_pretrained(done.folder)


def test_unknown_model_suggests_the_nearest_name(run, tmp_path):
    with pytest.raises(ConfigError, match="'cwcl-sed1' .*'cwcl-seed1'.* clip-seed0"):
        export_run(run.folder, tmp_path / "hub", model="cwcl-sed1")
    assert not (tmp_path / "hub").exists()


def test_folder_that_is_not_empty_is_refused(run, tmp_path):
    (tmp_path / "empty").mkdir()
    export_run(run.folder, tmp_path / "empty")
    (tmp_path / "file").touch()
    for name in ("empty", "file"):
        with pytest.raises(ExportError, match=name):
            export_run(run.folder, tmp_path / name, model="cwcl-seed1")
    assert "`clip-seed0`" in (tmp_path / "empty" / "README.md").read_text()


def test_run_without_models_is_refused(tmp_path):
    config = load_task("unlearning").Config()
    Run.create("unlearning", config, tmp_path / "run").close("finished")
    with pytest.raises(CheckpointError, match="run of unlearning"):
        export_run(tmp_path / "run", tmp_path / "hub")
    with pytest.raises(RunError, match="nothing"):
        export_run(tmp_path / "nothing", tmp_path / "hub")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.json", b"cut", "clip-seed0/model.json"),
        ("model.json", b"{}", "clip-seed0 of .*run"),
        ("model.safetensors", b"cut", "clip-seed0 of .*run"),
        ("model.safetensors", None, "clip-seed0 .*model.safetensors"),
    ],
)
def test_damaged_model_leaves_no_folder(name, content, message, run, tmp_path):
    path = run.folder / "models" / "clip-seed0" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        export_run(run.folder, tmp_path / "hub")
    assert os.listdir(tmp_path) == ["run"]


def test_full_disk_leaves_no_folder(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(ExportError, match=r"hub \(No space left on device\)"):
        export_run(run.folder, tmp_path / "hub")
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.slow
def test_graph_is_written_and_its_check_is_in_the_card(run, tmp_path, data_dir):
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
    with pytest.raises(CheckpointError, match="speech_tower.onnx"):
        from_pretrained(done.folder)
    done.graph.path.unlink()
    from_pretrained(done.folder)


def test_graph_needs_recordings(run, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="graphs need the extra 'onnx'")
    monkeypatch.setattr("mmcl.publishing.onnx._some_of", lambda *_, **__: [])
    with pytest.raises(MissingDataError, match="MMCL_DATA"):
        export_run(run.folder, tmp_path / "hub", onnx=True)
    assert os.listdir(tmp_path) == ["run"]


def test_missing_package_is_reported_before_the_export(run, tmp_path, monkeypatch):
    monkeypatch.setattr("mmcl.publishing.onnx.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'mmcl\[onnx\]'"):
        export_run(run.folder, tmp_path / "hub", onnx=True)
    assert os.listdir(tmp_path) == ["run"]


def test_new_task_declares_how_its_models_are_rebuilt(tmp_path, monkeypatch):
    """A task of one's own that keeps checkpoints is exported without a change to mmcl."""
    (tmp_path / "tasks").mkdir()
    source = "from mmcl.config.tasks import load_task\n\nConfig = load_task('slu_incremental').Config\n"
    (tmp_path / "tasks" / "own_task.py").write_text(f"{source}\n\ndef main(config, run):\n    pass\n")
    monkeypatch.setenv("MMCL_PATH", str(tmp_path))
    run = make_slu_run(tmp_path, task_name="own_task")
    assert export_run(run.folder, tmp_path / "hub").models == ["naive-seed0"]


def test_tasks_that_do_not_rebuild_models_export_no_checkpoints(tmp_path):
    config = load_task("text_incremental").Config()
    with Run.create("text_incremental", config, tmp_path / "run") as run:
        run.checkpoint("naive-seed0", {"finished": True, "model": {}})
    with pytest.raises(CheckpointError, match="run of text_incremental"):
        export_run(run.folder, tmp_path / "hub")
