"""The Triton kernels, on the GPU if there is one, else by Triton's interpreter."""

import numpy as np
import pytest
import torch

from mmcl.objectives.kernel import products


@pytest.fixture
def kernels(monkeypatch):
    """Have the kernels take all tensors of this test, and yield their device."""
    if torch.cuda.is_available():
        yield torch.device("cuda")
        return
    pytest.importorskip("triton")
    from triton.runtime import interpreter

    convert = interpreter._convert_float

    def rounded(numbers, given, wanted, mode):
        """Round to bfloat16 as GPUs do; the interpreter cuts digits off."""
        if (given.name, wanted.name) != ("fp32", "bf16"):
            return convert(numbers, given, wanted, mode)
        singles = torch.frombuffer(bytearray(numbers.tobytes()), dtype=torch.float32).view(numbers.shape)
        return singles.bfloat16().view(torch.uint16).numpy()

    monkeypatch.setattr(interpreter, "_convert_float", rounded)
    monkeypatch.setattr(products, "_has_kernels", lambda device: True)
    with np.errstate(all="ignore"):  # logarithms of 0 and overflows are as silent as on a GPU
        yield torch.device("cpu")
