"""A recording that all tests of serving use."""

import pytest
import soundfile
import torch


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "order.wav"
    soundfile.write(path, torch.sin(torch.arange(9000) / 8).numpy() * 0.3, 16000)
    return str(path)
