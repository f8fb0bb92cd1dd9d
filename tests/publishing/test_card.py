"""Model cards: facts are correct and the code examples run."""

import re

import numpy
import pytest
import soundfile
import torch
import yaml

from mmcl.config.tasks import load_task
from mmcl.encoders import build_encoder
from mmcl.metrics.calibration import Calibration
from mmcl.models import ImageClassifier, TwoTower
from mmcl.models.saved_calibration import write_calibration
from mmcl.models.saved_classifiers import save_classifier
from mmcl.models.text_classifier import TextClassifier
from mmcl.models.text_to_text import TextToText
from mmcl.models.two_tower import class_vectors
from mmcl.predict import predict
from mmcl.publishing.card import _encoders, _onnx, tensor_sizes, without_paths
from mmcl.publishing.export import export_run
from mmcl.publishing.onnx import Graph, SpeechTower, real_recordings, write_graph
from mmcl.runs.run import Run


def card_of(folder):
    """Return the front matter and the sections by heading."""
    text = (folder / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    title, *sections = re.split(r"^## ", body, flags=re.MULTILINE)
    return yaml.safe_load(head), {"": title, **{each.split("\n")[0]: each for each in sections}}


def table(section):
    rows = [line.strip("| \n").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return [rows[0], *rows[2:]]


def run_its_python(folder, section, work, monkeypatch, printed, **names):
    """Run the code of a section in a folder with a recording and return its output."""
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    if not (work / "order.wav").exists():
        soundfile.write(work / "order.wav", torch.sin(torch.arange(9000) / 8).numpy() * 0.3, 16000)
    monkeypatch.chdir(work)
    exec(compile(code.replace(f"OWNER/{folder.name}", str(folder)), "card", "exec"), names)
    return printed.readouterr().out


@pytest.fixture
def towers(tmp_path):
    """A run of two-tower models: two seeds of one objective, one seed of another."""
    task = load_task("speech_to_intent")
    evaluations = [{"name": "fsdd", "prompts": "/srv/me/prompts.json"}, {"name": "own_data"}]
    config = task.Config(seeds=(0, 1), evaluations=evaluations, pairs={"name": "sentences_tts", "root": "/data/spoken"})
    torch.manual_seed(0)
    model = TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16), dim=8)
    with Run.create("speech_to_intent", config, tmp_path / "run", config_name="tiny") as run:
        for strategy, seed, found in (("clip", 0, 0.5), ("cwcl", 0, 0.25), ("cwcl", 1, 0.75)):
            model.save(run.folder / "models" / f"{strategy}-seed{seed}")
            run.log("result", strategy=strategy, seed=seed, measures={"fsdd | digits": found})
    return run


def test_card_of_two_towers(towers, tmp_path, monkeypatch, capsys):
    folder = export_run(towers.folder, tmp_path / "by-words", model="cwcl-seed1", license="cc-by-4.0").folder
    head, sections = card_of(folder)
    assert head["library_name"] == "mmcl" and head["license"] == "cc-by-4.0" and "base_model" not in head
    assert {"mmcl", "cwcl", "zero-shot-audio-classification"} <= set(head["tags"])
    assert sections[""].startswith("\n# by-words\n") and "`cwcl`, seed 1" in sections[""]
    assert "shared space of 8 dimensions" in sections[""]
    printed = run_its_python(folder, sections["Use"], tmp_path, monkeypatch, capsys)
    assert "Prediction(intent='coffee'" in printed and "Prediction(intent='lights'" in printed
    state = towers.folder / "models" / "cwcl-seed1"
    assert f"{sum(tensor_sizes(state).values()):,} parameters" in sections["Components"]
    assert "Required weights" not in sections["Components"]


def test_results_are_those_of_the_run(towers, tmp_path):
    _, sections = card_of(export_run(towers.folder, tmp_path / "hub", model="cwcl-seed1").folder)
    assert table(sections["Results"]) == [
        ["clip", "cwcl", "**this model**"],
        ["seeds", "1", "2", "seed 1"],
        ["fsdd \\| digits", "50.0", "50.0 ± 35.4", "75.0"],
    ]
    _, sections = card_of(export_run(towers.folder, tmp_path / "other", model="clip-seed0").folder)
    assert table(sections["Results"])[0] == ["clip", "cwcl"]  # the only seed, which is this model
    assert "not finished" not in sections["Results"]


def test_data_sets_have_licences_and_paths_are_shortened(towers, tmp_path):
    folder = export_run(towers.folder, tmp_path / "hub").folder
    _, sections = card_of(folder)
    rows = {row[0]: row for row in table(sections["Data and licence"])}
    assert rows["`sentences_tts`"][1] == "training" and "CC BY 4.0 (text)" in rows["`sentences_tts`"]
    assert rows["`fsdd`"][1] == "evaluation" and "CC BY-SA 4.0" in rows["`fsdd`"] and "`own_data`" in rows
    text = (folder / "README.md").read_text()
    assert ".../spoken" in text and ".../prompts.json" in text
    assert not re.search(r"/srv/|/data/|" + str(tmp_path), text)
    (config,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    assert yaml.safe_load(config) == without_paths(towers.config)


def test_unfinished_run_and_run_without_results(towers, tmp_path):
    (towers.folder / "status.json").write_text('{"status": "interrupted"}')
    _, sections = card_of(export_run(towers.folder, tmp_path / "hub").folder)
    assert "(interrupted)" in sections["Results"]
    (towers.folder / "metrics.jsonl").write_text("")
    _, sections = card_of(export_run(towers.folder, tmp_path / "other").folder)
    assert "no results" in sections["Results"]


@pytest.mark.slow
def test_required_pretrained_weights_are_named(weights_dir, tmp_path):
    config = load_task("contrastive_pretraining").Config()
    text = build_encoder("text", "sentence-transformers/all-MiniLM-L6-v2")
    audio = build_encoder("audio", "openai/whisper-base", tune_from=5)
    with Run.create("contrastive_pretraining", config, tmp_path / "run") as run:
        TwoTower(audio, text, second_head="none").save(run.folder / "models" / "clip-seed0")
    head, sections = card_of(export_run(run.folder, tmp_path / "hub").folder)
    bases = ["openai/whisper-base", "sentence-transformers/all-MiniLM-L6-v2"]
    assert head["base_model"] == bases
    rows = {row[0]: row[1:] for row in table(sections["Components"])}
    assert rows["audio encoder"][1] == "trained weights in this folder, the others not"
    assert rows["text encoder"][1] == "not in this folder" and rows["text head"] == ["none", "has none"]
    assert "`openai/whisper-base` and `sentence-transformers/all-MiniLM-L6-v2`" in sections["Components"]
    assert "the weights of `openai/whisper-base` and" in sections["Data and licence"]


def test_card_of_an_image_model(tmp_path, monkeypatch, capsys):
    from torchvision.io import write_jpeg

    write_jpeg(torch.randint(0, 256, (3, 40, 30), dtype=torch.uint8), str(tmp_path / "photo.jpg"))
    config = load_task("contrastive_pretraining").Config()
    images = build_encoder("image", "cnn", channels=3, dim=16)
    with Run.create("contrastive_pretraining", config, tmp_path / "run") as run:
        TwoTower(images, build_encoder("text", "words", dim=16), dim=8).save(run.folder / "models" / "clip-seed0")
    folder = export_run(run.folder, tmp_path / "hub").folder
    head, sections = card_of(folder)
    assert "zero-shot-image-classification" in head["tags"] and "classifies an image" in sections[""]
    assert "intent='coffee'" in run_its_python(folder, sections["Use"], tmp_path, monkeypatch, capsys)


def test_card_of_a_student(tmp_path, monkeypatch, capsys):
    config = load_task("rationale_distillation").Config(student={"name": "google/t5-v1_1-base"})
    student = TextToText.from_scratch(["one and one is two"] * 3, vocabulary=60, dim=16, layers=1, heads=2)
    with Run.create("rationale_distillation", config, tmp_path / "run") as run:
        for method in ("dss", "single_task", "finetune"):
            student.save(run.folder / "models" / f"{method}-seed0")
    for method, prefix, explains in (
        ("dss", "predict: ", True),
        ("single_task", "", True),
        ("finetune", "predict: ", False),
    ):
        folder = export_run(run.folder, tmp_path / method, model=f"{method}-seed0").folder
        head, sections = card_of(folder)
        assert head["library_name"] == "transformers" and head["base_model"] == ["google/t5-v1_1-base"]
        assert f'model.write(["{prefix}" + question])' in sections["Use"]
        assert ("larger models wrote" in sections[""]) is explains and "svamp" in sections[""]
        printed = run_its_python(folder, sections["Use"], tmp_path, monkeypatch, capsys, question="one and one?")
        assert printed.startswith("[")


@pytest.mark.slow
def test_onnx_example_needs_no_torch(tmp_path, monkeypatch, capsys, data_dir):
    pytest.importorskip("onnxruntime", reason="graphs need the extra 'onnx'")
    orders = real_recordings({})
    torch.manual_seed(0)
    audio = build_encoder("audio", "cnn", dim=16, blocks=1)
    model = TwoTower(audio, build_encoder("text", "words", dim=16), dim=8).eval()
    path, texts = tmp_path / "speech_tower.onnx", [["order a latte"], ["turn on the lights"]]
    write_graph(SpeechTower(model), path, "speech_embedding", orders)
    section = _onnx(Graph(path, "speech_embedding", 9, 0.025, 13.1, 2e-7), _encoders({"encoder": audio.spec}))
    assert "at most 2e-07, on 9 recordings of 0.025 to 13 s" in section
    numpy.save(tmp_path / "texts.npy", class_vectors(model, texts))
    soundfile.write(tmp_path / "order.wav", orders[-1].numpy(), 16000, subtype="FLOAT")
    printed = run_its_python(tmp_path, section, tmp_path, monkeypatch, capsys)
    cosines = [float(number) for number in re.findall(r"-?\d+\.\d+(?:e-\d+)?", printed)]
    found = {each.intent: each.cosine for each in predict(model, "order.wav", {text[0]: text for text in texts})}
    assert cosines == pytest.approx([found[text[0]] for text in texts], abs=1e-4)
    assert "torch" not in re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)[0]


@pytest.mark.parametrize("kind", ["text", "image"])
def test_card_of_a_classifier(kind, tmp_path, monkeypatch, capsys):
    task = load_task("text_incremental" if kind == "text" else "unlearning")
    torch.manual_seed(0)
    student = TextToText.from_scratch(["wake me", "play"] * 3, vocabulary=110, dim=16, layers=1, heads=2)
    model = TextClassifier(student) if kind == "text" else ImageClassifier(2)
    with Run.create(task.__name__.rpartition(".")[2], task.Config(), tmp_path / "run", config_name="tiny") as run:
        if kind == "text":
            model.grow([0, 1])
        folder = run.folder / "models" / "replay-seed0"
        save_classifier(model, folder, ["alarm", "music"])
        write_calibration(folder, Calibration("temperature", (1.5,), 0.5, 30, 0.9, 0.1, 0.05, 0.8, 0.95))
    done = export_run(run.folder, tmp_path / "hub")
    head, sections = card_of(done.folder)
    assert (
        head["pipeline_tag"] == f"{kind}-classification"
        and f"{sum(tensor_sizes(done.folder).values()):,} param" in (sections["Components"])
    )
    assert (
        "30 validation samples" in sections["Confidence"] and "10.0 % before and 5.0 % after" in sections["Confidence"]
    )
    if kind == "text":
        assert "`student/model.safetensors`" in sections["Components"]
    else:
        from torchvision.utils import save_image

        save_image(torch.rand(3, 30, 40), tmp_path / "photo.png")
    said = run_its_python(done.folder, sections["Use"], tmp_path, monkeypatch, capsys)
    assert said.strip() in ("alarm", "music")
