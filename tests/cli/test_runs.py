"""The commands `mmcl compare`, `mmcl clean` and `mmcl ls --runs`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmcl.config.model import StrictModel
from mmcl.errors import RunError
from mmcl.runs.run import Run


class Config(StrictModel):
    seeds: tuple[int, ...] = (0,)


def make(folder: Path) -> Run:
    with Run.create("slu_incremental", Config(), folder, config_name="tiny") as run:
        run.log("result", strategy="naive", seed=0, average_accuracy=0.25, seconds=30.0)
    return run


def failed(folder: Path) -> None:
    with pytest.raises(RuntimeError), Run.create("slu_incremental", Config(), folder, config_name="tiny"):
        raise RuntimeError("disk is full")


@pytest.mark.parametrize(
    ("format", "text"),
    [("csv", "naive,1,0.25,,30.0"), ("latex", r"naive & 1 & 25.0 & 30.0 \\"), ("json", '"mean": 0.25')],
)
def test_compare_prints_other_formats_and_writes_no_report(format, text, mmcl_, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "run")
    done = mmcl_("compare", str(tmp_path / "run"), "--format", format)
    assert done.code == 0 and text in done.out
    assert not (tmp_path / "comparison.html").exists()


def test_compare_leaves_out_runs_that_have_not_finished(mmcl_, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "good")
    failed(tmp_path / "bad")
    Run.create("slu_incremental", Config(), tmp_path / "killed").close()
    done = mmcl_("compare", "good", "bad", "killed")
    assert done.code == 0 and "naive" in done.out
    assert [line.startswith("left out ") for line in done.err.splitlines()] == [True, True]
    assert "bad: failed: " in done.err and "killed: running" in done.err
    assert str(tmp_path / "bad") not in (tmp_path / "comparison.html").read_text()
    done = mmcl_("compare", "bad", "--format", "csv")
    assert done.code == 1 and done.out == "" and "none of 1 runs" in done.err


def test_runs_are_listed_with_their_status(mmcl_, tmp_path):
    make(tmp_path / "a" / "good")
    failed(tmp_path / "b" / "bad")
    done = mmcl_("ls", "--runs", str(tmp_path))
    good, bad = (next(line for line in done.out.splitlines() if name in line) for name in ("good", "bad"))
    assert "finished" in good and "failed" in bad and "slu_incremental" in bad
    assert "no runs" in mmcl_("ls", "--runs", str(tmp_path / "nowhere")).out


def test_clean_removes_failed_runs_only(mmcl_, tmp_path):
    make(tmp_path / "good")
    failed(tmp_path / "bad")
    (tmp_path / "other").mkdir()
    done = mmcl_("clean", str(tmp_path), "--yes")
    assert done.code == 0 and str(tmp_path / "bad") in done.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good", "other"]
    assert "no failed runs" in mmcl_("clean", str(tmp_path), "--yes").out


def test_clean_refuses_a_run_with_links(tmp_path):
    from mmcl.cli.runs import remove_run

    failed(tmp_path / "bad")
    (tmp_path / "precious").write_text("kept")
    os.symlink(tmp_path, tmp_path / "bad" / "link")
    with pytest.raises(RunError, match="link"):
        remove_run(Run(tmp_path / "bad"), ["failed"])
    assert (tmp_path / "precious").exists() and (tmp_path / "bad").exists()


def test_clean_refuses_a_run_that_was_resumed_meanwhile(tmp_path):
    from mmcl.cli.runs import remove_run

    run = make(tmp_path / "run")
    with pytest.raises(RunError, match="finished"):
        remove_run(run, ["failed", "interrupted"])
    assert run.folder.exists()


def test_clean_refuses_a_run_that_another_process_writes(tmp_path):
    from filelock import FileLock

    from mmcl.cli.runs import remove_run

    failed(tmp_path / "bad")
    with FileLock(tmp_path / "bad" / ".lock"), pytest.raises(RunError, match="another process"):
        remove_run(Run(tmp_path / "bad"), ["failed"])
    assert (tmp_path / "bad").exists()


def test_damaged_runs_are_skipped_with_a_warning_and_kept(mmcl_, tmp_path):
    make(tmp_path / "good")
    failed(tmp_path / "bad")
    (tmp_path / "bad" / "status.json").write_text("{")
    done = mmcl_("ls", "--runs", str(tmp_path))
    assert done.code == 0 and "good" in done.out and "bad" not in done.out and str(tmp_path / "bad") in done.err
    assert "no failed runs" in mmcl_("clean", str(tmp_path), "--yes").out and (tmp_path / "bad").exists()
