"""Logging of metrics to TensorBoard, with one curve per strategy and seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mmcl.errors import ConfigError
from mmcl.text.escape import tag_name

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardLog:
    """Writes the numbers of metrics to ``folder``, for ``tensorboard --logdir``.

    Args:
        folder: Folder of the events, with a subfolder per strategy and seed.
        rows: Rows that were logged before; steps are counted from them.

    Raises:
        ConfigError: The package tensorboard is not installed.
    """

    def __init__(self, folder: Path, rows: Iterable[Mapping[str, object]]) -> None:
        check_tensorboard()
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}
        self._steps = Counter((_curve(row), str(row["kind"])) for row in rows)

    def write(self, row: Mapping[str, object]) -> None:
        """Write the numbers of a row. The step is the number of earlier rows of its kind, strategy and seed."""
        from torch.utils.tensorboard import SummaryWriter

        curve, kind = _curve(row), str(row["kind"])
        if "strategy" not in row:
            return
        if curve not in self._writers:
            self._writers[curve] = SummaryWriter(str(self._folder / curve))
        step = self._steps[curve, kind]
        self._steps[curve, kind] += 1
        for name, value in row.items():
            values = value if isinstance(value, Mapping) else {"": value}
            for part, number in values.items():
                if name not in ("seed", "experience") and isinstance(number, int | float):
                    tag = "/".join(tag_name(each) for each in (kind, name, *([part] if part else [])))
                    self._writers[curve].add_scalar(tag, number, step)
        self._writers[curve].flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()


def check_tensorboard() -> None:
    """Raise ConfigError if the package tensorboard is not installed."""
    if find_spec("tensorboard") is None:
        raise ConfigError(
            "tensorboard: true needs the package tensorboard: pip install 'mmcl[tensorboard]', or set it to false"
        )


def _curve(row: Mapping[str, object]) -> str:
    return tag_name(f"{row.get('strategy')}-seed{row.get('seed')}")
