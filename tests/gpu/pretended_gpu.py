"""A pretended GPU for machines without one: CUDA tensors in the CPU's memory, which refuse tensors of the CPU.

It finds code that mixes devices. Values are those of the CPU, because the CPU computes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda", 0)
aten = torch.ops.aten
_INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}


class DeviceError(RuntimeError):
    """A GPU would refuse this."""


class OnGPU(Tensor):
    """A tensor that says it is on the GPU."""

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def __repr__(self, **options: Any) -> str:
        return f"OnGPU({_on_cpu(self)!r})"

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        options = dict(options or {})
        _check(function, arguments, options)
        if isinstance(options.get("device"), torch.device):
            options["device"] = torch.device("cpu")
        with torch._C._DisableTorchDispatch():
            found = function(*arguments, **options)
        return tree_map(_on_gpu, found)


def _check(function: Any, arguments: tuple, options: dict[str, Any]) -> None:
    """Refuse what CUDA refuses; it takes copies and indices of the CPU, and numbers in tensors of no dimension."""
    packet = function.overloadpacket
    if packet is aten.copy_:
        return
    first, others = arguments[0], arguments[2:] if packet in _INDEXING else arguments[1:]
    alias = function._schema.arguments[0].alias_info
    is_strict = packet in _INDEXING or (alias is not None and alias.is_write)
    lists = [each for each in (first, *others) if isinstance(each, list | tuple)]
    refused = [is_strict and _is_foreign(first), *map(_is_foreign, tree_leaves(lists))]
    refused += [_is_foreign(each) and each.dim() > 0 for each in tree_leaves((first, others, options))]
    if any(refused):
        raise DeviceError(f"{function}: expected all tensors on the same device, but some are on the CPU")


def _is_foreign(value: Any) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, OnGPU)


def _on_gpu(value: Any) -> Any:
    if not _is_foreign(value):
        return value
    with torch._C._DisableTorchDispatch():
        return Tensor._make_subclass(OnGPU, value)


def _on_cpu(value: Any) -> Any:
    if not isinstance(value, OnGPU):
        return value
    with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
        return Tensor._make_subclass(Tensor, value)


class _Move(torch.autograd.Function):
    """Copy a tensor to the other device, and its gradient back."""

    @staticmethod
    def forward(ctx, tensor):
        return _on_cpu(tensor).clone() if isinstance(tensor, OnGPU) else _on_gpu(tensor.clone())

    @staticmethod
    def backward(ctx, gradient):
        return _on_cpu(gradient) if isinstance(gradient, OnGPU) else _on_gpu(gradient)


def _moved(tensor: Tensor, device: Any) -> Tensor:
    return tensor if _is_gpu(device) == isinstance(tensor, OnGPU) else _Move.apply(tensor)


def _is_gpu(device: Any) -> bool:
    return torch.device(device).type == "cuda"


class PretendedGPU(TorchFunctionMode):
    """Lets functions of torch make tensors on the pretended GPU."""

    def __torch_function__(self, function, types, arguments=(), options=None):
        options = dict(options or {})
        name = getattr(function, "__name__", "")
        given = [each for each in tree_leaves((arguments, options)) if isinstance(each, Tensor)]
        if arguments and isinstance(arguments[0], Tensor):
            if name in ("to", "cpu", "cuda", "pin_memory"):
                return getattr(self, f"_{name}")(function, *arguments, **options)
            if isinstance(arguments[0], OnGPU) and name in ("numpy", "__array__"):
                raise DeviceError(f"{name} of a tensor on the GPU")
            if isinstance(arguments[0], OnGPU) and name == "tolist":
                return _on_cpu(arguments[0]).tolist()
            if isinstance(arguments[0], OnGPU) and name == "quantile":  # makes tensors of its own, of no gradient
                return _on_gpu(function(*map(_on_cpu, arguments), **options))
        device, generator = options.get("device"), options.get("generator")
        makes_gpu = _is_gpu(device) if device is not None else any(isinstance(each, OnGPU) for each in given)
        if generator is not None and makes_gpu:
            raise DeviceError(f"{name}: a generator of the CPU for a tensor on the GPU")
        if device is not None:
            made = function(*arguments, **{**options, "device": "cpu"})
            return tree_map(_on_gpu if makes_gpu else _on_cpu, made)
        made = function(*arguments, **options)
        from_gpu = given and name != "__get__" and all(isinstance(each, OnGPU) for each in given)
        return _moved(made, GPU) if from_gpu and type(made) is Tensor else made

    def _to(self, function, tensor, *arguments, **options):
        like = [each for each in arguments if isinstance(each, Tensor)]
        if like:
            device, dtype = like[0].device, like[0].dtype
        else:
            known = {name: options[name] for name in ("device", "dtype") if name in options}
            device, dtype, *_ = torch._C._nn._parse_to(*arguments[:2], **known)
        found = tensor if device is None else _moved(tensor, device)
        found = found if dtype is None or dtype == found.dtype else function(found, dtype)
        return found.clone() if options.get("copy") and found is tensor else found

    def _cpu(self, function, tensor, **options):
        return _moved(tensor, "cpu")

    def _cuda(self, function, tensor, *arguments, **options):
        return _moved(tensor, GPU)

    def _pin_memory(self, function, tensor, *arguments):
        if isinstance(tensor, OnGPU):
            raise DeviceError("pin_memory of a tensor on the GPU")
        return tensor


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Let the device "cuda" be the pretended GPU."""
    autocast, run_backward = torch.autocast, torch.autograd._engine_run_backward

    def backward(*arguments, **options):
        with mode:  # Python code that runs in backward, such as a checkpoint's
            return run_backward(*arguments, **options)

    with ExitStack() as stack:
        for name, value in {
            "torch.cuda.device_count": lambda: 1,
            "torch.cuda.is_current_stream_capturing": lambda: False,
            "torch.cuda.is_bf16_supported": lambda including_emulation=True: True,
            "mmcl.objectives.kernel.products._has_kernels": lambda device: False,  # they need a real GPU
            "torch.autocast": lambda kind, *arguments, **options: autocast("cpu", *arguments, **options),
            "torch.autograd._engine_run_backward": backward,
        }.items():
            stack.enter_context(mock.patch(name, value))
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, False)
        mode = stack.enter_context(PretendedGPU())
        yield
