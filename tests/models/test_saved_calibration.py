"""The file with the calibration of a model."""

import json

import pytest

from mmcl.errors import CheckpointError
from mmcl.metrics.calibration import Calibration, NotCalibrated
from mmcl.models.saved_calibration import CALIBRATION_FILE, read_calibration, write_calibration


@pytest.mark.parametrize(
    "found",
    [
        NotCalibrated("there is no validation split"),
        Calibration("temperature", (1.7,), 0.4, 30, 0.9, 0.1, 0.05, 0.8, 0.95),
        Calibration("platt", (0.9, -1.2), None, 30, 0.0, 0.1, 0.05),
    ],
)
def test_files_are_read_as_written(found, tmp_path):
    write_calibration(tmp_path / "models" / "a", found)
    assert read_calibration(tmp_path / "models" / "a") == found


def test_missing_and_damaged_files(tmp_path):
    assert "without a calibration" in read_calibration(tmp_path).reason
    write_calibration(tmp_path, Calibration("temperature", (1.7,), 0.4, 30, 0.9, 0.1, 0.05))
    path = tmp_path / CALIBRATION_FILE
    path.write_text(path.read_text().replace("0.4", "0.1"))
    with pytest.raises(CheckpointError, match=CALIBRATION_FILE):
        read_calibration(tmp_path)
    whole = {"method": "temperature", "parameters": [1.7], "samples": 3, "accuracy": 1.0, "error_before": 0.1}
    for content in ({**whole, "parameters": [1.0, 2.0]}, {**whole, "parameters": [-1.0]}, whole, {"method": "other"}):
        path.write_text(json.dumps(content))
        with pytest.raises(CheckpointError, match=CALIBRATION_FILE):
            read_calibration(tmp_path)
