"""The task run from the command line: every method, resuming, exported students."""

from __future__ import annotations

import json

import pytest

METHODS = ["finetune", "single_task", "dss", "mi", "qcrd"]


@pytest.fixture(scope="module")
def whole(mmcl, data_dir, tmp_path_factory):
    """Folder and output of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    done = mmcl("run", "rationale_distillation", "--config", "tiny", "--folder", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def rows(folder, kind):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in lines if row["kind"] == kind]


def test_every_method_is_trained_and_evaluated(whole):
    folder, printed = whole
    results = {row["strategy"]: row["measures"] for row in rows(folder, "result")}
    assert list(results) == METHODS and all(name in printed for name in METHODS)
    assert set(results["dss"]) == {"accuracy", "valid accuracy"}
    assert set(results["qcrd"]) == {"accuracy", "valid accuracy", "AUC, corrupted", "AUC, wrong", "sampling / training"}
    (counts,) = rows(folder, "rationales")
    assert counts["exercises"] == 30 and counts["positives"] > 30 and set(counts["unparsed"]) == {"llama3", "palm"}
    terms = {row["strategy"]: set(row["losses"]) for row in rows(folder, "epoch")}
    assert terms["qcrd"] == {"predict", "contrast", "discriminate"} and terms["mi"] > terms["dss"]
    assert (folder / "models" / "qcrd-seed0" / "model.safetensors").is_file()


def test_exported_student_generates_the_same_texts(whole, mmcl, tmp_path):
    from mmcl.models import from_pretrained

    folder, _ = whole
    done = mmcl("export", folder, tmp_path / "hub", "--model", "qcrd-seed0")
    assert done.returncode == 0, done.stderr
    asked = ["predict: Jack had 5 apples and ate 2. How many are left?", "explain: 1 + 1?"]
    texts = [from_pretrained(each).write(asked) for each in (tmp_path / "hub", folder / "models" / "qcrd-seed0")]
    assert texts[0] == texts[1] and any(texts[0])


@pytest.mark.slow
def test_resuming_restores_a_lost_result(whole, mmcl, tmp_path):
    folder, _ = whole
    half = tmp_path / "half"
    done = mmcl("run", "rationale_distillation", "--config", "tiny", "--folder", half, "method=[qcrd]")
    assert done.returncode == 0, done.stderr
    alone, among = (
        [row["losses"] for row in rows(each, "epoch") if row["strategy"] == "qcrd"] for each in (half, folder)
    )
    assert alone == among  # independent of other methods
    before = rows(half, "result")[0]
    lines = (half / "metrics.jsonl").read_text().splitlines(keepends=True)
    (half / "metrics.jsonl").write_text("".join(line for line in lines if '"result"' not in line))
    again = mmcl("run", "--resume", half)
    assert again.returncode == 0, again.stderr
    (after,) = rows(half, "result")
    assert after["measures"] == before["measures"] and after["epoch"] == before["epoch"]
    assert len(rows(half, "epoch")) == 2  # no epoch was repeated


def test_missing_student_is_refused(mmcl, data_dir, tmp_path):
    folder = tmp_path / "run"
    done = mmcl("run", "rationale_distillation", "--config", "tiny", "--folder", folder, "student.name=google/t5-none")
    assert done.returncode != 0 and "google/t5-none" in done.stderr
