"""Models that a run keeps as checkpoints, such as those of ``slu_incremental``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mmcl.errors import CheckpointError
from mmcl.reports.row_types import StreamRow, read_metrics, rows_of_type
from mmcl.runs.run import Run

if TYPE_CHECKING:
    from pydantic import BaseModel

    from mmcl.models import SLUClassifier, SLUSeq2Seq


@runtime_checkable
class KeepsCheckpoints(Protocol):
    """A config of runs that keep trained models as checkpoints, such as that of ``slu_incremental``.

    ``not_exported`` maps strategies whose models cannot be used without the run to the reason.
    """

    not_exported: Mapping[str, str]

    def rebuild_model(self, folder: Path, strategy: str) -> SLUClassifier | SLUSeq2Seq:
        """Build the untrained model of a strategy of the run in a folder."""
        ...


def task_config(run: Run) -> BaseModel:
    """Load the config of a run as its task defines it."""
    from mmcl.config.model import load_config
    from mmcl.config.tasks import load_task

    _ = run.config  # raises if config.yaml was changed
    return load_config(load_task(run.task).Config, run.folder / "config.yaml")


def strategy_of(model: str) -> str:
    """Return the strategy of a model's name.

    >>> strategy_of("replay+sup_con-seed0")
    'replay+sup_con'
    """
    return model.rpartition("-seed")[0]


def finished_models(run: Run) -> list[str]:
    """Return the names of the checkpoints that hold a finished model."""
    from mmcl.runs.checkpoint import peek_checkpoint

    names = []
    for path in sorted(run.folder.glob("checkpoints/*.safetensors")):
        content = peek_checkpoint(path)
        state = content.get("state") if isinstance(content, dict) else None
        if not isinstance(state, dict):
            raise CheckpointError(f"{path} has no training state: restore the file from a copy")
        if state.get("finished"):
            names.append(path.stem)
    return names


def class_names(run: Run, name: str) -> list[str]:
    """Return the class names of a model by label.

    Raises:
        CheckpointError: the metrics do not name them.
    """
    for row in rows_of_type(read_metrics(run), StreamRow):
        names = [each for group in row.experiences for each in group]
        if row.unit == name and len(names) == len(row.class_order):
            return [each for _, each in sorted(zip(row.class_order, names, strict=True))]
    raise CheckpointError(f"metrics.jsonl of {run.folder} does not name the classes of {name}: restore it from a copy")


def load_checkpoint_model(run: Run, config: KeepsCheckpoints, name: str) -> SLUClassifier | SLUSeq2Seq:
    """Load the model in the last checkpoint of a strategy and seed, in evaluation mode.

    Raises:
        CheckpointError: the checkpoint does not fit the config, or a frozen encoder has random weights.
    """
    from mmcl.files.loading import load_state

    model = config.rebuild_model(run.folder, strategy_of(name))
    encoder = model.encoder
    if (
        encoder.frozen
        and config.rebuild_model(run.folder, strategy_of(name)).encoder.fingerprint() != encoder.fingerprint()
    ):
        raise CheckpointError(
            f"the frozen encoder of {run.folder} has random weights, which the run does not keep: expected a trained "
            "or pretrained encoder"
        )
    try:
        restored = run.restore(name)
        load_state(model, restored.get("model") if isinstance(restored, dict) else None, "it")
    except CheckpointError as error:
        raise CheckpointError(
            f"checkpoint {name} of {run.folder} does not fit the model of config.yaml ({error}): restore both from a "
            "copy"
        ) from None
    return model.eval()
