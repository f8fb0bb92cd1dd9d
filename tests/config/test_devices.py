"""Devices that this machine lacks are refused."""

import pytest
import torch

from mmcl.config.devices import check_devices
from mmcl.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "found", "words"),
    [
        ({"devices": 0}, 0, ["devices=0", "nodes=1"]),
        ({"nodes": 0}, 0, ["devices=1", "nodes=0"]),
        ({"device": "cuda"}, 0, ["cuda", "0 GPUs", "device=cpu"]),
        ({"device": "cuda", "devices": 3}, 2, ["devices=3", "2 GPUs", "devices to 2"]),
    ],
)
def test_missing_devices_are_an_error(arguments, found, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found)
    with pytest.raises(ConfigError) as raised:
        check_devices(**arguments)
    assert all(word in str(raised.value) for word in words)


def test_present_devices_pass(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices(2, 1, "cuda")
    check_devices(4, 3)
