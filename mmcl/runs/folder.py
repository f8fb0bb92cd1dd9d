"""Creation of a run's folder."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import count
from pathlib import Path

from pydantic import BaseModel

from mmcl.config.model import dump_config
from mmcl.errors import RunError
from mmcl.files import plain_yaml
from mmcl.files.atomic import folder_written_whole
from mmcl.files.sealed_json import sealed
from mmcl.runs.environment import describe_environment
from mmcl.runs.log import START
from mmcl.runs.status import StatusFile

_FORMAT = 2  #: of the folder; format 1 had no digests


def create_folder(task: str, config: BaseModel, folder: str | Path | None, config_name: str) -> Path:
    """Create the folder of a new run atomically, by default ``runs/<task>/<data set>-<config name>-<date>-<time>``.

    Raises:
        RunError: The folder is not empty, or cannot be written.
    """
    name = f"{run_name(config, config_name)}-{datetime.now():%Y%m%d-%H%M%S}"
    path = Path(folder) if folder is not None else _unused(Path("runs", task, name))
    text = dump_config(config)
    environment = {"format": _FORMAT, "task": task, "config": config_name, "seeds": getattr(config, "seeds", None)}
    environment |= {**describe_environment(), "resumed": [], "settings": plain_yaml.parse_yaml(text)[0]}
    try:
        with folder_written_whole(path) as temporary:  # a killed process leaves no incomplete run
            (temporary / "checkpoints").mkdir()
            (temporary / "metrics.jsonl").touch()
            (temporary / "config.yaml").write_text(text, encoding="utf-8")
            (temporary / "environment.json").write_text(sealed(environment), encoding="utf-8")
            (temporary / "data.json").write_text(sealed({}), encoding="utf-8")
            (temporary / "status.json").write_text(StatusFile.text("running", START), encoding="utf-8")
    except OSError as error:
        check_empty(path)
        raise RunError(f"cannot create the folder {path} ({error.strerror}): choose another with --folder") from None
    return path


def check_empty(path: Path) -> None:
    """Check that a folder is empty or does not exist.

    Raises:
        RunError: The folder is not empty.
    """
    if path.is_dir() and any(path.iterdir()):
        hint = f", or resume the run: mmcl run --resume {path}" if (path / "config.yaml").exists() else ""
        raise RunError(f"{path} is not an empty folder: choose another with --folder{hint}") from None


def run_name(config: BaseModel, config_name: str) -> str:
    """Return the name of a run: its data set and its config, or the config alone if it is named after the data set.

    >>> class Data(BaseModel):
    ...     name: str = "fsdd"
    >>> class Config(BaseModel):
    ...     data: Data = Data()
    >>> run_name(Config(), "demo"), run_name(Config(), "fsdd_class")
    ('fsdd-demo', 'fsdd_class')
    """
    section = getattr(config, "data", None) or getattr(config, "pairs", None)
    name, root = str(getattr(section, "name", "")), getattr(section, "root", None)
    if name == "table" and root is not None:
        name = Path(root).stem
    name = re.sub(r"[^\w.+-]+", "_", name).strip("._")
    return config_name if not name or config_name.startswith(name) else f"{name}-{config_name}"


def _unused(folder: Path) -> Path:
    """Return ``folder``, or the first of ``folder-2``, ``folder-3``, ... that does not exist."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return folder if not folder.exists() else next(other for other in numbered if not other.exists())
