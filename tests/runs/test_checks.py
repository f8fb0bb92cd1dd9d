"""Devices, packages and folders that a run needs."""

from __future__ import annotations

import pytest

from mmcl.config.checks import Checks
from mmcl.config.model import StrictModel
from mmcl.errors import RunError
from mmcl.runs import tensorboard
from mmcl.runs.checks import check_run, check_writable


class Config(StrictModel):
    devices: int = 1
    device: str = "cpu"
    tensorboard: bool = False


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path / "cache"))
    return tmp_path


def faults(folder=None, **settings):
    checks = Checks()
    check_run(checks, "walk", Config(**settings), folder)
    return checks.faults


def test_a_run_that_can_start_has_no_fault(work):
    assert faults(devices=2) == [] and not (work / "runs").exists() and not (work / "cache").exists()


def test_missing_devices_are_named(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert faults(device="cuda") == []
    (fault,) = faults(device="cuda", devices=3)
    assert fault.startswith("device is cuda") and "devices=3" in fault
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    (fault,) = faults(device="cuda")
    assert fault.startswith("device is cuda") and "device=cpu" in fault


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    (fault,) = faults(tensorboard=True)
    assert fault.startswith("tensorboard") and "pip install 'mmcl[tensorboard]'" in fault


def test_folders_must_be_writable(work, monkeypatch):
    (work / "file").touch()
    (fault,) = faults(work / "file" / "run")
    assert fault.startswith("--folder") and "file is not a folder" in fault
    (fault,) = faults(work)
    assert "not an empty folder" in fault
    (work / "runs").touch()
    (fault,) = faults()
    assert "runs/walk" in fault
    (work / "runs").unlink()
    monkeypatch.setenv("MMCL_CACHE", str(work / "file"))
    (fault,) = faults()
    assert fault.startswith("MMCL_CACHE")


def test_permissions_are_checked(work, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(RunError, match="permission.*elsewhere"):
        check_writable(work / "run", "write elsewhere")
