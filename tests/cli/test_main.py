"""The command line, tested with a small task: a random walk that can be interrupted and resumed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import mmcl
from mmcl.runs.run import Run

TASK = '''"""Walk at random and report where it led.

The second paragraph is not listed.
"""
from __future__ import annotations

import os
import time
from typing import Literal

from pydantic import Field

from mmcl.config.model import OneOrMore, StrictModel
from mmcl.errors import TrainingError


class Config(StrictModel):
    strategy: OneOrMore[Literal["naive", "replay"]] = Field(("naive",), description="who walks")
    seeds: OneOrMore[int] = (0,)
    epochs: int = Field(3, ge=1, description="steps of a walk")
    learning_rate: float = 0.5
    fail: Literal["loss", "bug"] | None = None


def main(config: Config, run: object) -> None:
    import torch

    for seed in config.seeds:
        for strategy in config.strategy:
            name = f"{strategy}-{seed}"
            generator = torch.Generator().manual_seed(seed)
            state = run.restore(name) or {"epoch": 0, "place": torch.zeros(()), "generator": generator.get_state()}
            place = state["place"]
            generator.set_state(state["generator"])
            for epoch in range(state["epoch"], config.epochs):
                place = place + config.learning_rate * torch.randn((), generator=generator)
                run.log("epoch", strategy=strategy, seed=seed, experience=0, epoch=epoch, loss=place.item())
                own = {"epoch": epoch + 1, "place": place, "generator": generator.get_state()}
                run.checkpoint(name, own)
                time.sleep(float(os.environ.get("STEP_SECONDS", "0")))
                if config.fail == "loss":
                    raise TrainingError(f"loss is nan after epoch {epoch}: lower learning_rate={config.learning_rate}")
                if config.fail == "bug":
                    raise ZeroDivisionError("division by zero")
            if not any((row["strategy"], row["seed"]) == (strategy, seed) for row in run.metrics("result")):
                run.log("result", strategy=strategy, seed=seed, last_accuracy=abs(place.item()) % 1, seconds=1.0)
                run.checkpoint(name, own if state["epoch"] < config.epochs else state)
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, and a folder with the task in `MMCL_PATH`."""
    own = tmp_path / "own"
    (own / "tasks").mkdir(parents=True)
    (own / "tasks" / "walk.py").write_text(TASK)
    (own / "configs" / "walk").mkdir(parents=True)
    (own / "configs" / "walk" / "demo.yaml").write_text("# A short [walk].\nepochs: 3\n")
    (own / "configs" / "walk" / "long.yaml").write_text("# A long walk.\nepochs: 20\nstrategy: [naive, replay]\n")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("MMCL_PATH", str(own))
    monkeypatch.setenv("PYTHONPATH", str(Path(mmcl.__file__).parent.parent))
    monkeypatch.delenv("MMCL_DEBUG", raising=False)
    return work


Mmcl = Callable[..., Any]


# --- help ---


def test_help_has_examples_and_loads_no_heavy_library() -> None:
    code = (
        "import sys, mmcl.cli.main\n"
        "sys.argv = ['mmcl', '--help']\n"
        "try: mmcl.cli.main.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'avalanche', 'matplotlib', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("mmcl ls", "mmcl run slu_incremental", "mmcl compare", "seeds=[0,1,2]"):
        assert words in done.stdout


@pytest.mark.parametrize(
    "command",
    [["run"], ["ls"], ["cp"], ["validate"], ["compare"], ["predict"], ["export"], ["data"], ["data", "check"]],
)
def test_every_command_has_help(mmcl_: Mmcl, command: list[str]) -> None:
    outcome = mmcl_(*command, "--help")
    assert outcome.code == 0
    assert " ".join(["Usage: mmcl", *command]) in outcome.out


def test_help_of_run_mentions_settings_and_resume(mmcl_: Mmcl) -> None:
    text = " ".join(mmcl_("run", "walk", "--help").out.split())
    assert "mmcl ls TASK lists its settings" in text
    assert "mmcl run --resume" in text


def test_version(mmcl_: Mmcl) -> None:
    assert mmcl_("--version").out == f"mmcl {mmcl.__version__}\n"


# --- ls, cp, validate ---


def test_ls_lists_tasks_and_configs_with_descriptions(mmcl_: Mmcl) -> None:
    lines = [re.split(r"\s{2,}", line.strip()) for line in mmcl_("ls").out.splitlines()]
    assert ["walk", "Walk at random and report where it led."] in lines
    assert ["walk/demo", "A short [walk]."] in lines
    assert ["walk/long", "A long walk."] in lines


def test_ls_of_a_task_lists_its_settings(mmcl_: Mmcl) -> None:
    outcome = mmcl_("ls", "walk")
    lines = [re.split(r"\s{2,}", line.strip()) for line in outcome.out.splitlines()]
    assert ["epochs", "int", "3", "steps of a walk"] in lines
    assert ["strategy", "[naive | replay, ...]", "[naive]", "who walks"] in lines
    outcome = mmcl_("ls", "wlak")
    assert (outcome.code, outcome.out) == (2, "") and "'wlak'" in outcome.err and "'walk'" in outcome.err


def test_cp_copies_and_never_overwrites(mmcl_: Mmcl, folder: Path) -> None:
    outcome = mmcl_("cp", "walk/demo", "my.yaml")
    assert (outcome.code, outcome.err) == (0, "") and "mmcl run walk --config my.yaml" in outcome.out
    assert (folder / "my.yaml").read_text() == "# A short [walk].\nepochs: 3\n"
    (folder / "my.yaml").write_text("epochs: 4\n")
    outcome = mmcl_("cp", "walk/demo", "my.yaml")
    assert outcome.code == 2 and outcome.err.startswith("error: my.yaml exists")
    assert (folder / "my.yaml").read_text() == "epochs: 4\n"
    assert mmcl_("cp", "walk/demo", ".").out.startswith("demo.yaml: ")
    assert yaml.safe_load(mmcl_("validate", "walk", "--config", "my.yaml").out)["epochs"] == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["walk", "my.yaml"], ("'walk'", "TASK/CONFIG", "`mmcl ls`")),
        (["walk/dmeo", "my.yaml"], ("'dmeo'", "'demo'", "`mmcl ls walk`")),
        (["walk/demo", "no/my.yaml"], ("no/my.yaml (No such file or directory)",)),
    ],
)
def test_cp_refuses_wrong_arguments(mmcl_: Mmcl, arguments: list[str], words: tuple[str, ...]) -> None:
    outcome = mmcl_("cp", *arguments)
    assert (outcome.code, outcome.out) == (2, "") and outcome.err.count("\n") == 1
    assert all(word in outcome.err for word in words)


def test_validate_prints_the_resolved_config(mmcl_: Mmcl) -> None:
    outcome = mmcl_(
        "validate", "walk", "strategy=[naive,replay]", "learning_rate=1e-5", "--config", "long", "seeds=[1, 2]"
    )
    assert outcome.code == 0
    expected = {"strategy": ["naive", "replay"], "seeds": [1, 2], "epochs": 20, "learning_rate": 1e-5, "fail": None}
    assert yaml.safe_load(outcome.out) == expected


def test_validate_lists_every_error(mmcl_: Mmcl, folder: Path) -> None:
    (folder / "my.yaml").write_text("epcohs: 3\nseeds: [a]\nfail: !!python/name:os.system\n")
    outcome = mmcl_("validate", "walk", "-c", "my.yaml", "strategy=repaly", "lr=1")
    assert outcome.code == 1
    assert outcome.out == ""
    expected = [
        ("my.yaml: fail: ", "'!!python/name:os.system'", "line 3"),
        ("command line: strategy: 'repaly'", "naive, replay", "'replay'"),
        ("my.yaml: seeds[0]: 'a'", "integer"),
        ("my.yaml: epcohs: ", "'epochs'"),
        ("command line: lr: ", "strategy, seeds, epochs, learning_rate, fail"),
    ]
    for line, words in zip(outcome.err.splitlines(), expected, strict=True):
        assert line.startswith(words[0]) and all(word in line for word in words)


# --- run ---


def test_run_writes_all_files(mmcl_: Mmcl, folder: Path) -> None:
    outcome = mmcl_("run", "walk", "strategy=[naive,replay]", "seeds=[0,1,2]")
    assert outcome.code == 0
    (run,) = (folder / "runs" / "walk").iterdir()
    assert re.fullmatch(r"demo-\d{8}-\d{6}", run.name)
    relative = run.relative_to(folder)
    assert outcome.out.splitlines()[0] == f"run folder: {relative}"
    assert outcome.out.splitlines()[-1] == f"report: {relative}/report.html"
    for name in ("naive", "replay"):
        assert re.search(rf"{name}\s+3\s+\d+\.\d ± \d+\.\d", outcome.out)
    names = {"config.yaml", "environment.json", "metrics.jsonl", "checkpoints", "status.json", "report.html"}
    assert names <= {path.name for path in run.iterdir()}
    assert Run.read(run).status == "finished"
    assert len(Run.read(run).metrics("epoch")) == 18
    assert "walk / demo" in (run / "report.html").read_text()


def test_run_accepts_a_config_name_or_file_and_a_folder(mmcl_: Mmcl, folder: Path) -> None:
    assert mmcl_("run", "walk", "--config", "long", "--folder", "first", "epochs=2").code == 0
    assert Run.read("first").environment["config"] == "long"
    assert len(Run.read("first").metrics("epoch")) == 4
    (folder / "my.yaml").write_text("epochs: 1\n")
    assert mmcl_("run", "walk", "--config", "my.yaml", "--folder", "second").code == 0
    assert len(Run.read("second").metrics("epoch")) == 1
    outcome = mmcl_("run", "walk", "--folder", "second")
    assert outcome.code == 1
    assert outcome.err.startswith("error: second is not an empty folder")
    assert "--folder" in outcome.err and outcome.err.endswith("mmcl run --resume second\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ("no task", "`mmcl run TASK KEY=VALUE ...`")),
        (["epochs=3"], ("no task", "`mmcl run TASK KEY=VALUE ...`")),
        (["wlak"], ("'wlak'", "'walk'", "`mmcl ls`")),
        (["walk", "--config", "lnog"], ("'lnog'", "task walk", "'long'", "`mmcl ls walk`")),
        (["walk", "-c", "lnog.yaml"], ("lnog.yaml: ",)),
        (["walk", "epoch=3"], ("command line: epoch: ", "'epochs'")),
        (["walk", "--resume", "x"], ("--resume x ",)),
    ],
)
def test_invalid_run_leaves_no_files(mmcl_: Mmcl, folder: Path, arguments: list[str], words: tuple[str, ...]) -> None:
    outcome = mmcl_("run", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ") and all(word in outcome.err for word in words)
    assert list(folder.iterdir()) == []


def test_failed_run_prints_one_line_and_stays_readable(mmcl_: Mmcl) -> None:
    outcome = mmcl_("run", "walk", "fail=loss", "--folder", "first")
    assert outcome.code == 1
    assert outcome.err == "error: loss is nan after epoch 0: lower learning_rate=0.5\n"
    assert Run.read("first").status == "failed: loss is nan after epoch 0: lower learning_rate=0.5"
    assert len(Run.read("first").metrics("epoch")) == 1
    outcome = mmcl_("ls", "--runs", ".")
    assert outcome.code == 0 and "failed: loss is nan" in outcome.out


def test_bug_keeps_its_traceback(mmcl_: Mmcl) -> None:
    with pytest.raises(ZeroDivisionError):
        mmcl_("run", "walk", "fail=bug", "--folder", "first")
    assert Run.read("first").status == "failed: ZeroDivisionError: division by zero"


def test_debug_shows_the_traceback(mmcl_: Mmcl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMCL_DEBUG", "1")
    with pytest.raises(mmcl.errors.TrainingError):
        mmcl_("run", "walk", "fail=loss", "--folder", "first")
    monkeypatch.setenv("MMCL_DEBUG", "0")
    assert mmcl_("run", "walk", "fail=loss", "--folder", "second").code == 1
    with pytest.raises(mmcl.errors.ConfigError):
        mmcl_("--debug", "run", "walk", "x=1")


# --- resume ---


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start the command line in another process."""
    environment = {**os.environ, "STEP_SECONDS": "0.05"}
    command = [sys.executable, "-m", "mmcl", *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=_default_sigint,
    )


def _default_sigint() -> None:
    """Restore the default handler, because background jobs of a shell ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for_rows(folder: str, count: int, process: subprocess.Popen[str]) -> None:
    metrics = Path(folder) / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") >= count):
        time.sleep(0.01)


def test_resumed_run_equals_uninterrupted_run(mmcl_: Mmcl) -> None:
    arguments = ["run", "walk", "--config", "long", "epochs=8", "seeds=[0,1]"]
    assert mmcl_(*arguments, "--folder", "whole").code == 0
    with start(*arguments, "--folder", "killed") as process:
        wait_for_rows("killed", 11, process)  # in the second unit
        refused = mmcl_("run", "--resume", "killed")
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert refused.code == 1 and refused.err.startswith("error: killed is in use by another process")
    assert 11 <= len(Run.read("killed").metrics()) < 36
    assert Run.read("killed").status == "running"
    outcome = mmcl_("run", "--resume", "killed")
    assert outcome.code == 0
    assert Path("killed/metrics.jsonl").read_bytes() == Path("whole/metrics.jsonl").read_bytes()
    assert Run.read("killed").status == "finished"
    assert Path("killed/report.html").exists()


def test_control_c_prints_how_to_resume(mmcl_: Mmcl) -> None:
    with start("run", "walk", "--config", "long", "--folder", "first") as process:
        wait_for_rows("first", 2, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert err == "\ninterrupted; resume with: mmcl run --resume first\n"
    assert Run.read("first").status == "interrupted"
    assert mmcl_("run", "--resume", "first", "epochs=1").code == 2
    assert mmcl_("run", "--resume", "first").code == 0
    assert len(Run.read("first").metrics("epoch")) == 40


def test_resume_refuses_folders_that_are_not_runs(mmcl_: Mmcl, folder: Path) -> None:
    outcome = mmcl_("run", "--resume", "nowhere")
    assert (outcome.code, outcome.out) == (1, "") and "nowhere" in outcome.err
    (folder / "empty").mkdir()
    outcome = mmcl_("run", "--resume", "empty")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: empty is not a run") and "config.yaml" in outcome.err


# --- compare ---


def test_compare_prints_one_table_and_writes_a_report(mmcl_: Mmcl, folder: Path) -> None:
    mmcl_("run", "walk", "--folder", "first")
    mmcl_("run", "walk", "--folder", "second", "strategy=replay", "seeds=[0,1]")
    outcome = mmcl_("compare", "first", "second", "--output", "out/both.html")
    assert outcome.code == 0
    assert re.search(r"first/naive\s+1\s+\d+\.\d\s", outcome.out)
    assert re.search(r"second/replay\s+2\s+\d+\.\d ± \d+\.\d", outcome.out)
    assert outcome.out.splitlines()[-1] == "report: out/both.html"
    assert "2 runs of walk" in (folder / "out" / "both.html").read_text()
    outcome = mmcl_("compare", "first", "nowhere")
    assert (outcome.code, outcome.out) == (1, "") and "nowhere" in outcome.err
