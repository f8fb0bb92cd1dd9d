"""The command-line application, with the commands `ls`, `cp`, `validate`, `run` and `compare`."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from mmcl import __version__
from mmcl.cli import data as data_cli
from mmcl.cli import export as export_cli
from mmcl.cli import predict as predict_cli
from mmcl.cli import rationales as rationales_cli
from mmcl.cli import runs as runs_cli
from mmcl.cli import serve as serve_cli
from mmcl.cli import validate as validate_cli
from mmcl.cli.arguments import DEFAULT, Config, Settings, load_experiment
from mmcl.cli.terminal import prepare_terminal, print_table, say
from mmcl.errors import ConfigError, MMCLError
from mmcl.runs import signals
from mmcl.text.escape import rich_text

if TYPE_CHECKING:
    from mmcl.runs.run import Run

# Commands import what they need, so that `mmcl --help` loads neither torch nor pydantic nor matplotlib.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_debug = False
app.add_typer(data_cli.app, name="data")


def main() -> None:
    """Run the command line. Signals and errors of mmcl become one line and an exit code."""
    prepare_terminal()
    with signals.handled():
        try:
            app(prog_name="mmcl")
        except BaseException as error:
            code = error.code if isinstance(error, SystemExit) else None
            is_done = isinstance(error, SystemExit) and not code
            if code == 130 or isinstance(error, KeyboardInterrupt) or (signals.received() and not is_done):
                _stop()  # the signal may have become another error, such as a failed import
            if isinstance(error, MMCLError):
                _fail(error)
            raise


def _version(show: bool) -> None:
    if show:
        say(f"mmcl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", envvar="MMCL_DEBUG", help="Show the traceback of errors.")] = False,
) -> None:
    """Multimodal and speech continual learning.

    A **task** is a benchmark, a **config** is one experiment of a task, and a **run** is a folder of results.

    - `mmcl ls` : list tasks and configs
    - `mmcl run slu_incremental` : run the demo config of a task
    - `mmcl run slu_incremental strategy=[naive,replay] seeds=[0,1,2]` : override settings
    - `mmcl compare runs/slu_incremental/*` : compare runs in one table and report
    - `mmcl export runs/slu_incremental/barista hub/orders` : export a model of a run for a model hub

    Set `MMCL_DATA` to the folder of the data sets, and `MMCL_PATH` to folders with your own `tasks/` and `configs/`.
    """
    global _debug
    _debug = debug


@app.command()
def ls(
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="List the settings of this task.")] = None,
    runs: Annotated[
        Path | None, typer.Option("--runs", metavar="FOLDER", help="List the runs in this folder instead.")
    ] = None,
) -> None:
    """List tasks and configs. With TASK, list its configs and settings.

    - `mmcl ls`
    - `mmcl ls slu_incremental`
    - `mmcl ls --runs runs`
    """
    if runs is not None:
        return runs_cli.list_runs(runs)
    from mmcl.config import tasks as experiments
    from mmcl.config.listing import list_settings

    tasks = experiments.tasks()
    rows = []
    for name in tasks if task is None else [task]:
        configs = experiments.configs(name)
        rows.append((rich_text(name, "bold"), rich_text(experiments.description(tasks[name]))))
        for config, path in configs.items():
            rows.append((rich_text(f"  {name}/{config}"), rich_text(experiments.description(path))))
    print_table(rows)
    if task is None:
        say("\nmmcl ls TASK lists the settings of a task, mmcl run TASK --config CONFIG runs a config", lines=True)
        return
    say("")
    listed = list_settings(experiments.load_task(task).Config)
    cells = [tuple(map(rich_text, (each.key, each.type, each.default, each.description))) for each in listed]
    print_table(cells, ("setting", "type", "default", "description"))


@app.command()
def cp(
    config: Annotated[str, typer.Argument(metavar="TASK/CONFIG", help="A config; `mmcl ls` lists them.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, or a folder.")],
) -> None:
    """Copy a config to a new file for editing.

    - `mmcl cp slu_incremental/demo my.yaml`
    - `mmcl run slu_incremental --config my.yaml`
    """
    from mmcl.config.tasks import find_config
    from mmcl.files.atomic import written_whole

    task, slash, name = config.partition("/")
    if not slash:
        raise ConfigError(
            f"'{config}' is not a config, expected TASK/CONFIG such as slu_incremental/demo (`mmcl ls` lists them)"
        )
    source = find_config(task, name)
    target = file / source.name if file.is_dir() else file
    if target.exists():
        raise ConfigError(f"{target} exists: choose another name, or remove it first")
    try:
        with written_whole(target) as temporary:
            temporary.write_bytes(source.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot write {target} ({error.strerror}): choose another path") from None
    say(f"{target}: edit it, then run: mmcl run {task} --config {target}")


app.command()(validate_cli.validate)


@app.command()
def run(
    task: Annotated[
        str | None, typer.Argument(metavar="TASK[/CONFIG]", help="Name of a task or config; `mmcl ls` lists them.")
    ] = None,
    settings: Settings = None,
    config: Config = DEFAULT,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Folder of the run [default: runs/TASK/DATA-CONFIG-DATE-TIME]."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="FOLDER", help="Resume an interrupted run.")
    ] = None,
) -> None:
    """Run a task, show its results and write a report. `mmcl ls TASK` lists its settings.

    - `mmcl run slu_incremental`
    - `mmcl run slu_incremental --config barista seeds=[0,1,2] optimizer.learning_rate=1e-3`
    - `mmcl run slu_incremental --config my.yaml --folder results/first`
    - `mmcl run --resume results/first`
    """
    from mmcl.runs.launch import run_task
    from mmcl.runs.run import Run

    if resume is not None:
        if task is not None or settings or folder is not None or config != DEFAULT:
            raise ConfigError(f"--resume {resume} takes the task and settings from the run: remove the other arguments")
        interrupted = Run.read(resume)
        _ = interrupted.config  # raises if config.yaml was changed
        module, resolved, *_ = load_experiment(interrupted.task, str(resume / "config.yaml"), None)
        make = partial(Run.open, resume)
    else:
        if task is None or "=" in task:
            raise ConfigError("no task: expected `mmcl run TASK KEY=VALUE ...` (`mmcl ls` lists tasks)")
        module, resolved, task, name = load_experiment(task, config, settings)
        make = partial(Run.create, task, resolved, folder, config_name=name)

    def announce(opened: Run) -> None:
        signals.advise(f"resume with: mmcl run --resume {opened.folder}")
        say(f"run folder: {opened.folder}")

    finished = run_task(module, resolved, make, announce)
    if finished is not None:
        runs_cli.show_results([finished], finished.folder / "report.html")


app.command()(runs_cli.compare)
app.command()(runs_cli.clean)
app.command(cls=predict_cli.SeveralIntents)(predict_cli.predict)
app.command()(export_cli.export)
app.command()(serve_cli.serve)
app.command()(rationales_cli.rationales)


def _stop() -> NoReturn:
    """Exit after a signal. Only the first of several processes prints a message."""
    from mmcl import distributed

    code = signals.end_by_signal(silent=not distributed.is_main() or os.environ.get("LOCAL_RANK", "0") != "0")
    if distributed.world_size() > 1:  # threads of the process group may hang or crash at exit
        os._exit(code)
    sys.exit(code)


def _fail(error: MMCLError) -> NoReturn:
    if _debug:
        raise error
    several = isinstance(error, ConfigError) and "\n" in str(error)  # one line per error
    say(error if several else f"error: {error}", colour="red", err=True, lines=several)
    sys.exit(2 if isinstance(error, ConfigError) else 1)


if __name__ == "__main__":
    with signals.handled(for_good=True):
        main()
