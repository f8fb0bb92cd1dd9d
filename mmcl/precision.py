"""Mixed precision: run a model in bfloat16 where this is safe, and return float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

Precision = Literal["32", "bf16-mixed"]
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")


def in_precision(
    model: Callable[[InputT], OutputT], batch: InputT, device: torch.device, precision: Precision
) -> OutputT:
    """Return the output of a model on a batch, computed in a precision (``torch.autocast``) and cast to float32.

    >>> in_precision(torch.nn.Linear(2, 3), torch.ones(1, 2), torch.device("cpu"), "bf16-mixed").dtype
    torch.float32
    """
    if precision == "32":
        return model(batch)
    with torch.autocast(device.type, torch.bfloat16):
        output = model(batch)
    converted: OutputT = _in_32_bits(output)
    return converted


def _in_32_bits(output: object) -> Any:
    if isinstance(output, Tensor):
        return output.float() if output.dtype == torch.bfloat16 else output
    if isinstance(output, dict):
        return {name: _in_32_bits(value) for name, value in output.items()}
    if isinstance(output, tuple) and hasattr(output, "_make"):
        return output._make(_in_32_bits(value) for value in output)
    return output
