"""Signals end a command with one line at any moment, and runs can be resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from mmcl.runs import signals
from mmcl.runs.run import Run

TASK = '''"""Count epochs."""
from mmcl.config.model import StrictModel


class Config(StrictModel):
    epochs: int = 3


def main(config, run):
    state = run.restore("count") or {"epoch": 0}
    for epoch in range(state["epoch"], config.epochs):
        run.log("epoch", strategy="count", seed=0, epoch=epoch, loss=1.0 / (epoch + 1))
        run.checkpoint("count", {"epoch": epoch + 1})
'''

# Pauses at a given moment, as on a slow machine, and prints that it does.
PROGRAM = """
import signal, sys, time

moment, calls = sys.argv[1], []


def wait(*_, **__):
    print("here", flush=True)
    time.sleep(60)


def wait_the_second_time(function):
    def called(*arguments, **options):
        calls.append(function)
        if len(calls) == 2:
            wait()
        return function(*arguments, **options)
    return called


class Slow:
    find_spec = staticmethod(lambda name, *_: wait() if name == module else None)


if moment == "import":
    module = "pydantic" if sys.argv[2] == "run" else "matplotlib"
    sys.meta_path.insert(0, Slow)
elif moment == "import in a run":
    from mmcl.runs.run import Run
    log = Run.log
    def log_and_import(*arguments, **values):
        log(*arguments, **values)
        import wave
        time.sleep(0.2)  # longer than the interval at which a deferred signal is checked
    Run.log = log_and_import
    module = "wave"
    def wait():
        print("here", flush=True)
        for _ in range(20):
            time.sleep(0.05)
    sys.meta_path.insert(0, Slow)
elif moment == "checkpoint":
    import mmcl.runs.checkpoint
    mmcl.runs.checkpoint.save_file = wait_the_second_time(mmcl.runs.checkpoint.save_file)
elif moment == "row":
    from mmcl.runs.log import RowFile
    RowFile.append = wait_the_second_time(RowFile.append)
elif moment == "report":
    import mmcl.reports.page
    mmcl.reports.page.report_html = wait
elif moment == "check":
    import mmcl.data.catalog
    mmcl.data.catalog._check_file = lambda path: print("here", flush=True) or time.sleep(0.2)
elif moment == "export":
    import mmcl.publishing.export
    mmcl.publishing.export.export_run = wait
elif moment == "predict":
    import mmcl.predict.stored_models
    mmcl.predict.stored_models.choose_model = wait
elif moment == "swallowed":
    import mmcl.reports.page
    def swallow(*_):
        try:
            wait()
        except KeyboardInterrupt:
            wait()
    mmcl.reports.page.report_html = swallow
sys.argv = ["mmcl", *sys.argv[2:]]
from mmcl.__main__ import main
main()
"""
RUN = ["run", "count", "--folder", "first"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "count.py").write_text(TASK)
    (tmp_path / "configs" / "count").mkdir(parents=True)
    (tmp_path / "configs" / "count" / "demo.yaml").write_text("epochs: 3\n")
    monkeypatch.setenv("MMCL_PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def interrupted(moment, arguments, numbers, pause=0.05, before=signal.SIG_DFL):
    """Start a command, send signals at a given moment, and return the exit code and stderr."""

    def reset():  # background jobs of a shell ignore Ctrl-C, and so do their children
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, before if number == signal.SIGHUP else signal.SIG_DFL)

    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, moment, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, preexec_fn=reset, **pipes) as process:
        printed = ""
        while "here" not in printed:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            printed += line
        for number in numbers:
            time.sleep(pause)
            process.send_signal(number)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, errors


@pytest.mark.parametrize(
    ("moment", "numbers"),
    [
        ("checkpoint", [signal.SIGINT] * 2),
        pytest.param("checkpoint", [signal.SIGTERM], marks=pytest.mark.slow),
        ("row", [signal.SIGHUP, signal.SIGTERM]),
        pytest.param("report", [signal.SIGINT] * 2, marks=pytest.mark.slow),
    ],
)
def test_run_ends_with_one_line_and_can_be_resumed(mmcl_, moment, numbers):
    code, errors = interrupted(moment, RUN, numbers)
    assert code == 128 + numbers[0]
    by = "" if numbers[0] == signal.SIGINT else f" by {numbers[0].name}"
    assert errors == f"\ninterrupted{by}; resume with: mmcl run --resume first\n"
    assert Run.read("first").status == ("finished" if moment == "report" else "interrupted")
    assert mmcl_("run", "--resume", "first").code == 0
    assert [row["epoch"] for row in Run.read("first").metrics("epoch")] == [0, 1, 2]


@pytest.mark.parametrize("arguments", [RUN, ["compare", "first"]])
def test_imports_end_with_one_line(mmcl_, arguments):
    if "compare" in arguments:
        mmcl_(*RUN)
    code, errors = interrupted("import", arguments, [signal.SIGINT, signal.SIGINT])
    assert (code, errors) == (130, "\ninterrupted\n")


def test_import_within_a_run_is_finished_first():
    code, errors = interrupted("import in a run", RUN, [signal.SIGTERM])
    assert (code, errors) == (143, "\ninterrupted by SIGTERM; resume with: mmcl run --resume first\n")
    assert Run.read("first").status == "interrupted"


@pytest.mark.parametrize(
    ("number", "moment", "arguments"),
    [
        (signal.SIGINT, "check", ["data", "check", "fsdd"]),
        (signal.SIGTERM, "report", ["compare", "first"]),
        (signal.SIGINT, "export", ["export", "first", "hub"]),
        (signal.SIGTERM, "predict", ["predict", "first", "order.wav", "--intents", "a", "b"]),
    ],
)
def test_other_commands_end_with_one_line(mmcl_, folder, request, moment, arguments, number):
    if moment == "check":
        request.getfixturevalue("data_dir")
    mmcl_(*RUN)
    code, errors = interrupted(moment, arguments, [number])
    by = "" if number == signal.SIGINT else f" by {number.name}"
    assert (code, errors.splitlines()[-1]) == (128 + number, f"interrupted{by}")
    assert "Traceback" not in errors


def test_later_signal_ends_a_program_that_does_not_stop():
    code, errors = interrupted("swallowed", RUN, [signal.SIGINT] * 2, pause=signals.GRACE_SECONDS + 0.5)
    assert (code, errors) == (130, "\ninterrupted; resume with: mmcl run --resume first\n")


def test_ignored_signals_stay_ignored():
    code, errors = interrupted("report", RUN, [signal.SIGHUP, signal.SIGTERM], pause=0.3, before=signal.SIG_IGN)
    assert (code, errors) == (143, "\ninterrupted by SIGTERM; resume with: mmcl run --resume first\n")


def test_handlers_are_restored():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with signals.handled():
        with signals.handled():
            assert signal.getsignal(signal.SIGTERM) is not before[1]
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert signals.received() is None


def test_forked_process_ends_silently():
    code = (
        "import os, signal, sys, time\nfrom mmcl.runs import signals\n"
        "with signals.handled():\n"
        "    child = os.fork()\n"
        "    if not child: time.sleep(60)\n"
        "    time.sleep(0.3); os.kill(child, signal.SIGTERM)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), signals.received())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("-15 None\n", "")
