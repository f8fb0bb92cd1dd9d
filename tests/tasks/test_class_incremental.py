"""The task run from the command line on each modality: results, resuming, use of the models, errors."""

from __future__ import annotations

import csv
import json
import math

import pytest
import soundfile
import torch
from killed import kill_after, rows
from torchvision.io import write_png

from mmcl.config.tasks import load_task
from mmcl.errors import ConfigError

WORDS = ("coffee please", "open the door", "red car", "big tree")
COLUMNS = ("audio", "image", "text", "x", "y", "z", "label", "split")
#: Columns of the table of each modality.
TABLES = {"audio": ("audio",), "image": ("image",), "text": ("text",), "numbers": ("x", "y", "z")}
TABLES["views"] = ("audio", "image", "x", "y", "z")
UNEQUAL = "views={image: {modality: image, options: {dim: 8}}, numbers: {modality: tabular, name: mlp}}"
SMALL = ["data.options={size: 12, grey: true}", "encoder.options={}", "seeds=[3]", "epochs=4"]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Tables of four classes that each view separates: a tone, a bar, words, and numbers."""
    folder, generator = tmp_path_factory.mktemp("own"), torch.Generator().manual_seed(0)
    samples = []
    for split, count in (("train", 6), ("valid", 4), ("test", 3)):
        for label in range(4):
            for number in range(count):
                name = f"{split}{label}{number}"
                tone = torch.sin(2 * math.pi * (300 + 400 * label) * torch.arange(3200) / 16_000)
                noise = torch.randn(3200, generator=generator)
                soundfile.write(folder / f"{name}.wav", (0.3 * tone + 0.01 * noise).numpy(), 16_000)
                image = 40 * torch.rand((1, 12, 12), generator=generator)
                image[:, 3 * label : 3 * label + 3] += 200
                write_png(image.byte(), str(folder / f"{name}.png"))
                vector = 0.1 * torch.randn(3, generator=generator)
                vector[label % 3] += 1 + label
                numbers = [f"{value:.4f}" for value in vector.tolist()]
                samples.append(
                    [f"{name}.wav", f"{name}.png", f"{WORDS[label]} {number}", *numbers, f"class {label}", split]
                )
    for name, columns in TABLES.items():
        with open(folder / f"{name}.csv", "w", newline="") as file:
            chosen = [COLUMNS.index(column) for column in (*columns, "label", "split")]
            csv.writer(file).writerows([[each[place] for place in chosen] for each in (COLUMNS, *samples)])
    return folder


def arguments(own, modality, *settings):
    table = [f"data={{name: table, root: {own / modality}.csv, options: {{size: 12, grey: true}}}}"]
    return ["class_incremental/tiny", *table, *SMALL[1:], *settings]


@pytest.fixture(scope="module", params=TABLES)
def run_of(request, own, mmcl, tmp_path_factory):
    """Modality, folder and output of a run on each modality."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    settings = ["strategy=[replay,coconut+sup_con,joint@slda]", "optimizer.learning_rate=1e-2"]
    done = mmcl("run", *arguments(own, request.param, *settings), "--folder", folder)
    assert done.returncode == 0, done.stderr
    return request.param, folder, done.stdout


def test_each_modality_is_learned_and_reported(run_of):
    modality, folder, printed = run_of
    assert "coconut+sup_con" in printed and "report.html" in printed
    results = {row["strategy"]: row for row in rows(folder) if row["kind"] == "result"}
    assert results.keys() == {"replay", "coconut+sup_con", "joint@slda"}
    assert all(0 <= row["last_accuracy"] <= 1 for row in results.values())
    best = max(row["average_accuracy"] for row in results.values())
    assert best > (0.3 if modality == "audio" else 0.6)  # 24 recordings teach a network little
    losses = [row["losses"] for row in rows(folder) if row["kind"] == "epoch" and "sup_con" in row["strategy"]]
    assert losses[-1].keys() >= {"cross_entropy", "mm", "nspt_audio", "nspt_text", "sup_con"}


@pytest.fixture
def predicted(run_of, own, mmcl, tmp_path):
    """Function that returns the predicted classes of all test samples, in order."""
    modality, _, _ = run_of
    with open(own / f"{modality}.csv", newline="") as file:
        tested = [row for row in csv.DictReader(file) if row["split"] == "test"]
    if modality in ("audio", "image"):
        inputs = [own / row[modality] for row in tested]
    elif modality == "text":
        inputs = [part for row in tested for part in ("--text", row["text"])]
    else:
        inputs = [tmp_path / "test.csv"]
        for row in tested:
            row |= {name: str(own / row[name]) for name in ("audio", "image") if name in row}
        with open(inputs[0], "w", newline="") as file:
            writer = csv.DictWriter(file, TABLES[modality], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(tested)

    def predict(folder, *options):
        done = mmcl("predict", folder, *inputs, "--csv", "--threshold", "0", *options)
        assert done.returncode == 0, done.stderr
        return [each["label"] for each in csv.DictReader(done.stdout.splitlines())], [row["label"] for row in tested]

    return predict


@pytest.mark.parametrize("strategy", ["coconut+sup_con", "joint@slda"])
def test_kept_and_exported_models_have_the_accuracy_of_the_run(strategy, run_of, predicted, mmcl, tmp_path):
    _, folder, _ = run_of
    (result,) = [row for row in rows(folder) if row["kind"] == "result" and row["strategy"] == strategy]
    found, expected = predicted(folder, "--model", f"{strategy}-seed3")
    right = sum(one == other for one, other in zip(found, expected, strict=True)) / len(found)
    assert right == pytest.approx(result["last_accuracy"])
    done = mmcl("export", folder, tmp_path / "hub", "--model", f"{strategy}-seed3")
    assert done.returncode == 0, done.stderr
    assert predicted(tmp_path / "hub")[0] == found
    assert (tmp_path / "hub" / "calibration.json").exists() and "## Use" in (tmp_path / "hub" / "README.md").read_text()


def test_models_of_one_modality_are_served(run_of):
    from pathlib import Path

    from mmcl.cli.serve import recognizing_models, split_folders

    modality, folder, _ = run_of
    models = recognizing_models([Path(folder)])
    single = modality in ("audio", "image", "text")
    assert {each.modality for each in models.values()} == ({modality} if single else set())
    assert [run.folder for run in split_folders([Path(folder)])[1]] == [folder]


def test_frozen_encoders_take_every_closed_form_strategy(own, mmcl, tmp_path):
    views = ", ".join(f"{view}: {{modality: {view}, name: cnn, frozen: true}}" for view in ("audio", "image"))
    views += ", numbers: {modality: tabular, name: mlp, frozen: true}"
    settings = [f"views={{{views}}}", "strategy=[ncm,slda,ranpac,fecam,naive@ncm]", "readout.ranpac.projections=64"]
    done = mmcl("run", *arguments(own, "views", *settings), "--folder", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    last = {row["strategy"]: row["last_accuracy"] for row in rows(tmp_path / "run") if row["kind"] == "result"}
    assert last.keys() == {"ncm", "slda", "ranpac", "fecam", "naive@ncm"} and last["slda"] > 0.7
    done = mmcl("export", tmp_path / "run", tmp_path / "hub", "--model", "slda-seed3")
    assert done.returncode == 0, done.stderr  # with the random weights of the encoders


@pytest.mark.parametrize("fusion", ["gated", "attention"])
def test_views_are_fused_by_trained_networks(fusion, own, mmcl, tmp_path):
    settings = ["strategy=[all]", f"fusion={fusion}", "dim=16", "epochs=1"]
    done = mmcl("run", *arguments(own, "views", *settings), "--folder", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    names = [row["strategy"] for row in rows(tmp_path / "run") if row["kind"] == "result"]
    assert {"icarl", "lucir", "bic", "ewc", "si", "mas"} <= set(names) and "slda" not in names
    done = mmcl("predict", tmp_path / "run", own / "views.csv", "--model", "replay-seed3", "--json")
    assert done.returncode == 0 and len(json.loads(done.stdout)) == 52


def test_scenarios_and_validation(own, mmcl, tmp_path):
    settings = ["strategy=[replay,naive]", "online=true", "anytime_every=1", "shots=3"]
    done = mmcl("validate", *arguments(own, "image", *settings))
    assert done.returncode == 0, done.stderr
    done = mmcl("run", *arguments(own, "image", *settings), "--folder", tmp_path / "run")
    assert done.returncode == 0 and "anytime" in done.stdout, done.stderr
    compared = mmcl("compare", tmp_path / "run", "--output", tmp_path / "page.html")
    assert compared.returncode == 0, compared.stderr


@pytest.mark.parametrize("lines", [3, 8])
def test_killed_run_resumes_to_the_same_metrics(lines, own, mmcl, environment, tmp_path):
    chosen = arguments(own, "views", "strategy=[coconut@slda,der_pp]", "epochs=3")
    done = mmcl("run", *chosen, "--folder", tmp_path / "whole")
    assert done.returncode == 0, done.stderr
    kill_after(lines, tmp_path / "killed", environment, *chosen)
    done = mmcl("run", "--resume", tmp_path / "killed")
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")


@pytest.mark.parametrize(
    ("modality", "settings", "words"),
    [
        ("image", ["encoder.modality=audio"], ["audio", "image (image)", "encoder.modality=image"]),
        ("image", ["encoder.modality=text"], ["text", "image (image)"]),  # its texts are names of classes
        ("image", ["views={audio: {modality: audio}}"], ["view audio", "image (image)"]),
        ("views", ["views={image: {modality: audio}}"], ["view image", "audio", "numbers (tabular)"]),
        ("views", ["encoder.name=cnn"], ["encoder.name", "encoder.modality"]),
        ("views", ["fusion=gated", UNEQUAL], ["gated", "image 8", "numbers 128", "dim"]),
        ("text", ["strategy=slda"], ["slda", "encoder.frozen"]),
        ("views", ["strategy=slda", "views={image: {modality: image}}"], ["slda", "views.image.frozen"]),
        ("text", ["strategy=replay+token_kd"], ["replay+token_kd", "decoder"]),
        ("none", [], ["none.csv"]),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused_in_one_line(modality, settings, words, own, mmcl, tmp_path):
    for command in (["validate"], ["run", "--folder", tmp_path / "run"]):
        if command[0] == "validate" and "fusion=gated" in settings:
            continue  # sizes of encoders are known after they are built
        done = mmcl(command[0], *arguments(own, modality, *settings), *command[1:])
        shown = " ".join(done.stderr.split())
        assert done.returncode in (1, 2) and all(word in shown for word in words), shown
        assert "Traceback" not in shown


def test_real_images_and_sentences(data_dir, mmcl, tmp_path):
    """The configs on real data, with small networks."""
    last = {}
    for config, own in (("mnist", "data.options={size: 300}"), ("slurp_text", "encoder.name=words")):
        settings = [own, "strategy=[naive,joint]", "seeds=[0]", "epochs=4", "experiences=2"]
        done = mmcl("run", f"class_incremental/{config}", *settings, "--folder", tmp_path / config)
        assert done.returncode == 0, done.stderr
        results = [row for row in rows(tmp_path / config) if row["kind"] == "result"]
        last[config] = {row["strategy"]: row["last_accuracy"] for row in results}
    assert all(each["joint"] > each["naive"] + 0.1 for each in last.values()), last


def test_a_config_names_the_encoder_that_the_data_lacks():
    class Photos:
        classes, labels, texts = ("cat", "dog"), [0, 1], ["cat", "dog"]

        def __len__(self):
            return 2

        def __getitem__(self, row):
            return {"image": torch.rand(1, 8, 8), "text": self.texts[row], "label": row}

    config = load_task("class_incremental").Config()
    assert {view: each.name for view, each in config.sections(Photos()).items()} == {"image": "cnn"}
    with pytest.raises(ConfigError, match="audio.*image"):
        load_task("class_incremental").Config(encoder={"modality": "audio"}).sections(Photos())
