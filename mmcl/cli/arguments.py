"""Arguments that the commands `run` and `validate` share: a task, its config and settings."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from mmcl.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel

DEFAULT = "demo"  #: config that every task has

Task = Annotated[str, typer.Argument(metavar="TASK[/CONFIG]", help="Name of a task or config; `mmcl ls` lists them.")]
Config = Annotated[
    str, typer.Option("--config", "-c", metavar="NAME|FILE", help="Name of a config of the task, or a YAML file.")
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings to override, with values as in YAML: `seeds=[0,1]`."),
]


def find_experiment(task: str, config: str = DEFAULT) -> tuple[ModuleType, Path, str]:
    """Return the module of a task, the file of its config, and the task's name.

    Args:
        task: name of a task, or ``task/config``.
        config: name or file of the config.

    Raises:
        ConfigError: there is no such task or config, or the config is named twice.
    """
    from mmcl.config.tasks import find_config, load_task

    name, slash, stated = task.partition("/")
    if slash and config != DEFAULT:
        raise ConfigError(f"{task} names the config '{stated}', and --config names {config}: leave out one")
    return load_task(name), find_config(name, stated if slash else config), name


def load_experiment(task: str, config: str, settings: list[str] | None) -> tuple[ModuleType, BaseModel, str, str]:
    """Return the module of a task, the resolved config, and the names of both; see :func:`find_experiment`."""
    from mmcl.config.model import load_config

    module, path, name = find_experiment(task, config)
    return module, load_config(module.Config, path, settings or []), name, path.stem
