"""The command `mmcl validate`: find the faults of a config without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmcl.cli.arguments import DEFAULT, Config, Settings, Task, find_experiment
from mmcl.cli.terminal import say
from mmcl.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel


def validate(
    task: Task,
    settings: Settings = None,
    config: Config = DEFAULT,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="DIR", help="Folder of the run that is planned.")
    ] = None,
) -> None:
    """Print the resolved config, or all its faults with exit code 1.

    Settings are checked against each other, the data, the weights and this machine. Nothing is trained, generated or
    downloaded.

    - `mmcl validate slu_incremental --config my.yaml epochs=5`
    - `mmcl validate slu_incremental/barista strategy=[naive,replay]`
    """
    from mmcl.config.model import dump_config

    try:
        resolved, faults = faults_of(task, config, settings or [], folder)
    except ConfigError as error:
        resolved, faults = None, str(error).splitlines()
    if resolved is not None and not faults:
        say(dump_config(resolved), lines=True, end="")
        return
    say("\n".join(faults) if len(faults) > 1 else f"error: {faults[0]}", colour="red", err=True, lines=True)
    raise typer.Exit(1)


def faults_of(
    task: str, config: str, settings: list[str], folder: Path | None = None
) -> tuple[BaseModel | None, list[str]]:
    """Return the resolved config of an experiment, and a line for each of its faults.

    Raises:
        ConfigError: there is no such task or config, or its file cannot be read.
    """
    from mmcl.config.checks import Checks
    from mmcl.config.model import check_config
    from mmcl.runs.checks import check_run

    module, path, name = find_experiment(task, config)
    checked = check_config(module.Config, path, settings)
    checks = Checks(checked.keys)
    if checked.config is not None:
        check_run(checks, name, checked.config, folder)
        if hasattr(module, "check"):
            module.check(checked.config, checks)
    return checked.config, [*checked.faults, *checks.faults]
