"""The task run from the command line: with and without rationales, resuming, logged losses."""

from __future__ import annotations

import json

import pytest

TWO = ["strategy=[replay]", "rationales=[none,qcrd]"]


@pytest.fixture(scope="module")
def whole(mmcl, data_dir, tmp_path_factory):
    """Folder and output of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    done = mmcl("run", "text_incremental", "--config", "tiny", "--folder", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def rows(folder, kind):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in lines if row["kind"] == kind]


def test_every_strategy_runs_with_and_without_rationales(whole):
    folder, printed = whole
    names = [f"{base}{added}" for base in ("naive", "replay", "joint") for added in ("", "+dss", "+qcrd")]
    assert [row["strategy"] for row in rows(folder, "result")] == names and all(name in printed for name in names)
    terms = {row["strategy"]: set(row["losses"]) for row in rows(folder, "epoch")}
    assert terms["replay"] == {"cross_entropy"} and terms["replay+dss"] == {"cross_entropy", "explain"}
    assert terms["replay+qcrd"] == {"cross_entropy", "contrast", "discriminate"}
    assert len(rows(folder, "evaluation")) == 2 * len(names)


def test_a_text_is_classified_at_once(whole, mmcl, tmp_path):
    done = mmcl("predict", whole[0], "--text", "wake me at seven", "--model", "replay+qcrd-seed0", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["label"] == found["predictions"][0]["label"] and not found["calibrated"]  # it trains on valid


@pytest.mark.slow
def test_resuming_repeats_an_unfinished_strategy(whole, mmcl, tmp_path):
    folder = tmp_path / "run"
    done = mmcl("run", "text_incremental", "--config", "tiny", "--folder", folder, *TWO)
    assert done.returncode == 0, done.stderr
    found = rows(folder, "evaluation")
    before = [row for row in rows(whole[0], "evaluation") if row["strategy"] in ("replay", "replay+qcrd")]
    assert found == before and len(found) == 4  # independent of other strategies
    (folder / "checkpoints" / "replay+qcrd-seed0.safetensors").unlink()
    again = mmcl("run", "--resume", folder)
    assert again.returncode == 0, again.stderr
    assert rows(folder, "evaluation") == found
    assert (folder / "checkpoints" / "replay+qcrd-seed0.safetensors").is_file()
