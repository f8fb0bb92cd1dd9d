"""The Triton kernels, on the GPU if there is one, else by Triton's interpreter."""

import numpy as np
import pytest
import torch
from interpreted import interpret


@pytest.fixture
def kernels(monkeypatch):
    """Have the kernels take all tensors of this test, and yield their device."""
    if torch.cuda.is_available():
        yield torch.device("cuda")
        return
    pytest.importorskip("triton")
    interpret(monkeypatch)
    with np.errstate(all="ignore"):  # logarithms of 0 and overflows are as silent as on a GPU
        yield torch.device("cpu")
