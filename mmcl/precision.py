"""Mixed precision: run a model in bfloat16 where this is safe, and return float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

Precision = Literal["auto", "32", "bf16-mixed"]
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")


def resolved(precision: Precision, device: torch.device) -> Literal["32", "bf16-mixed"]:
    """Return the precision, where ``"auto"`` is bfloat16 on devices that compute in it, and float32 on others.

    A CPU without bfloat16 instructions emulates them, which takes longer than float32.

    >>> resolved("32", torch.device("cpu"))
    '32'
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        is_fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Keys such as amx_bf16 and avx512_bf16.
        is_fast = device.type == "cpu" and any(
            has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name
        )
    return "bf16-mixed" if is_fast else "32"


def in_precision(
    model: Callable[[InputT], OutputT], batch: InputT, device: torch.device, precision: Precision
) -> OutputT:
    """Return the output of a model on a batch, computed in a precision (``torch.autocast``) and cast to float32.

    >>> in_precision(torch.nn.Linear(2, 3), torch.ones(1, 2), torch.device("cpu"), "bf16-mixed").dtype
    torch.float32
    """
    if resolved(precision, device) == "32":
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
