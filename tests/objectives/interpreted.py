"""Triton's interpreter, which runs the kernels of a GPU on the CPU."""

from __future__ import annotations

import pytest
import torch

from mmcl.objectives.kernel import products


def interpret(patch: pytest.MonkeyPatch) -> None:
    """Have the kernels take tensors of the CPU. They must be imported with TRITON_INTERPRET=1."""
    from triton.runtime import interpreter

    convert = interpreter._convert_float

    def rounded(numbers, given, wanted, mode):
        """Round to bfloat16 as GPUs do; the interpreter cuts digits off."""
        if (given.name, wanted.name) != ("fp32", "bf16"):
            return convert(numbers, given, wanted, mode)
        singles = torch.frombuffer(bytearray(numbers.tobytes()), dtype=torch.float32).view(numbers.shape)
        return singles.bfloat16().view(torch.uint16).numpy()

    patch.setattr(interpreter, "_convert_float", rounded)
    patch.setattr(products, "_has_kernels", lambda device: True)
