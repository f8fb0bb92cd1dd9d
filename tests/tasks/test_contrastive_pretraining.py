"""The task run from the command line: results, models, resuming, errors."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from mmcl.batch import Batch
from mmcl.models import TwoTower
from mmcl.runs.checkpoint import load_checkpoint, save_checkpoint

pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs the extra 'synth'")


@pytest.fixture(scope="module")
def whole(mmcl, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    done = mmcl("run", "contrastive_pretraining", "--config", "tiny", "--folder", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def rows(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_table_has_both_directions_for_each_objective_and_seed(whole):
    folder, printed = whole
    results = [row for row in rows(folder) if row["kind"] == "result"]
    assert {(row["strategy"], row["seed"]) for row in results} == {(o, s) for o in ("clip", "cwcl") for s in (0, 1)}
    for row in results:
        assert set(row["measures"]) == {
            f"{way}, first{more}" for way in ("audio to text", "text to audio") for more in ("", " 10")
        }
        assert all(0 <= value <= 1 for value in row["measures"].values())
    assert "cwcl" in printed and "audio" in printed
    page = (folder / "report.html").read_text()
    assert "Training loss" in page and "Streams" not in page and "to text, first" in page


def test_models_differ_by_objective_and_seed(whole):
    names = sorted(path.name for path in (whole[0] / "models").iterdir())
    assert names == ["clip-seed0", "clip-seed1", "cwcl-seed0", "cwcl-seed1"]
    embedded = [TwoTower.load(whole[0] / "models" / name).second(Batch(text=["lights on"])) for name in names]
    assert len({tuple(vector.flatten().tolist()) for vector in embedded}) == 4


def test_resumed_run_equals_the_uninterrupted_one(whole, mmcl, tmp_path):
    """The run was killed in its third unit; the second was trained but not evaluated."""
    folder = tmp_path / "killed"
    shutil.copytree(whole[0], folder)
    for unit in ("clip-seed1", "cwcl-seed1"):
        for path in (folder / "checkpoints").glob(f"{unit}.*"):
            path.unlink()
        shutil.rmtree(folder / "models" / unit)
    kept = [line for line in (folder / "metrics.jsonl").read_text().splitlines(keepends=True) if '"seed": 0' in line]
    assert '"kind": "result"' in kept[-1]
    kept.pop()  # trained and saved, but not evaluated
    (folder / "metrics.jsonl").write_text("".join(kept))
    state = load_checkpoint(folder / "checkpoints" / "cwcl-seed0.safetensors")
    state |= {"metrics_bytes": len("".join(kept)), "metrics_digest": None}
    save_checkpoint(folder / "checkpoints" / "cwcl-seed0.safetensors", state)
    done = mmcl("run", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert rows(folder) == rows(whole[0])
    for unit in ("clip-seed1", "cwcl-seed1"):
        pair = [TwoTower.load(each / "models" / unit).state_dict() for each in (folder, whole[0])]
        assert all(torch.equal(value, pair[1][name]) for name, value in pair[0].items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["objective=[clop]"], "objective"),
        (["first.head=none"], "32"),
        (["pairs.name=captions"], "captions"),
    ],
)
def test_invalid_settings_are_refused(settings, message, mmcl, tmp_path):
    done = mmcl("run", "contrastive_pretraining", "--config", "tiny", "--folder", tmp_path / "no", *settings)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("frozen", ["true", "false"])
def test_one_tower_is_probed_before_and_after_training(frozen, mmcl, tmp_path):
    folder = tmp_path / "run"
    settings = ["second=null", "views=2", "first.dropout=0.3", f"first.frozen={frozen}", "objective=sup_con", "seeds=0"]
    done = mmcl("run", "contrastive_pretraining", "--config", "tiny", "--folder", folder, *settings)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (result,) = (row for row in rows if row["kind"] == "result")
    assert set(result["measures"]) == {"linear probe", "linear probe, untrained"}
    assert all(0 <= value <= 1 for value in result["measures"].values())
    losses = [row["loss"] for row in rows if row["kind"] == "epoch"]
    assert len(losses) == 2 and losses[0] != losses[1]
    assert len(TwoTower.load(folder / "models" / "sup_con-seed0").towers) == 1


def test_one_tower_needs_views(mmcl, tmp_path):
    done = mmcl("run", "contrastive_pretraining", "--config", "tiny", "--folder", tmp_path / "run", "second=null")
    assert done.returncode == 2 and "views is 1" in done.stderr
