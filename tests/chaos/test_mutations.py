"""A run folder with one change resumes to the metrics of the untouched run, or an error names what was changed."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs the extra 'synth'")

from mmcl.errors import CheckpointError, RunError
from mmcl.runs.run import Run
from mmcl.runs.tracking import Tracking

MUTATIONS, QUICK = 60, 3  # of each state
SETTINGS = ["--config", "tiny", "strategy=[replay,coconut]", "seeds=[3]", "epochs=3", "experiences=2"]
STOP_AT = 9  # rows of epochs: in the second strategy


class Killed(BaseException):
    """Stands for a kill: nothing is written after it."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A whole run; the same killed in its second strategy; and an older state of that."""
    from mmcl.cli import main as cli

    parent = tmp_path_factory.mktemp("mutations")
    run = ["run", "slu_incremental", *SETTINGS, "--folder"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Tracking.__init__.__kwdefaults__, "share", 1.0)  # a checkpoint after each epoch
        assert call(cli, patch, [*run, str(parent / "whole")]) == 0
        whole, log, epochs = rows(parent / "whole"), Run.log, [0]

        def log_until_killed(self, kind, **values):
            log(self, kind, **values)
            epochs[0] += kind == "epoch"
            if epochs[0] == 4 and kind == "epoch":
                shutil.copytree(self.folder, parent / "older")
            if epochs[0] == STOP_AT:
                raise Killed

        patch.setattr(Run, "log", log_until_killed)
        patch.setattr(Run, "close", lambda self, status=None: (self._rows.close(), self._lock.release()))
        with pytest.raises(Killed):
            call(cli, patch, [*run, str(parent / "killed")])
    assert len(list((parent / "killed" / "checkpoints").iterdir())) == 4
    return parent, whole


def call(cli, patch, arguments):
    patch.setattr("sys.argv", ["mmcl", *arguments])
    try:
        cli.main()
    except SystemExit as error:
        return error.code or 0
    return 0


def rows(folder: Path) -> list[dict]:
    """What was logged, without the times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def mutate(folder: Path, older: Path, draw: random.Random) -> str:
    """Change one thing, and say what."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "report.html"))
    path, other = draw.sample(files, 2)
    before = older / path.relative_to(folder)
    kinds = ["delete", "truncate", "byte", "digit", "empty", "swap", "copy", *(["older"] if before.exists() else [])]
    kind, content = draw.choice(kinds), path.read_bytes()
    place = draw.randrange(max(len(content), 1))
    if kind == "delete":
        path.unlink()
    elif kind == "older":
        shutil.copy(before, path)
    elif kind in ("swap", "copy"):
        there = other.read_bytes()
        path.unlink(), path.write_bytes(there)
        if kind == "swap":
            other.unlink(), other.write_bytes(content)
    else:
        if kind == "digit":
            digits = [number for number, byte in enumerate(content) if byte in b"0123456789"] or [place]
            place = draw.choice(digits)
        changed = bytearray(content)
        if kind == "truncate":
            del changed[place:]
        elif kind == "empty":
            changed.clear()
        elif changed:
            changed[place] = (
                b"1234567890"[changed[place] - 48] if kind == "digit" else changed[place] ^ (1 << draw.randrange(8))
            )
        path.unlink(), path.write_bytes(changed)
    return f"{kind} {path.relative_to(folder)} {place} {other.relative_to(folder) if kind in ('swap', 'copy') else ''}"


@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=[pytest.mark.slow] if n >= QUICK else []) for n in range(MUTATIONS)]
)
@pytest.mark.parametrize("state", ["killed", "whole"])
def test_a_changed_folder_is_recovered_or_refused(folders, tmp_path, monkeypatch, state, number):
    from mmcl.cli import main as cli

    parent, whole = folders
    folder = tmp_path / "run"
    shutil.copytree(parent / state, folder)
    told = mutate(folder, parent / "older", random.Random(f"{state} {number}"))
    monkeypatch.setattr(cli, "_debug", True)
    monkeypatch.setenv("MMCL_DEBUG", "1")
    if state == "whole":
        try:
            read = Run.read(folder)
            settings, shown = read.config, [*read.metrics()]
        except (RunError, CheckpointError) as error:
            assert str(folder) in str(error), told
        else:
            assert settings == Run.read(parent / "whole").config and len(shown) == len(whole), told
            assert rows(folder) == whole, told
    try:
        assert call(cli, monkeypatch, ["run", "--resume", str(folder)]) == 0
    except (RunError, CheckpointError) as error:
        assert str(folder) in str(error), told
        assert "\n" not in str(error) and len(str(error)) < 500, told
    else:
        assert rows(folder) == whole, told
