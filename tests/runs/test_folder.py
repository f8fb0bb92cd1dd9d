"""Creation of a run's folder."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmcl.config.model import StrictModel
from mmcl.errors import RunError
from mmcl.runs.folder import run_name
from mmcl.runs.run import Run


class Config(StrictModel):
    epochs: int = 2


CONFIG = Config()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_default_folder_has_config_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [Run.create("slu", CONFIG, config_name="demo") for _ in range(3)]  # probably within one second
    for run in runs:
        assert run.folder.parent == Path("runs/slu")
        assert re.fullmatch(r"demo-\d{8}-\d{6}(-\d)?", run.folder.name)
        run.close("finished")
    assert len({run.folder for run in runs}) == 3


@pytest.mark.parametrize(
    ("section", "name", "root", "config", "expected"),
    [
        ("data", "barista", None, "demo", "barista-demo"),
        ("data", "barista", None, "barista_seq2seq", "barista_seq2seq"),
        ("data", "table", "/elsewhere/my orders.csv", "demo", "my_orders-demo"),
        ("data", "table", None, "demo", "table-demo"),
        ("pairs", "../captions", None, "demo", "captions-demo"),
        ("other", "barista", None, "demo", "demo"),
    ],
)
def test_runs_are_named_by_data_and_config(section, name, root, config, expected) -> None:
    data = SimpleNamespace(name=name, root=root)
    assert run_name(SimpleNamespace(**{section: data}), config) == expected


def test_empty_folder_is_used_and_others_are_refused(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    Run.create("slu", CONFIG, empty).close("finished")
    full.mkdir()
    (full / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match=r"full is not an empty folder.* --folder$"):
        Run.create("slu", CONFIG, full)
    assert contents(full) == {"thesis.txt": b"years of work"}
    before = contents(empty)
    with pytest.raises(RunError, match=r"empty is not an empty folder.* mmcl run --resume .*empty$"):
        Run.create("slu", CONFIG, empty)
    assert contents(empty) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full"]


def test_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/run \(Not a directory\).* --folder"):
        Run.create("slu", CONFIG, tmp_path / "file" / "run")
    with pytest.raises(RunError, match=r"file \(.*\).* --folder"):
        Run.create("slu", CONFIG, tmp_path / "file")
