"""Calibrated logits that tests of calibration use."""

import pytest
import torch


@pytest.fixture
def drawn():
    """Logits, and labels drawn from their softmax, so that they are calibrated."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 5, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
