"""`mmcl validate`: every fault that can be found without training, over all tasks."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from itertools import product

import numpy as np
import pytest
import soundfile
import torch
from torchvision.io import write_png

from mmcl.cli.validate import faults_of
from mmcl.config.tasks import configs, tasks
from mmcl.data.synthesis import espeak
from mmcl.runs import tensorboard

#: Settings of each task that are valid with the data of the fixture.
GOOD = {
    "slu_incremental": ["data.name=table", "data.root=speech.csv", "experiences=2"],
    "class_incremental": [
        "data={name: table, root: images.csv, options: {size: 8, grey: true}}",
        "encoder.options={}",
        "experiences=2",
    ],
    "text_incremental": ["data={name: table, root: texts.csv}", "rationales=none", "by_superclass=false"],
    "rationale_distillation": ["data={name: table, root: texts.csv}", "method=finetune"],
    "representation_learning": ["data.name=table", "data.root=speech.csv"],
    "contrastive_pretraining": ["pairs={name: table, root: speech.csv}"],
    "speech_to_intent": ["pairs={name: table, root: speech.csv}", "evaluations=[{name: table, root: speech.csv}]"],
    "multimodal_classification": [
        "data={name: table, root: images.csv, train: train}",
        "views={image: {modality: image}}",
        "folds=0",
    ],
    "unlearning": ["data={name: table, root: images.csv}"],
    "text_embedding": ["data={name: table, root: pairs.csv}", "evaluations=[{name: table, root: graded.csv}]"],
}
GREY = "'first={modality: image, name: cnn, head: linear, options: {channels: 1}}'"
#: Task, settings with a fault, and the words that the message holds.
FAULTS = [
    ("representation_learning", "objective=l1+conr", ["objective", "l1+conr", "needs targets"]),
    ("representation_learning", "objective=l1+cnor", ["objective", "'cnor'", "'conr'"]),
    ("slu_incremental", "data.name=barrista", ["data.name", "'barrista'", "'barista'"]),
    ("slu_incremental", "'data.options={sise: 8}'", ["data.options", "'sise'", "'size'"]),
    ("slu_incremental", "'data.options={size: large}'", ["data.options", "size", "'large'"]),
    ("slu_incremental", "data.root=none.csv", ["data", "none.csv"]),
    ("slu_incremental", "data.test=tset", ["data", "'tset'", "test"]),
    ("slu_incremental", "data.root=images.csv", ["data.name", "images", "recordings"]),
    ("slu_incremental", "encoder.name=cnnn 'encoder.options={}'", ["encoder", "'cnnn'", "'cnn'"]),
    ("slu_incremental", "'encoder.options={dmi: 8}'", ["encoder", "'dmi'", "'dim'"]),
    ("slu_incremental", "'encoder.options={dim: wide}'", ["encoder", "dim", "'wide'"]),
    ("slu_incremental", "'encoder.options={dim: 0}'", ["encoder", "dim", "0"]),
    (
        "slu_incremental",
        "encoder.name=openai/whisper-none 'encoder.options={}'",
        ["encoder", "'openai/whisper-none'", "MMCL_WEIGHTS", "download"],
    ),
    ("slu_incremental", "experiences=9", ["experiences is 9", "3 classes"]),
    ("slu_incremental", "initial=2 experiences=3", ["experiences", "initial is 2 of 3 classes"]),
    ("slu_incremental", "'class_order=[on, off, upp]'", ["class_order", "'upp'", "'up'"]),
    ("slu_incremental", "by_superclass=true", ["by_superclass"]),
    ("slu_incremental", "batch_size=0", ["batch_size", "0"]),
    ("slu_incremental", "strategy=[naive,replya]", ["strategy[1]", "'replya'", "'replay'"]),
    ("slu_incremental", "strategy=replay+sup_cno", ["strategy", "'replay+sup_cno'", "'sup_con'"]),
    ("slu_incremental", "strategy=replay+token_kd", ["'replay+token_kd'", "seq2seq"]),
    ("slu_incremental", "strategy=icarl model=seq2seq", ["'icarl'", "classifier"]),
    ("slu_incremental", "seeds=[0,x]", ["seeds[1]", "'x'"]),
    ("slu_incremental", "contrast.temperature=-1", ["contrast.temperature", "-1"]),
    ("class_incremental", "data.name=mnits", ["data.name", "'mnits'", "'mnist'"]),
    ("class_incremental", "data.root=none.csv", ["data", "none.csv"]),
    ("class_incremental", "experiences=9", ["experiences is 9", "3 classes"]),
    ("class_incremental", "encoder.modality=audio", ["encoder", "audio", "image (image)"]),
    ("class_incremental", "data.root=texts.csv encoder.modality=image", ["encoder", "image", "text (text)"]),
    ("class_incremental", "'encoder.options={dmi: 8}'", ["encoder", "'dmi'", "'dim'"]),
    ("class_incremental", "'views={picture: {modality: image}}'", ["views", "picture", "image (image)"]),
    ("class_incremental", "'views={image: {modality: image, name: vit}}'", ["views.image", "'vit'"]),
    ("class_incremental", "strategy=slda", ["strategy", "slda", "encoder.frozen"]),
    ("text_incremental", "experiences=9", ["experiences is 9", "3 classes"]),
    ("text_incremental", "rationales=qcrd", ["rationales", "qcrd"]),
    ("text_incremental", "student.dim=50 student.heads=4", ["student.dim is 50", "student.heads=4"]),
    ("text_incremental", "data.train=trian", ["data", "'trian'", "train"]),
    ("rationale_distillation", "method=[qcdr]", ["method[0]", "'qcdr'", "'qcrd'"]),
    ("rationale_distillation", "student.name=google/none", ["student.name", "'google/none'", "MMCL_WEIGHTS"]),
    ("rationale_distillation", "data.root=images.csv", ["data", "text"]),
    ("representation_learning", "objective=nt_xnt", ["objective", "'nt_xnt'", "'nt_xent'"]),
    ("representation_learning", "data.held_out=[nothing]", ["held_out", "'nothing'"]),
    ("representation_learning", "encoder.modality=tabular encoder.name=mlp", ["data.name", "numbers"]),
    ("representation_learning", "augment.small=1 augment.small_smallest=0.9", ["augment", "0.9"]),
    ("representation_learning", "objective=sep_clr", ["objective", "is_target"]),
    ("contrastive_pretraining", "objective=clpi", ["objective", "'clpi'", "'clip'"]),
    ("contrastive_pretraining", "objective=sup_con pairs.root=said.csv", ["objective", "sup_con", "labels"]),
    ("contrastive_pretraining", "first.modality=image", ["pairs.name", "image", "audio"]),
    ("contrastive_pretraining", "second=null views=1", ["views is 1", "2"]),
    ("contrastive_pretraining", f"pairs.root=colours.csv {GREY}", ["channels is 1", "3 channels"]),
    (
        "contrastive_pretraining",
        "'pairs={name: captions, options: {valid: colours.csv}}'",
        ["pairs.options", "train: PATH"],
    ),
    ("speech_to_intent", "model=none", ["model", "none"]),
    (
        "speech_to_intent",
        "'evaluations=[{name: table, root: speech.csv, classes: [onn]}]'",
        ["evaluations[0]", "'onn'", "'on'"],
    ),
    ("speech_to_intent", "'evaluations=[{nmae: fsdd}, {name: fsddd}]'", ["evaluations[0].nmae", "'name'"]),
    ("multimodal_classification", "'views={picture: {modality: image}}'", ["views", "picture", "image (image)"]),
    ("multimodal_classification", "'views={image: {modality: image, name: vit}}'", ["views.image", "'vit'"]),
    ("multimodal_classification", "folds=3", ["folds", "'fold'"]),
    ("multimodal_classification", "folds=0 valid=train", ["valid", "'train'"]),
    ("text_embedding", "data.test=tset", ["data", "'tset'", "test"]),
    ("text_embedding", "data.root=texts.csv", ["data", "texts.csv", "query"]),
    ("text_embedding", "data.name=fsdd", ["data", "fsdd"]),
    ("text_embedding", "'evaluations=[{name: tabel}]'", ["evaluations[0]", "'tabel'", "'table'"]),
    ("text_embedding", "encoder.name=wrods 'encoder.options={}'", ["encoder", "'wrods'", "'words'"]),
    ("text_embedding", "objective=clpi", ["objective", "'clpi'", "'clip'"]),
    ("text_embedding", "objective=sup_con", ["objective", "sup_con", "labels"]),
    ("text_embedding", "data.root=graded.csv least_score=6", ["least_score", "0 text pairs"]),
    ("text_embedding", "views=3 objective=clip data.root=triples.csv", ["views", "clip", "hard negatives"]),
    ("text_embedding", "views=3 objective=mw", ["views is 3", "negative"]),
    ("unlearning", "'settings={laf: {epcohs: 5}}'", ["settings.laf", "'epcohs'", "'epochs'"]),
    ("unlearning", "'settings={laf: {epochs: many}}'", ["settings.laf", "epochs", "'many'"]),
    ("unlearning", "removal.kind=class removal.classes=[onn]", ["removal", "'onn'", "'on'"]),
    ("unlearning", "data.root=speech.csv", ["data.name", "recordings", "images"]),
    ("unlearning", "model=encoder 'stream={}' method=sisa", ["sisa", "stream"]),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Tables of recordings, images and texts with three classes, each with two training samples."""
    folder = tmp_path_factory.mktemp("own")
    splits = ("train", "train", "valid", "test")
    rows = {
        "speech": [],
        "said": [],
        "images": [],
        "colours": [],
        "texts": [],
        "pairs": [],
        "graded": [],
        "triples": [],
    }
    for number, (label, split) in enumerate(product(("on", "off", "up"), splits)):
        soundfile.write(folder / f"{number}.wav", 0.3 * np.sin(np.arange(1600) * (0.1 + number / 97)), 16_000)
        for name, channels in (("grey", 1), ("colour", 3)):
            write_png(torch.full((channels, 8, 8), 20 * number, dtype=torch.uint8), str(folder / f"{name}{number}.png"))
        rows["speech"].append(f"{number}.wav,words {number},{label},{split}")
        rows["said"].append(f"{number}.wav,words {number},{split}")
        rows["images"].append(f"grey{number}.png,{label},{split}")
        rows["colours"].append(f"colour{number}.png,words {number},{split}")
        rows["texts"].append(f"words {number},{label},{split}")
        rows["pairs"].append(f"words {number},{label},{split}")
        rows["triples"].append(f"words {number},{label},no,{split}")
        rows["graded"].append(f"words {number},{label},{split},{number % 5}")
    heads = {"speech": "audio,transcript,label,split", "said": "audio,transcript,split", "images": "image,label,split"}
    heads |= {"colours": "image,text,split", "texts": "text,label,split"}
    heads |= {"triples": "query,passage,negative,split"}
    heads |= {"pairs": "query,passage,split", "graded": "query,passage,split,score"}
    for name, lines in rows.items():
        (folder / f"{name}.csv").write_text("\n".join([heads[name], *lines]) + "\n")
    return folder


@pytest.fixture(autouse=True)
def work(files, monkeypatch, tmp_path):
    monkeypatch.chdir(files)
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MMCL_DATA", raising=False)


def settings_of(task, more=""):
    return [*GOOD[task], *shlex.split(more)]


@pytest.mark.parametrize("task", sorted(GOOD))
def test_settings_without_faults_pass(task):
    assert faults_of(task, "tiny", settings_of(task))[1] == []


def test_regression_data_passes_and_its_faults_are_named(tmp_path):
    path = tmp_path / "yacht.txt"
    path.write_text("\n".join(f"{row} {row % 3} {row}.5" for row in range(20)))
    data = f"data={{name: uci_regression, root: '{tmp_path}', options: {{table: yacht}}}}"
    settings = [
        data,
        "encoder.modality=tabular",
        "encoder.name=mlp",
        "encoder.options={}",
        "objective=[l1+conr,supremix]",
    ]
    assert faults_of("representation_learning", "tiny", settings)[1] == []
    path.write_text(path.read_text().replace("7 1 7.5", "7 1 nan"))
    (fault,) = faults_of("representation_learning", "tiny", settings)[1]
    assert "line 8" in fault and "'nan'" in fault
    path.write_text("\n".join(f"{row} 5" for row in range(20)))
    (fault,) = faults_of("representation_learning", "tiny", settings)[1]
    assert "target 5.0" in fault


@pytest.mark.parametrize(("task", "settings", "words"), FAULTS, ids=[f"{task} {text}" for task, text, _ in FAULTS])
def test_each_fault_gives_one_message_with_the_setting_and_the_value(task, settings, words, mmcl_):
    done = mmcl_("validate", f"{task}/tiny", *settings_of(task, settings))
    lines = [line for line in done.err.splitlines() if words[-1] in line]
    assert done.code == 1 and done.out == "" and len(lines) == 1, done.err
    assert all(word in lines[0] for word in words), done.err


def test_a_fault_is_alone(mmcl_):
    for task, settings, _ in FAULTS:
        if "evaluations=[{nmae" not in settings:  # two faults
            found = faults_of(task, "tiny", settings_of(task, settings))[1]
            assert len(found) == 1, (task, settings, found)


def test_several_faults_are_listed_at_once():
    wrong = "strategy=[replya] encoder.name=cnnn encoder.options={} experiences=9 seeds=[0,x]"
    found = faults_of("slu_incremental", "tiny", settings_of("slu_incremental", shlex.join(wrong.split())))[1]
    values = ("'replya'", "'x'", "'cnnn'", "9 for 3")
    assert [sum(value in line for line in found) for value in values] == [1] * 4 and len(found) == 4


def test_a_default_that_replaces_a_faulty_setting_is_not_checked(monkeypatch):
    wrong = ["data.name=svmap", "data.root=nowhere"]
    assert len(faults_of("rationale_distillation", "tiny", wrong)[1]) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["slu_incremantal"], ["'slu_incremantal'", "'slu_incremental'"]),
        (["slu_incremental/tnyi"], ["'tnyi'", "'tiny'"]),
        (["slu_incremental", "--config", "none.yaml"], ["none.yaml", "no such file"]),
        (["slu_incremental", "--config", "broken.yaml"], ["broken.yaml", "not valid YAML"]),
        (["slu_incremental/tiny", "epochs"], ["'epochs'", "key=value"]),
    ],
)
def test_experiments_that_cannot_be_read_are_named(arguments, words, files, mmcl_):
    (files / "broken.yaml").write_text("data: {name: [\n")
    done = mmcl_("validate", *arguments)
    assert done.code == 1 and done.err.count("\n") == 1 and all(word in done.err for word in words), done.err


def test_missing_packages_are_named_with_their_extra(files, monkeypatch, mmcl_):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    for name in ("espeak_version", "_private_copy"):  # cached
        monkeypatch.setattr(espeak, name, getattr(getattr(espeak, name), "__wrapped__", getattr(espeak, name)))
    done = mmcl_("validate", "slu_incremental/tiny", "tensorboard=true")
    assert done.code == 1 and "mmcl[tensorboard]" in done.err and "mmcl[synth]" in done.err
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (files / "rows.parquet").write_bytes(b"PAR1")
    done = mmcl_("validate", "slu_incremental/tiny", "data.name=table", "data.root=rows.parquet", "data.options={}")
    assert done.code == 1 and "mmcl[parquet]" in done.err


def test_a_strategy_that_trains_adapters_names_the_extra(small_whisper, tmp_path, files, monkeypatch, mmcl_):
    folder, found = small_whisper(tmp_path / "whisper"), importlib.util.find_spec
    monkeypatch.setattr("mmcl.encoders.lora.find_spec", lambda name: None if name == "peft" else found(name))
    adapters = ["strategy=first_session", f"encoder.name={folder}", "encoder.options={}", "encoder.lora.rank=2"]
    done = mmcl_("validate", "slu_incremental/tiny", *settings_of("slu_incremental"), *adapters)
    assert done.code == 1 and "encoder: " in done.err and "mmcl[peft]" in done.err, done.err


def test_devices_and_folders_of_this_machine_are_checked(monkeypatch, mmcl_):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    done = mmcl_("validate", "unlearning/tiny", *settings_of("unlearning"), "device=cuda", "--folder", "speech.csv/run")
    assert done.code == 1 and "device is cuda" in done.err and "speech.csv is not a folder" in done.err


def test_a_data_set_that_is_missing_says_how_to_get_it(mmcl_):
    done = mmcl_("validate", "slu_incremental/fsdd", "encoder.name=cnn")
    assert done.code == 1 and "data: data set fsdd is missing" in done.err and "MMCL_DATA" in done.err


def test_no_weights_are_read_and_nothing_is_written(small_whisper, tmp_path, files):
    folder = small_whisper(tmp_path / "whisper")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    before = sorted(files.iterdir())
    settings = settings_of("slu_incremental", f"encoder.name={folder} 'encoder.options={{}}'")
    assert faults_of("slu_incremental", "tiny", settings)[1] == []
    assert sorted(files.iterdir()) == before and not (tmp_path / "cache").exists()
    weights.unlink()
    (fault,) = faults_of("slu_incremental", "tiny", settings)[1]
    assert str(folder) in fault and "model.safetensors" in fault


def test_an_encoder_of_another_modality_is_refused(small_whisper, tmp_path):
    folder = small_whisper(tmp_path / "whisper")
    text = f"classifier.text.name={folder}"
    (fault,) = faults_of("slu_incremental", "tiny", settings_of("slu_incremental", text))[1]
    assert fault.startswith("classifier.text: ") and "'whisper'" in fault and "text encoder" in fault


@pytest.mark.parametrize("task", sorted(tasks()))
def test_configs_pass_where_their_data_and_weights_are_present(task, data_dir, monkeypatch):
    monkeypatch.setenv("MMCL_DATA", str(data_dir))
    for name in configs(task):
        _, found = faults_of(task, name, [])
        absent = ("is missing", "missing (", "there is no file", "MMCL_WEIGHTS", "device is cuda", "mmcl[synth]")
        assert [fault for fault in found if not any(words in fault for words in absent)] == [], name


def test_a_task_without_checks_is_validated(tmp_path, monkeypatch):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "configs" / "walk").mkdir(parents=True)
    task = """from mmcl.config.model import StrictModel
class Config(StrictModel):
    steps: int = 1
def main(config, run): ...
"""
    (tmp_path / "tasks" / "walk.py").write_text(task)
    (tmp_path / "configs" / "walk" / "demo.yaml").write_text("steps: 2\n")
    monkeypatch.setenv("MMCL_PATH", str(tmp_path))
    config, found = faults_of("walk", "demo", ["steps=3"])
    assert (config.steps, found) == (3, [])
