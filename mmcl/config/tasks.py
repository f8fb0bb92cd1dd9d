"""Discovery of tasks and configs on disk: in a checkout, an installed wheel, and the folders in ``MMCL_PATH``.

A task is a file ``tasks/<task>.py`` with a class ``Config`` and a function ``main(config, run)``. An experiment is a
file ``configs/<task>/<config>.yaml``. The first line of a docstring or the first comment line is the description.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import mmcl
from mmcl.errors import ConfigError
from mmcl.text.suggest import did_you_mean

DEFAULT_CONFIG = "demo"  #: config that every task has


def tasks() -> dict[str, Path]:
    """Return the tasks' files by name. Folders in ``MMCL_PATH`` take precedence over mmcl's own tasks.

    >>> "slu_incremental" in tasks()
    True
    """
    found: dict[str, Path] = {}
    for task_folder, _ in _folders():
        for path in sorted(task_folder.glob("[!_]*.py")):
            found.setdefault(path.stem, path)
    return found


def configs(task: str) -> dict[str, Path]:
    """Return the files of a task's configs by name.

    Raises:
        ConfigError: there is no such task.
    """
    _task_path(task)
    found: dict[str, Path] = {}
    for _, config_folder in _folders():
        for path in sorted((config_folder / task).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def find_config(task: str, name: str = DEFAULT_CONFIG) -> Path:
    """Return the file of a task's config, given its name or the path of any YAML file.

    Raises:
        ConfigError: there is no such task, config or file.
    """
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        return Path(name)  # reading it reports a missing file
    known = configs(task)
    if name not in known:
        hint = did_you_mean(name, known)
        raise ConfigError(f"'{name}' is not a config of task {task}: {hint} (`mmcl ls {task}` lists them)")
    return known[name]


def load_task(name: str) -> ModuleType:
    """Import a task by its name.

    Raises:
        ConfigError: there is no such task, or its file has no ``Config`` or no ``main``.
    """
    path = _task_path(name)
    spec = importlib.util.spec_from_file_location(f"mmcl_task_{name}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be imported as a task, expected a Python file: check its name")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # pydantic resolves annotations there
    spec.loader.exec_module(module)
    for part in ("Config", "main"):
        if not hasattr(module, part):
            raise ConfigError(f"{path} has no {part}, expected `class Config(StrictModel)` and `main(config, run)`")
    return module


def description(path: Path) -> str:
    """Return the one-line description of a task or config file, without running it."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"(cannot be read: {error.strerror})"
    if path.suffix == ".py":
        try:
            return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
        except SyntaxError as error:
            return f"(not valid Python: {error.msg}, line {error.lineno})"
        except (ValueError, RecursionError, MemoryError):  # null bytes, or nested too deeply
            return "(not valid Python)"
    first = text.partition("\n")[0]
    return first.lstrip("# ").rstrip() if first.startswith("#") else ""


def _folders() -> list[tuple[Path, Path]]:
    """Pairs of a folder of tasks and a folder of configs."""
    own = [Path(folder) for folder in os.environ.get("MMCL_PATH", "").split(os.pathsep) if folder]
    package = Path(mmcl.__file__).parent
    pairs = [(folder / "tasks", folder / "configs") for folder in own]
    if (package / "_tasks").is_dir():  # an installed wheel
        return [*pairs, (package / "_tasks", package / "_configs")]
    return [*pairs, (package.parent / "tasks", package.parent / "configs")]


def _task_path(name: str) -> Path:
    known = tasks()
    if name not in known:
        raise ConfigError(f"'{name}' is not a task: {did_you_mean(name, known)} (`mmcl ls` lists them)")
    return known[name]
