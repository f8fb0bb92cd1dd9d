"""The command line: ls, cp, run, validate, compare, predict, serve, export, rationales, data."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from mmcl import __version__
from mmcl.cli import data as data_cli
from mmcl.cli import export as export_cli
from mmcl.cli import rationales as rationales_cli
from mmcl.cli import serve as serve_cli
from mmcl.cli.data import console
from mmcl.cli.terminal import prepare_terminal, say
from mmcl.errors import ConfigError, MMCLError
from mmcl.runs import signals
from mmcl.text.escape import rich_text

if TYPE_CHECKING:
    from mmcl.runs.run import Run

# What a command needs is imported in it: `mmcl --help` loads neither torch nor pydantic nor matplotlib.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_debug = False
app.add_typer(data_cli.app, name="data")

Task = Annotated[str, typer.Argument(metavar="TASK", help="A task, as `mmcl ls` lists them.")]
Config = Annotated[str, typer.Option("--config", "-c", metavar="NAME|FILE", help="A config of the task, or a file.")]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings to change, values as in YAML: `seeds=[0,1]`."),
]


def main() -> None:
    """Run the command line; errors that mmcl raises on purpose, and signals, become one line and an exit code."""
    prepare_terminal()
    with signals.heeded():
        try:
            app(prog_name="mmcl")
        except BaseException as error:
            code = error.code if isinstance(error, SystemExit) else None
            is_done = isinstance(error, SystemExit) and not code
            if code == 130 or isinstance(error, KeyboardInterrupt) or (signals.received() and not is_done):
                _stop()  # whatever the signal was made into on its way: an import that broke off, say
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
    debug: Annotated[
        bool, typer.Option("--debug", envvar="MMCL_DEBUG", help="Show where an error comes from.")
    ] = False,
) -> None:
    """Multimodal and speech continual learning.

    A **task** is a benchmark; a **config** of it is one experiment; a **run** is the folder of its results.

    - `mmcl ls` : which tasks and configs there are
    - `mmcl run slu_incremental` : run the demo of a task
    - `mmcl run slu_incremental strategy=[naive,replay] seeds=[0,1,2]` : with other settings
    - `mmcl compare runs/slu_incremental/*` : one table and report of several runs
    - `mmcl export runs/slu_incremental/barista hub/orders` : a model of a run as a folder for a model hub

    Data sets are looked for in the folder that `MMCL_DATA` names, your own `tasks/` and `configs/` in those of
    `MMCL_PATH`.
    """
    global _debug
    _debug = debug


@app.command()
def ls(
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="List the settings of this task.")] = None,
) -> None:
    """List tasks and their configs; with a TASK, its configs and every setting.

    - `mmcl ls`
    - `mmcl ls slu_incremental`
    """
    from rich.table import Table

    from mmcl.config import tasks as experiments
    from mmcl.config.model import settings

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    tasks = experiments.tasks()
    for name in tasks if task is None else [task]:
        configs = experiments.configs(name)
        table.add_row(rich_text(name, "bold"), rich_text(experiments.description(tasks[name])))
        for config, path in configs.items():
            table.add_row(rich_text(f"  {name}/{config}"), rich_text(experiments.description(path)))
    console().print(table)
    if task is None:
        say("\nmmcl ls TASK lists its settings, mmcl run TASK --config CONFIG runs it", lines=True)
        return
    listing = Table("setting", "type", "default", "what it is", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for setting in settings(experiments.load_task(task).Config):
        listing.add_row(*map(rich_text, (setting.key, setting.type, setting.default, setting.description)))
    say("")
    console().print(listing)


@app.command()
def cp(
    config: Annotated[str, typer.Argument(metavar="TASK/CONFIG", help="A config, as `mmcl ls` lists them.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, or a folder for it.")],
) -> None:
    """Copy a config to a file of your own, to edit.

    - `mmcl cp slu_incremental/demo my.yaml`
    - `mmcl run slu_incremental --config my.yaml`
    """
    from mmcl.config.tasks import find_config
    from mmcl.files.atomic import written_whole

    task, slash, name = config.partition("/")
    if not slash:
        raise ConfigError(f"'{config}' is not TASK/CONFIG such as slu_incremental/demo (`mmcl ls` lists them)")
    source = find_config(task, name)
    target = file / source.name if file.is_dir() else file
    if target.exists():
        raise ConfigError(f"{target} exists: choose another name, or remove it first")
    try:
        with written_whole(target) as temporary:
            temporary.write_bytes(source.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot write {target} ({error.strerror}): choose another place") from None
    say(f"{target}: edit it, then mmcl run {task} --config {target}")


@app.command()
def validate(task: Task, settings: Settings = None, config: Config = "demo") -> None:
    """Print a config as resolved, or every fault in it (exit code 2); nothing is run.

    - `mmcl validate slu_incremental --config my.yaml epochs=5`
    """
    from mmcl.config.model import dump_config

    _, resolved, _ = _load(task, config, settings)
    say(dump_config(resolved), lines=True, end="")


@app.command()
def run(
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="A task, as `mmcl ls` lists them.")] = None,
    settings: Settings = None,
    config: Config = "demo",
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Where results go [default: runs/TASK/CONFIG-DATE-TIME]."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="FOLDER", help="Go on with a run that was interrupted.")
    ] = None,
) -> None:
    """Run a task, then show the results and write a report. `mmcl ls TASK` lists its settings.

    - `mmcl run slu_incremental`
    - `mmcl run slu_incremental --config barista seeds=[0,1,2] learning_rate=1e-3`
    - `mmcl run slu_incremental --config my.yaml --folder results/first`
    - `mmcl run --resume results/first`
    """
    from mmcl.runs.launch import run_task
    from mmcl.runs.run import Run

    if resume is not None:
        if task is not None or settings or folder is not None or config != "demo":
            raise ConfigError(f"--resume {resume} takes the task and all settings from the run: give nothing beside it")
        begun = Run.read(resume)
        _ = begun.config  # is what it was, or says how it was changed
        module, resolved, _ = _load(begun.task, str(resume / "config.yaml"), None)
        make = partial(Run.open, resume)
    else:
        if task is None or "=" in task:
            raise ConfigError("which task? expected `mmcl run TASK KEY=VALUE ...` (`mmcl ls` lists them)")
        module, resolved, name = _load(task, config, settings)
        make = partial(Run.create, task, resolved, folder, config_name=name)

    def announce(opened: Run) -> None:
        signals.advise(f"go on with: mmcl run --resume {opened.folder}")
        say(f"run folder: {opened.folder}")

    finished = run_task(module, resolved, make, announce)
    if finished is not None:
        _show([finished], finished.folder / "report.html")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The report; one that is there is replaced.")
    ] = Path("comparison.html"),
) -> None:
    """Show the results of several runs in one table, and write a report of them.

    - `mmcl compare runs/slu_incremental/* --output comparison.html`
    """
    from mmcl.runs.run import Run

    _show([Run.read(folder) for folder in runs], output)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run of two towers, or a folder of such a model.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording or an image.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    intents: Annotated[
        list[str] | None, typer.Option("--intents", metavar="TEXT...", help="What it may mean, in words.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", metavar="FILE", help="In their place a JSON file: {name: [texts]}.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="Which of the run's models.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which of some intents a recording is nearest to, by a model that was trained on none of them.

    - `mmcl predict runs/speech_to_intent/demo order.wav --intents "order a latte" "turn on the lights"`
    - `mmcl predict runs/speech_to_intent/demo order.wav --prompts intents.json --model cwcl-seed0 --json`
    """
    import json

    from mmcl import predict as predicting
    from mmcl.models import TwoTower
    from mmcl.sections.towers import model_folders
    from mmcl.text.suggest import nearest

    texts = [*(intents or []), *(more or [])]
    if bool(texts) == (prompts is not None):
        raise ConfigError('which intents? expected --intents "order a latte" "turn on the lights", or --prompts FILE')
    folders = model_folders(run)
    if model is not None and model not in folders:
        raise ConfigError(f"{run} has no model '{model}'{nearest(model, folders)}: expected {', '.join(folders)}")
    chosen = predicting.read_intents(prompts) if prompts is not None else {text: [text] for text in texts}
    name = model or next(iter(folders))
    found = predicting.predict(TwoTower.load(folders[name]), file, chosen)
    if as_json:
        rows = [each._asdict() for each in found]
        say(json.dumps({"file": str(file), "model": name, "predictions": rows}, indent=2), lines=True)
        return
    say(f"{file}, by {name}")
    console().print(predicting.predictions_table(found))


app.command()(export_cli.export)
app.command()(serve_cli.serve)
app.command()(rationales_cli.rationales)


def _load(task: str, config: str, settings: list[str] | None) -> tuple[Any, Any, str]:
    """The module of a task, its config as resolved, and the config's name."""
    from mmcl.config.model import load_config
    from mmcl.config.tasks import find_config, load_task

    module = load_task(task)
    path = find_config(task, config)
    return module, load_config(module.Config, path, settings or []), path.stem


def _show(runs: list[Run], report: Path) -> None:
    from mmcl.reports.page import results_table, write_report

    console().print(results_table(runs))
    say(f"report: {write_report(runs, report)}")


def _stop() -> NoReturn:
    """End after a signal; of several processes, the first one tells."""
    from mmcl import distributed

    code = signals.end_by_signal(silent=not distributed.is_main() or os.environ.get("LOCAL_RANK", "0") != "0")
    if distributed.world_size() > 1:  # threads of the group may wait for the others, or crash
        os._exit(code)
    sys.exit(code)


def _fail(error: MMCLError) -> NoReturn:
    if _debug:
        raise error
    several = isinstance(error, ConfigError) and "\n" in str(error)  # a line for each fault
    say(error if several else f"error: {error}", colour="red", err=True, lines=several)
    sys.exit(2 if isinstance(error, ConfigError) else 1)


if __name__ == "__main__":
    with signals.heeded(for_good=True):
        main()
