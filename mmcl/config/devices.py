"""Devices of a run: their setting, and a check that this machine has them."""

from __future__ import annotations

from typing import Literal

from mmcl.errors import ConfigError

Device = Literal["cpu", "cuda"]


def check_devices(devices: int = 1, nodes: int = 1, device: str = "cpu") -> None:
    """Check that this machine has the devices of a run.

    Raises:
        ConfigError: ``devices`` or ``nodes`` is less than 1, or the machine has fewer devices.
    """
    if devices < 1 or nodes < 1:
        raise ConfigError(f"devices={devices}, nodes={nodes}: expected 1 or more of each")
    if device != "cuda":
        return
    import torch

    if (there := torch.cuda.device_count()) < devices:
        expected = f"set devices to {there} or less" if there else "set device=cpu"
        raise ConfigError(f"device is cuda with devices={devices}, but torch finds {there} GPUs here: {expected}")
