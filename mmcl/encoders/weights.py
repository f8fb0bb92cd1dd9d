"""Reading, validation and download of weight files; no code in a file is ever executed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from mmcl.encoders.gate import before_weights, cached_hub_file
from mmcl.errors import DataError, MissingDataError
from mmcl.files.digests import check_tensor
from mmcl.files.loading import WRAPPERS, match_names


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file, or from a file of ``torch.save``.

    Raises:
        MissingDataError: if there is no such file.
        DataError: if the file cannot be read, or holds anything but tensors.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingDataError(f"there is no file '{path}': expected weights in .safetensors, or a state dict in .pt")
    before_weights()
    try:
        if path.suffix == ".safetensors":
            with opened_tensors(path) as (names, get):
                content: object = {name: get(name) for name in names}
        else:
            content = _unpickled(path)
    except Exception as error:  # damaged, unknown and malicious files raise many types
        reason = " ".join(str(error).split())[:120]
        raise DataError(
            f"the weights in '{path}' cannot be read ({reason}): expected .safetensors, or a state dict of tensors"
        ) from error
    for wrapping in ("state_dict", "model"):  # common keys of checkpoints of training scripts
        if isinstance(content, Mapping) and isinstance(content.get(wrapping), Mapping):
            content = content[wrapping]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(each, Tensor) for each in content.values())
    ):
        raise DataError(f"'{path}' holds no state dict, expected names and tensors")
    return {_without_wrapper(str(name)): value for name, value in content.items()}


@contextmanager
def opened_tensors(path: Path) -> Iterator[tuple[list[str], Callable[[str], Tensor]]]:
    """Yield the names of the tensors in a file, and a function that reads the tensor of a name."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            yield list(file.keys()), file.get_tensor
    else:
        state = _unpickled(path)
        yield [name for name, value in state.items() if isinstance(value, Tensor)], state.__getitem__


def headers(path: Path) -> dict[str, tuple[torch.dtype, int]]:
    """Return the type and number of elements of each tensor; of safetensors, only the header is read."""
    if path.suffix != ".safetensors":
        return {name: (value.dtype, value.numel()) for name, value in _unpickled(path).items()}
    found = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            tensor = file.get_slice(name)
            dtype = tensor[:0].dtype if tensor.get_shape() else file.get_tensor(name).dtype
            found[name] = (dtype, prod(tensor.get_shape()))
    return found


def check_dtypes(network: nn.Module, stored: Mapping[str, tuple[torch.dtype, int]], where: str) -> None:
    """Raise DataError if a file holds integers for a parameter of ``network``; its names may have more prefixes."""
    parameters = [name for name, _ in network.named_parameters()]
    for name, (dtype, _) in stored.items():
        if not dtype.is_floating_point and any(
            name == own or name.endswith(f".{own}") or own.endswith(f".{name}") for own in parameters
        ):
            raise DataError(f"tensor '{name}' of {where} is {dtype}, expected float: copy the weights again")


def _unpickled(path: Path) -> Any:
    """Read a file of ``torch.save`` with an unpickler that creates only tensors and containers."""
    return torch.load(path, map_location="cpu", weights_only=True)


def check_parameters(network: nn.Module, where: str) -> None:
    """Raise DataError if a parameter of ``network`` has values that are not finite."""
    for name, value in network.named_parameters():
        check_tensor(name, value.detach(), None, where, error=DataError)


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], name: str, *, prefix: str = "") -> None:
    """Load the ``weights`` that start with ``prefix`` into ``network``, which must find all of its tensors.

    Raises:
        DataError: if tensors are missing, have another shape or type, or are not finite.
    """
    given = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    given = match_names(given, network.state_dict())
    for key, own in network.state_dict().items():
        if key in given:
            check_tensor(key, given[key], own, f"the weights of '{name}'", error=DataError)
    try:
        report = network.load_state_dict(given, strict=False)
    except RuntimeError as error:
        reason = next((line.strip() for line in str(error).splitlines() if "mismatch" in line), str(error))
        raise DataError(
            f"the weights of '{name}' do not fit ({reason}): expected weights of the same network"
        ) from error
    if missing := [key for key in report.missing_keys if not key.endswith("num_batches_tracked")]:
        raise DataError(
            f"the weights of '{name}' lack {len(missing)} tensors, first '{prefix}{missing[0]}': expected weights of "
            "the same network"
        )


def _without_wrapper(name: str) -> str:
    """Remove the prefixes of wrappers such as DataParallel from the name of a parameter."""
    first, _, rest = name.partition(".")
    return _without_wrapper(rest) if rest and first in WRAPPERS else name


def hub_file(repository: str, filenames: Sequence[str], name: str, *, download: bool) -> Path:
    """Return the path of the first of ``filenames`` that is cached or, with ``download``, on the hub.

    Raises:
        MissingDataError: if there is none.
    """
    import huggingface_hub

    reason: Exception | None = None
    for filename in filenames:
        if (path := cached_hub_file(repository, filename)) is not None:
            return path
        try:
            if download:
                before_weights()
                return Path(huggingface_hub.hf_hub_download(repository, filename))
        except (OSError, ValueError) as error:  # includes network errors
            reason = error
    raise MissingDataError(_unavailable(name, f"{repository}/{filenames[0]}", download)) from reason


def linked_weights(url: str, name: str, *, download: bool) -> dict[str, Tensor]:
    """Read the weights of ``url`` from the cache of torch.hub; with ``download``, download them first.

    Raises:
        MissingDataError: if they are not cached, or the download fails.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not path.is_file():
        if not download:
            raise MissingDataError(_unavailable(name, str(path), download))
        before_weights()
        os.makedirs(path.parent, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except OSError as error:
            raise MissingDataError(_unavailable(name, url, download)) from error
    return read_weights(path)


def _unavailable(name: str, source: str, download: bool) -> str:
    if download:
        return f"cannot download the weights of '{name}' ({source}): check the network, or pass the path of a file"
    return (
        f"the weights of '{name}' are not on this machine (no {source}): pass download=True or the path of a file, "
        "or leave them out for random weights"
    )
