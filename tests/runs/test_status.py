"""The status of a run, and its digest of the metrics."""

from __future__ import annotations

import json

import pytest

from mmcl.config.model import StrictModel
from mmcl.errors import RunError
from mmcl.reports.page import report_html
from mmcl.runs.log import Mark
from mmcl.runs.run import Run
from mmcl.runs.status import RunStatus, StatusFile


class Config(StrictModel):
    tensorboard: bool = False


@pytest.fixture
def folder(tmp_path):
    with Run.create("count", Config(), tmp_path / "run") as run:
        for epoch in range(3):
            run.log("epoch", strategy="a", seed=0, epoch=epoch, loss=0.25)
    return run.folder


def test_status_is_restored(tmp_path):
    file = StatusFile(tmp_path / "status.json")
    assert file.read() == RunStatus("unknown", None)
    file.write("failed: loss is nan", Mark(7, "digest"))
    assert file.read() == RunStatus("failed: loss is nan", Mark(7, "digest"))


@pytest.mark.parametrize(
    "text", ["[1]", "{", "{}", '{"status": 7}', '{"status": null}', '{"status": "a", "digest": 1}']
)
def test_damaged_status_is_refused_and_can_be_deleted(folder, text, caplog):
    path = folder / "status.json"
    path.write_text(text)
    for read in (lambda: Run.read(folder).status, lambda: report_html([folder])):
        with pytest.raises(RunError, match="status.json .*delete it"):
            read()
    path.unlink()
    assert Run.read(folder).status == "unknown" and len(Run.read(folder).metrics()) == 3
    path.write_text(text)
    Run.open(folder).close("finished")
    assert "status.json" in caplog.text and Run.read(folder).status == "finished"


@pytest.mark.parametrize(
    "change", [lambda text: text.replace("0.25", "0.24"), lambda text: text[:-60], lambda text: ""]
)
def test_changed_metrics_of_an_ended_run_are_refused(folder, change):
    path = folder / "metrics.jsonl"
    path.write_text(change(path.read_text()))
    for read in (lambda: Run.read(folder).metrics(), lambda: report_html([folder])):
        with pytest.raises(RunError, match=r"metrics.jsonl .* status.json was written \(finished\)"):
            read()


def test_status_of_an_older_version_has_no_digest(folder):
    (folder / "status.json").write_text(json.dumps({"status": "finished"}))
    (folder / "metrics.jsonl").write_text('{"kind": "epoch"}\n')
    assert Run.read(folder).status == "finished" and Run.read(folder).metrics() == [{"kind": "epoch"}]
