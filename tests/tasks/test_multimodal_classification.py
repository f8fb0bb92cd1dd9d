"""The task run from the command line: results of every method, resuming, errors."""

from __future__ import annotations

import json

import pytest

METHODS = ["mrna alone", "methylation alone", "mirna alone", "concat", "clip", "m3co", "soft_clip", "m3col"]


@pytest.fixture(scope="module")
def whole(mmcl, data_dir, tmp_path_factory):
    """Folder and output of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    done = mmcl("run", "multimodal_classification", "--config", "tiny", "--folder", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def rows(folder, kind):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in lines if row["kind"] == kind]


def test_results_are_of_the_epoch_selected_by_cross_validation(whole):
    folder, printed = whole
    assert all(name in printed for name in METHODS) and "best test epoch" in printed
    chosen = {row["strategy"]: row["epoch"] for row in rows(folder, "chosen")}
    assert list(chosen) == METHODS and set(chosen.values()) <= {2, 4}
    results = rows(folder, "result")
    assert [(row["seed"], row["strategy"]) for row in results] == [(seed, name) for seed in (0, 1) for name in METHODS]
    curves = {(row["strategy"], row["seed"]): row["test"] for row in rows(folder, "curve")}
    for row in results:
        curve = {each["epoch"]: each for each in curves[row["strategy"], row["seed"]]}
        measures = row["measures"]
        assert row["epoch"] == chosen[row["strategy"]] and list(curve) == [2, 4]
        for name, score in (("accuracy", "accuracy"), ("F1", "f1"), ("AUC", "auc")):
            assert measures[name] == curve[row["epoch"]][score]
            assert measures[f"{name}, last epoch"] == curve[4][score]
            assert measures[f"{name}, best test epoch"] == max(each[score] for each in curve.values())


def test_report_has_views_and_maps(whole):
    folder, _ = whole
    views = rows(folder, "views")
    assert len(views) == 2 * 5 and views[0]["alone"].keys() == {"mrna", "methylation", "mirna"}
    maps = rows(folder, "map")
    assert [row["strategy"] for row in maps] == METHODS and len(maps[0]["points"]) == 106
    report = (folder / "report.html").read_text()
    assert "<h2>Views</h2>" in report and "<h2>Map</h2>" in report


@pytest.mark.slow
def test_resuming_skips_finished_methods(whole, mmcl, tmp_path):
    folder, _ = whole
    half = tmp_path / "half"
    settings = ["--config", "tiny", "--folder", half, "method=[single,m3col]", "seeds=[0]"]
    done = mmcl("run", "multimodal_classification", *settings)
    assert done.returncode == 0, done.stderr
    before = (half / "metrics.jsonl").read_text()
    again = mmcl("run", "--resume", half)
    assert again.returncode == 0, again.stderr
    assert (half / "metrics.jsonl").read_text() == before
    # If the last method was not finished, it is repeated with the same result.
    (half / "checkpoints" / "m3col-seed0.safetensors").unlink()
    again = mmcl("run", "--resume", half)
    assert again.returncode == 0, again.stderr
    first = {row["strategy"]: row["measures"] for row in rows(folder, "result") if row["seed"] == 0}
    assert {row["strategy"]: row["measures"] for row in rows(half, "result")} == {
        name: first[name] for name in ("mrna alone", "methylation alone", "mirna alone", "m3col")
    }


def test_validation_split_must_not_be_trained_on(mmcl):
    done = mmcl("validate", "multimodal_classification", "--config", "tiny", "folds=0")
    assert done.returncode == 1 and "'valid'" in done.stderr + done.stdout
