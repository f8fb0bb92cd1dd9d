"""Weights of networks in files: read without running anything that is in them, fetched only when that is wanted."""

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

from mmcl.encoders.gate import cached
from mmcl.errors import DataError, MissingDataError
from mmcl.files.digests import check_tensor
from mmcl.files.loading import WRAPPERS, match_names


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, or of one that ``torch.save`` wrote of a state dict.

    Raises:
        MissingDataError: there is no such file.
        DataError: the file cannot be read, or holds more than tensors.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingDataError(f"there is no file '{path}': expected weights in .safetensors, or a state dict in .pt")
    try:
        if path.suffix == ".safetensors":
            with opened_tensors(path) as (names, get):
                read: Any = {name: get(name) for name in names}
        else:
            read = _unpickled(path)
    except Exception as error:  # of many kinds, with what is damaged, foreign or meant to do harm
        reason = " ".join(str(error).split())[:120]
        raise DataError(
            f"the weights in '{path}' cannot be read ({reason}): expected .safetensors, or a state dict of tensors"
        ) from error
    for wrapping in ("state_dict", "model"):  # what training scripts put around it
        if isinstance(read, Mapping) and isinstance(read.get(wrapping), Mapping):
            read = read[wrapping]
    if not isinstance(read, Mapping) or not read or not all(isinstance(value, Tensor) for value in read.values()):
        raise DataError(f"'{path}' holds no state dict, expected names and their tensors")
    return {_without_wrapper(str(name)): value for name, value in read.items()}


@contextmanager
def opened_tensors(path: Path) -> Iterator[tuple[list[str], Callable[[str], Tensor]]]:
    """Give the names of the tensors in a file, and what reads one of them."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            yield list(file.keys()), file.get_tensor
    else:
        state = _unpickled(path)
        yield [name for name, value in state.items() if isinstance(value, Tensor)], state.__getitem__


def headers(path: Path) -> dict[str, tuple[torch.dtype, int]]:
    """Return type and count of the numbers of each tensor in a file; of safetensors only the header is read."""
    if path.suffix != ".safetensors":
        return {name: (value.dtype, value.numel()) for name, value in _unpickled(path).items()}
    found = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            part = file.get_slice(name)
            dtype = part[:0].dtype if part.get_shape() else file.get_tensor(name).dtype
            found[name] = (dtype, prod(part.get_shape()))
    return found


def check_dtypes(network: nn.Module, held: Mapping[str, tuple[torch.dtype, int]], where: str) -> None:
    """Raise DataError where a file has integers for a parameter of ``network``; names may have further prefixes."""
    parameters = [name for name, _ in network.named_parameters()]
    for name, (dtype, _) in held.items():
        if not dtype.is_floating_point and any(
            name == own or name.endswith(f".{own}") or own.endswith(f".{name}") for own in parameters
        ):
            raise DataError(f"tensor '{name}' of {where} is {dtype}, expected float: copy the weights again")


def _unpickled(path: Path) -> Any:
    """What ``torch.save`` wrote, as far as it is plain data: the unpickler makes tensors and containers alone."""
    return torch.load(path, map_location="cpu", weights_only=True)


def check_finite(network: nn.Module, where: str) -> None:
    """Raise DataError where a parameter of ``network`` has values that are not finite."""
    for name, value in network.named_parameters():
        check_tensor(name, value.detach(), None, where, error=DataError)


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], name: str, *, prefix: str = "") -> None:
    """Put those ``weights`` that start with ``prefix`` into ``network``; it must find all of its own.

    Raises:
        DataError: some are missing, of another shape or kind, or not finite.
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
            f"the weights of '{name}' do not fit ({reason}): expected those of this very network"
        ) from error
    if missing := [key for key in report.missing_keys if not key.endswith("num_batches_tracked")]:
        raise DataError(
            f"the weights of '{name}' lack {len(missing)} that it has, first '{prefix}{missing[0]}': expected those of "
            "this very network"
        )


def _without_wrapper(name: str) -> str:
    """The name of a parameter, of a network that was saved within a wrapper."""
    first, _, rest = name.partition(".")
    return _without_wrapper(rest) if rest and first in WRAPPERS else name


def hub_file(repository: str, filenames: Sequence[str], name: str, *, download: bool) -> Path:
    """Return the path of the first of some files that the hub has: its copy on this machine, or, with ``download``,
    what is fetched.

    Raises:
        MissingDataError: none of them is there.
    """
    import huggingface_hub

    reason: Exception | None = None
    for filename in filenames:
        if (path := cached(repository, filename)) is not None:
            return path
        try:
            if download:
                return Path(huggingface_hub.hf_hub_download(repository, filename))
        except (OSError, ValueError) as error:  # of the network as well
            reason = error
    raise MissingDataError(_not_here(name, f"{repository}/{filenames[0]}", download)) from reason


def linked_weights(url: str, name: str, *, download: bool) -> dict[str, Tensor]:
    """Read the weights that lie at ``url`` from where torch.hub keeps them; with ``download``, fetch them first.

    Raises:
        MissingDataError: they are not there.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not path.is_file():
        if not download:
            raise MissingDataError(_not_here(name, str(path), download))
        os.makedirs(path.parent, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except OSError as error:
            raise MissingDataError(_not_here(name, url, download)) from error
    return read_weights(path)


def _not_here(name: str, what: str, download: bool) -> str:
    if download:
        return f"the weights of '{name}' cannot be fetched ({what}): check the network, or pass the path of a file"
    return (
        f"the weights of '{name}' are not on this machine (no {what}): pass download=True to fetch them, the path of a "
        "file, or none for random ones"
    )
