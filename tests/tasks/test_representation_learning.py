"""The task run from the command line: measures, models, resuming, modalities, errors."""

from __future__ import annotations

import json
import math
import os
import random
from pathlib import Path

import pytest
import yaml

from mmcl.models import TwoTower

pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs the extra 'synth'")

MEASURES = {
    *("nearest neighbours", "linear probe", "nearest neighbours, head", "linear probe, head", "1 shot, 3 ways"),
    *("uniformity", "alignment", "tolerance", "effective rank"),
}


@pytest.fixture(scope="module")
def whole(mmcl, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    done = mmcl("run", "representation_learning", "--config", "tiny", "--folder", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def rows(folder, kind=None):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if kind in (None, line["kind"])]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


_FOLDER = Path(__file__).parents[2] / "configs/representation_learning"
CONFIGS = sorted(file.stem for file in _FOLDER.glob("*.yaml") if file.stem != "tiny")
_LONG = ("behaviour", "beclr", "sepclr", "sepclr_speech")


@pytest.mark.parametrize(
    "config", [pytest.param(each, marks=pytest.mark.slow if each in _LONG else ()) for each in CONFIGS]
)
def test_each_config_trains_every_objective(config, data_dir, mmcl, tmp_path):
    size = ["data.train=[valid]", "data.test=valid"] if config.startswith("sepclr") else ["data.options.size=200"]
    fewer = ["epochs=1", "seeds=[0]", "queries=5", "episodes=5", "evaluate_every=1"]
    done = mmcl("run", "representation_learning", "--config", config, "--folder", tmp_path / "run", *size, *fewer)
    assert done.returncode == 0, done.stderr
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert [row["strategy"] for row in rows(tmp_path / "run", "result")] == settings["objective"]


def test_each_objective_and_seed_is_measured(whole):
    folder, printed = whole
    results = rows(folder, "result")
    assert {(row["strategy"], row["seed"]) for row in results} == {
        (o, s) for o in ("nt_xent", "sup_con") for s in (0, 1)
    }
    assert all(set(row["measures"]) == MEASURES for row in results)
    assert [row["epoch"] for row in rows(folder, "representation")] == [0, 1, 2] * 4
    assert rows(folder, "representation")[2]["measures"] == results[0]["measures"]
    assert {row["seed"] for row in rows(folder, "map")} == {0}
    assert "effective" in printed and "uniformity" in printed
    assert "Representation" in (folder / "report.html").read_text()
    assert len(TwoTower.load(folder / "models" / "sup_con-seed1").towers) == 1


def test_a_run_that_stopped_resumes_to_the_same_rows(whole, mmcl, tmp_path):
    folder = tmp_path / "killed"
    settings = ["--folder", folder, "objective=[nt_xent]"]
    stopped = mmcl("run", "representation_learning", "--config", "tiny", "seeds=[0]", *settings)
    assert stopped.returncode == 0, stopped.stderr
    expected = [row for row in rows(whole[0]) if row["strategy"] == "nt_xent" and row["seed"] == 0]
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    assert rows(folder) == expected
    (folder / "metrics.jsonl").write_text("".join(lines[:-2]))  # without map and result
    again = mmcl("run", "--resume", folder)
    assert again.returncode == 0, again.stderr
    assert rows(folder) == expected


def test_held_out_classes_a_long_tail_and_small_crops(whole, mmcl, tmp_path):
    names = rows(whole[0], "map")[0]["classes"]
    settings = [f"data.held_out=[{names[0]}]", "data.long_tail=0.5", "views=3", "augment.small=1", "objective=mv_dhel"]
    more = ["shots=[]", "seeds=0", "--folder", tmp_path / "run"]
    done = mmcl("run", "representation_learning", "--config", "tiny", *settings, *more)
    assert done.returncode == 0, done.stderr
    (result,) = rows(tmp_path / "run", "result")
    assert set(result["measures"]) == {name for name in MEASURES if "shot" not in name}


@pytest.mark.skipif("MMCL_DATA" not in os.environ, reason="needs MNIST, SLURP and ROSMAP in MMCL_DATA")
@pytest.mark.parametrize(
    "settings",
    [
        ("data.name=mnist", "data.options={size: 300}", "encoder.modality=image", "encoder.options={dim: 16}"),
        ("data.name=slurp_text", "data.train=[valid]", "encoder.modality=text", "encoder.name=words"),
        ("data.name=rosmap", "encoder.modality=tabular", "encoder.name=mlp"),
    ],
    ids=["images", "texts", "numbers"],
)
def test_other_modalities(settings, mmcl, tmp_path):
    more = ("data.options={}", "encoder.options={}", "seeds=0", "objective=nt_xent", "epochs=1", "shots=[]")
    done = mmcl("run", "representation_learning", "--config", "tiny", "--folder", tmp_path / "run", *more, *settings)
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "run", "result")) == 1


ROTATED = ("data={name: rotated_mnist, options: {size: 200, spread: 20}}", "encoder.modality=image")
YACHT = ("data={name: uci_regression, options: {table: yacht}}", "encoder.modality=tabular", "encoder.name=mlp")
REGRESSION = ("encoder.options={dim: 16}", "seeds=0", "epochs=1", "evaluate_every=1", "many=5", "few=3")


@pytest.mark.skipif("MMCL_DATA" not in os.environ, reason="needs MNIST and uci_regression in MMCL_DATA")
@pytest.mark.parametrize("data", [ROTATED, YACHT], ids=["images", "numbers"])
def test_numbers_are_predicted_and_their_errors_reported(data, mmcl, tmp_path):
    more = ("objective=[l1+conr,supremix,sup_con]", "objectives.conr.window=2", "weights={conr: 4}", *data, *REGRESSION)
    done = mmcl("run", "representation_learning", "--config", "tiny", "--folder", tmp_path / "run", *more)
    assert done.returncode == 0, done.stderr
    found = {row["strategy"]: set(row["measures"]) for row in rows(tmp_path / "run", "result")}
    errors = {"MAE", "MAE, many-shot", "MAE, few-shot", "RMSE", "R2"}
    assert found["supremix"] == found["sup_con"] == {*errors, "uniformity", "alignment", "effective rank"}
    assert found["l1+conr"] - found["supremix"] == {f"{name}, head" for name in errors}
    assert "MAE" in done.stdout and "nearest" not in done.stdout
    assert all(row["ordered"] for row in rows(tmp_path / "run", "map"))
    assert TwoTower.load(tmp_path / "run" / "models" / "l1+conr-seed0").first.regressor is not None


def test_numbers_of_a_table_of_your_own_are_predicted(mmcl, tmp_path):
    """The price is 10 per room and 1 per square metre, which a ridge regression on the features finds."""
    generator = random.Random(0)
    flats = [(generator.randint(1, 6), generator.uniform(20, 200)) for _ in range(120)]
    lines = [f"{rooms},{area:.1f},{10 * rooms + area:.1f}" for rooms, area in flats]
    (tmp_path / "prices.csv").write_text("\n".join(["rooms,area,price", *lines]) + "\n")
    data = ("data.name=table", f"data.root={tmp_path / 'prices.csv'}", "data.options={target: price}")
    more = ("objective=[l1,l1+conr,supremix]", "encoder.modality=tabular", "encoder.name=mlp", *REGRESSION)
    done = mmcl("run", "representation_learning", "--config", "tiny", "--folder", tmp_path / "run", *data, *more)
    assert done.returncode == 0, done.stderr
    found = {row["strategy"]: row["measures"] for row in rows(tmp_path / "run", "result")}
    assert set(found) == {"l1", "l1+conr", "supremix"}
    assert all(measures["R2"] > 0.8 and "alignment" in measures for measures in found.values())
    assert "MAE, head" in found["l1"] and "MAE, head" not in found["supremix"]


@pytest.mark.skipif("MMCL_DATA" not in os.environ, reason="needs MNIST, emoji, barista and fsdd in MMCL_DATA")
@pytest.mark.parametrize(
    ("data", "modality", "common"),
    [("digits_on_pictures", "image", "category"), ("digits_over_speech", "audio", "coffeeDrink")],
)
def test_a_salient_encoder_is_trained_probed_and_resumed(mmcl, tmp_path, data, modality, common):
    """A run whose last rows are lost resumes from its saved model, with both encoders."""
    samples = (f"data.name={data}", "data.options={}", "data.train=[valid]", "data.test=valid")
    model = (f"encoder.modality={modality}", "encoder.options={dim: 8, blocks: 2}", "batch_size=64", "epochs=1")
    settings = ("--folder", tmp_path / "run", "objective=sep_clr", "seeds=0", *samples, *model, "shots=[]")
    done = mmcl("run", "representation_learning", "--config", "tiny", *settings)
    assert done.returncode == 0, done.stderr
    (result,) = rows(tmp_path / "run", "result")
    assert {"digit probe", "digit probe, salient", f"{common} probe, salient, head"} <= set(result["measures"])
    assert len(TwoTower.load(tmp_path / "run/models/sep_clr-seed0").towers) == 2
    path = tmp_path / "run/metrics.jsonl"
    expected, lines = rows(tmp_path / "run"), path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))  # without map and result
    again = mmcl("run", "--resume", tmp_path / "run")
    assert again.returncode == 0, again.stderr
    assert rows(tmp_path / "run") == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["objective=[nt_xnt]"], "nt_xent"),
        (["objective=l1+cnor"], "'conr'"),
        (["weights={conr: -1}"], "weights"),
        (["data.held_out=[nothing]"], "nothing"),
        (["augment.small=2"], "augment.small is 2"),
        (["augment.audio.smallest=0.9", "augment.audio.largest=0.5"], "largest 0.5"),
        (["views=1"], "views"),
    ],
)
def test_invalid_settings_are_refused(settings, message, mmcl, tmp_path):
    done = mmcl("run", "representation_learning", "--config", "tiny", "--folder", tmp_path / "no", *settings)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_objectives_with_targets_need_data_with_targets(mmcl, tmp_path):
    done = mmcl(
        "run", "representation_learning", "--config", "tiny", "--folder", tmp_path / "run", "objective=supremix"
    )
    assert done.returncode == 2 and "'targets'" in done.stderr and "Traceback" not in done.stderr


def test_too_few_samples_for_episodes_are_told_before_training(mmcl, tmp_path):
    done = mmcl("run", "representation_learning", "--config", "tiny", "--folder", tmp_path / "run", "queries=50")
    assert done.returncode == 1 and "51 samples" in done.stderr and rows(tmp_path / "run", "epoch") == []


@pytest.fixture
def points(tmp_path):
    """Settings of runs on a table of three classes with thirty rows each."""
    generator = random.Random(0)
    lines = [f"{generator.gauss(row % 3, 1):.3f},{generator.random():.3f},{'abc'[row % 3]}" for row in range(90)]
    (tmp_path / "points.csv").write_text("\n".join(["x,y,label", *lines]) + "\n")
    data = ("data.name=table", f"data.root={tmp_path / 'points.csv'}", "encoder.modality=tabular", "encoder.name=mlp")
    return (*data, "shots=[]", "seeds=0", "epochs=1")


EPISODES = "shots: 10, queries: 15, per_epoch: 2}"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["objective=mochi", "momentum=0.9", "objectives.mochi.queue=4"], "queue"),
        (["objective=cacr", "objectives.cacr.queue=4"], "queue"),
        (["objective=isogclr", "objectives.isogclr.samples=4"], "samples"),
        (["objective=simlap", "objectives.simlap.classes=2", "objectives.simlap.dim=16"], "classes"),
        (["objective=susana", "data.episodes={ways: 4, shots: 1, queries: 2, per_epoch: 2}"], "4 ways"),
        (["objective=susana", f"data.episodes={{ways: 2, {EPISODES}"], "0 classes have 25 samples"),
        (["objective=l1"], "targets"),
    ],
    ids=["queue of MoCHi", "queue of CACR", "sample numbers", "gate", "ways", "shots", "targets"],
)
def test_sizes_that_do_not_fit_are_told_by_the_run_and_before_it(settings, told, points, mmcl, tmp_path):
    for command in (
        ("run", "representation_learning", "--folder", tmp_path / "run"),
        ("validate", "representation_learning"),
    ):
        done = mmcl(*command, "--config", "tiny", *points, *settings)
        assert done.returncode in (1, 2) and told in done.stderr and "Traceback" not in done.stderr


def test_batches_of_one_class_or_without_positives_have_finite_losses(points, mmcl, tmp_path):
    """Batches of two rows mostly have no second row of a class, or no row of another."""
    names = "[sup_con,simlap,core_tuning,nt_xent]"
    more = (f"objective={names}", "batch_size=2", "objectives.simlap.dim=16", "--folder", tmp_path / "run")
    done = mmcl("run", "representation_learning", "--config", "tiny", *points, *more)
    assert done.returncode == 0, done.stderr
    assert len([row for row in rows(tmp_path / "run", "epoch") if math.isfinite(row["loss"])]) == 4
