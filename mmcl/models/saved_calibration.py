"""The calibration of a saved model: ``calibration.json`` in its folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmcl.errors import CheckpointError
from mmcl.files.plain_json import member
from mmcl.files.sealed_json import read_sealed, write_sealed
from mmcl.metrics.calibration import Calibrated, Calibration, NotCalibrated

CALIBRATION_FILE = "calibration.json"  #: name of the file in the folder of a model


def write_calibration(folder: Path, found: Calibrated) -> None:
    """Write ``calibration.json`` into the folder of a model, which is created if missing.

    Raises:
        RunError: the file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = found._asdict() if isinstance(found, NotCalibrated) else asdict(found)
    write_sealed(folder / CALIBRATION_FILE, content)


def read_calibration(folder: Path) -> Calibrated:
    """Read the calibration of a model; models of mmcl 0.1 have none.

    Raises:
        CheckpointError: the file is damaged or was changed.
    """
    path = folder / CALIBRATION_FILE
    if not path.exists():
        return NotCalibrated("the model was saved without a calibration")
    content: dict[str, Any] = read_sealed(path, error=CheckpointError)
    where: dict[str, Any] = {"where": str(path), "error": CheckpointError}
    if "reason" in content:
        return NotCalibrated(member(content, "reason", str, **where))
    method = member(content, "method", str, **where)
    sizes = {"temperature": 1, "platt": 2}
    parameters = tuple(map(float, member(content, "parameters", list, of=float, **where)))
    if sizes.get(method) != len(parameters) or (method == "temperature" and parameters[0] <= 0):
        raise CheckpointError(
            f"{path} has method '{method}' with {len(parameters)} parameters, expected temperature with 1 above 0 or "
            "platt with 2: copy the file again"
        )
    names = ("accuracy", "error_before", "error_after")
    numbers = {name: float(member(content, name, float, **where)) for name in names}
    optional = {
        name: None if content.get(name) is None else float(member(content, name, float, **where))
        for name in ("threshold", "accepted", "accepted_accuracy")
    }
    samples = member(content, "samples", int, **where)
    return Calibration(method=method, parameters=parameters, samples=samples, **numbers, **optional)  # type: ignore[arg-type]
