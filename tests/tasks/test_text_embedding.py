"""The task run from the command line: results beside baselines, own files, resuming, errors."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from mmcl.batch import Batch
from mmcl.config.tasks import load_task
from mmcl.models import TwoTower

RETRIEVAL = {"nDCG@10", "MRR@10", "Recall@100", "pooled AUC", "calibration error"}
WORDS = ["wing", "heat", "flow", "plate", "panel", "shock", "wave", "body", "cone", "layer"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Pairs and triples of requests; a score tells how many words they share."""
    path = tmp_path_factory.mktemp("own") / "pairs.csv"
    rows = []
    for number, split in enumerate(["train"] * 40 + ["valid"] * 20 + ["test"] * 20):
        first, second = WORDS[number % 10], WORDS[(number * 3 + 1) % 10]
        rows.append(f"{first} on {second} {number},about {first} and {second} {number},nothing,{split}")
    path.write_text("\n".join(["query,passage,negative,split", *rows]))
    cells = [row.split(",") for row in rows]
    scored = [f"{query},{passage},{number % 6},{split}" for number, (query, passage, _, split) in enumerate(cells)]
    (path.parent / "graded.csv").write_text("\n".join(["query,passage,score,split", *scored]))
    return path


@pytest.fixture(scope="module")
def settings(table):
    graded = f"{{name: table, root: '{table.parent / 'graded.csv'}'}}"
    return [f"data={{name: table, root: '{table}'}}", f"evaluations=[{graded}]", "batch_size=8", "seeds=[0,1]"]


@pytest.fixture(scope="module")
def whole(mmcl, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    done = mmcl("run", "text_embedding", "--config", "tiny", "--folder", folder, *settings)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def rows(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_objectives_are_beside_bm25_and_the_untrained_encoder(whole):
    folder, printed = whole
    results = {(row["strategy"], row["seed"]): row["measures"] for row in rows(folder) if row["kind"] == "result"}
    trained = {(name, seed) for name in ("untrained", "clip", "mv_dhel") for seed in (0, 1)}
    assert results.keys() == {("bm25", 0), *trained}
    assert set(results["bm25", 0]) == {f"data {name}" for name in RETRIEVAL}
    for unit in trained:
        assert set(results[unit]) == {f"data {name}" for name in RETRIEVAL} | {
            "evaluations 0 Spearman",
            "evaluations 0 Pearson",
        }
    assert results["clip", 0] != results["untrained", 0] != results["untrained", 1]
    assert "bm25" in printed and "untrained" in printed
    curves = [row for row in rows(folder) if row["kind"] == "representation"]
    assert [row["epoch"] for row in curves if (row["strategy"], row["seed"]) == ("clip", 0)] == [0, 1, 2]
    page = (folder / "report.html").read_text()
    assert "Training loss" in page and "over epochs" in page


def test_a_resumed_run_equals_the_uninterrupted_one(whole, mmcl, tmp_path):
    folder = tmp_path / "killed"
    shutil.copytree(whole[0], folder)
    for unit in ("clip-seed1", "mv_dhel-seed1"):
        for path in (folder / "checkpoints").glob(f"{unit}.*"):
            path.unlink()
        shutil.rmtree(folder / "models" / unit)
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    last = next(i for i, line in enumerate(lines) if '"clip"' in line and '"seed": 1' in line)
    (folder / "metrics.jsonl").write_text("".join(lines[:last]))
    done = mmcl("run", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert rows(folder) == rows(whole[0])
    pair = [TwoTower.load(each / "models" / "clip-seed1") for each in (folder, whole[0])]
    assert torch.equal(*(model.first(Batch(text=["wing on heat"])) for model in pair))


@pytest.mark.parametrize(
    "more",
    [
        ["data.root={graded}", "evaluations=[]", "least_score=3", "encoder.frozen=true", "encoder.head=residual"],
        ["data.root={graded}", "evaluations=[]", "objective=conr", "temperature=1"],
        ["evaluations=[]", "objective=mw", "views=3"],
    ],
)
def test_heads_graded_pairs_and_triples_are_trained(more, mmcl, table, settings, tmp_path):
    more = [word.format(graded=table.parent / "graded.csv") for word in more]
    done = mmcl(
        "run",
        "text_embedding",
        "--config",
        "tiny",
        "--folder",
        tmp_path / "run",
        *settings,
        "seeds=0",
        "objective=clip",
        *more,
    )
    assert done.returncode == 0, done.stderr
    losses = [row["loss"] for row in rows(tmp_path / "run") if row["kind"] == "epoch"]
    assert len(losses) == 2 and losses[0] != losses[1]


def test_contriever_trains_on_crops_of_texts_without_pairs(mmcl, settings, tmp_path):
    more = [*settings, "encoder.options={dim: 8}", "objectives.mochi.queue=16", "epochs=1", "seeds=0"]
    done = mmcl("run", "text_embedding", "--config", "contriever", "--folder", tmp_path / "run", *more)
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "run")
    assert [row["strategy"] for row in found if row["kind"] == "result"] == ["bm25", "untrained", "mochi"]
    (epoch,) = (row for row in found if row["kind"] == "epoch")
    assert epoch["loss"] > 0


def test_the_collections_of_the_data_folder_are_trained_on(data_dir, mmcl, tmp_path):
    done = mmcl("run", "text_embedding", "--config", "tiny", "--folder", tmp_path / "run", "seeds=0", "objective=clip")
    assert done.returncode == 0, done.stderr
    (bm25,) = (row for row in rows(tmp_path / "run") if row.get("strategy") == "bm25")
    assert bm25["measures"]["cranfield nDCG@10"] > 0.3 and "sts Spearman" not in bm25["measures"]


def test_invalid_settings_are_refused(settings, mmcl, tmp_path):
    config = load_task("text_embedding").Config
    with pytest.raises(ValueError, match="sts is in data and evaluations twice"):
        config(evaluations=[{"name": "sts"}, {"name": "sts"}])
    for more, code in (("objective=[clop]", 2), ("data.test=clop", 1)):
        done = mmcl("run", "text_embedding", "--config", "tiny", "--folder", tmp_path / "no", *settings, more)
        assert done.returncode == code and "'clop'" in done.stderr and "Traceback" not in done.stderr
