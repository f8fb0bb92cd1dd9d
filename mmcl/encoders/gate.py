"""Safe access to model files for the loaders of other libraries.

A model is untrusted data. Its files can neither run code, nor access the network, nor read other local files:

* The description of a model may name models on the hub, models of a library, and ``./...``, a path in its own folder.
  Models of the hub are looked up in ``MMCL_WEIGHTS`` and in the hub's cache. A local folder that the model was trained
  with is looked up in ``MMCL_WEIGHTS`` by its last component. Callers of mmcl may pass any path.
* Only the caller can enable downloads.
* Loaders of transformers read a copy of the folder that holds only known files and settings, see
  :func:`~mmcl.encoders.clean_folder.cleaned`. They run with ``trust_remote_code=False``.
* Any exception of a loader becomes an error of mmcl that names the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from mmcl.errors import CheckpointError, DataError, MissingDataError, MMCLError

HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")  #: "owner/model"
_FOLDER: ContextVar[Path | None] = ContextVar("folder of the model that is being rebuilt", default=None)

_WITHOUT_WEIGHTS: ContextVar[bool] = ContextVar("whether weights are only searched", default=False)


@contextmanager
def described_by(folder: str | Path) -> Iterator[None]:
    """Treat all names as read from the model in ``folder``, which restricts the paths that they may name."""
    token = _FOLDER.set(Path(folder))
    try:
        yield
    finally:
        _FOLDER.reset(token)


class WeightsFound(MMCLError):
    """Weights are on this machine or may be downloaded, but are not read within :func:`without_weights`."""


@contextmanager
def without_weights() -> Iterator[None]:
    """Check that encoders can be built: the body ends, without an error, where it would read or download weights."""
    token = _WITHOUT_WEIGHTS.set(True)
    try:
        yield
    except WeightsFound:
        pass
    finally:
        _WITHOUT_WEIGHTS.reset(token)


def weights_are_read() -> bool:
    """Return False within :func:`without_weights`."""
    return not _WITHOUT_WEIGHTS.get()


def before_weights() -> None:
    """End the body of :func:`without_weights`; called before weights are read or downloaded."""
    if not weights_are_read():
        raise WeightsFound("weights are not read here")


def local_path(name: str | Path) -> Path | None:
    """Resolve a name to a local file or folder; return None if there is none.

    Raises:
        CheckpointError: if the name comes from a model (see :func:`described_by`) and is a path outside its folder.
        MissingDataError: if it is a missing path in the folder of the model.

    >>> with described_by("/models/by-words"):
    ...     local_path("/elsewhere/minilm")
    Traceback (most recent call last):
    ...
    mmcl.errors.CheckpointError: the model in /models/by-words names '/elsewhere/minilm', which is outside its ...
    """
    folder, text = _FOLDER.get(), str(name)
    if folder is None:
        path = _expanded(text)
        return path if _exists(path) else _among_weights(text)
    if not text:
        return None
    if text.startswith("./"):
        if ".." in Path(text).parts or not _is_within(folder / text, folder):
            raise _outside(folder, text)
        if not _exists(folder / text):
            raise MissingDataError(f"{folder} has no {text}, which its model needs: copy the whole folder")
        return folder / text
    if HUB_NAME.fullmatch(text):
        return _among_weights(text)
    weights, path = _weights(), Path(os.path.normpath(_expanded(text)))
    if not any(mark in text for mark in ("/", "\\", "~", "\0")) and text not in (".", ".."):
        # Either a tag of a library or a folder in MMCL_WEIGHTS, but never a path in the working directory.
        return weights / text if weights is not None and _exists(weights / text) else None
    if weights is not None:
        if path.is_relative_to(weights) and _exists(path):
            return path
        if path.name not in ("", "..") and _exists(weights / path.name):
            return weights / path.name
    raise _outside(folder, text)


def local_file(name: str | Path) -> Path:
    """Resolve a name to a local file, as :func:`local_path` does.

    Raises:
        MissingDataError: if there is no such file.
    """
    path = local_path(name)
    if path is None or not path.is_file():
        raise MissingDataError(f"there is no file '{name}': expected weights in .safetensors, or a state dict in .pt")
    return path


def model_file(folder: Path, name: str, *, error: type[MMCLError] = DataError) -> Path | None:
    """Return the path of a file in the folder of a model; None if it does not exist.

    Raises:
        DataError: (or ``error``) if it is a link out of the folder, or not a regular file.
    """
    path = folder / name
    if not os.path.lexists(path):
        return None
    root = folder.resolve()
    if root.parent.name == "snapshots":  # in the hub's cache, files are links to ../../blobs
        root = root.parent.parent
    if not _is_within(path, root):
        raise error(f"{path} is a link out of its folder, expected a regular file: copy the file there")
    if not path.is_file():
        raise error(f"{path} is not a regular file: copy the folder again from its source")
    return path


def hub_folder(name: str, files: Sequence[str], *, download: bool) -> Path | None:
    """Return the folder of a model in the hub's cache; None if it is not cached.

    Args:
        name: ``"owner/model"``.
        files: names or patterns of the files to download.
        download: download missing files.

    Raises:
        MissingDataError: if the download fails.
    """
    import huggingface_hub

    if not HUB_NAME.fullmatch(name):
        return None
    if not download:
        cached = (cached_hub_file(name, file) for file in files if "*" not in file)
        return next((path.parent for path in cached if path is not None), None)
    before_weights()
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(files)))
    except (OSError, ValueError) as error:  # includes network errors
        raise MissingDataError(
            f"cannot download '{name}' from the hub: check its name and the network, pass a local folder, or put a "
            "copy into MMCL_WEIGHTS"
        ) from error


def cached_hub_file(name: str, file: str) -> Path | None:
    """Return the path of a model's file in the hub's cache; None if it is not cached.

    Other functions of huggingface_hub may access the network even with ``local_files_only``.
    """
    import huggingface_hub

    path = huggingface_hub.try_to_load_from_cache(name, file) if HUB_NAME.fullmatch(name) else None
    return Path(path) if isinstance(path, str) else None


@contextmanager
def wrap_errors(source: object, *, error: type[MMCLError] = DataError) -> Iterator[None]:
    """Convert any exception of another library that reads untrusted files to ``error``, which names ``source``.

    >>> with wrap_errors("tokenizer.json"):
    ...     [][3]
    Traceback (most recent call last):
    ...
    mmcl.errors.DataError: tokenizer.json cannot be read (IndexError: list index out of range): copy it again from ...
    """
    try:
        yield
    except (MMCLError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as cause:  # a panic in the tokenizers library is not an Exception
        reason = " ".join(str(cause).split())[:200]
        raise error(
            f"{source} cannot be read ({type(cause).__name__}: {reason}): copy it again from its source"
        ) from cause


def _weights() -> Path | None:
    folder = os.environ.get("MMCL_WEIGHTS")
    return _expanded(folder).absolute() if folder else None


def _among_weights(name: str) -> Path | None:
    """Return the copy of a model of the hub in ``MMCL_WEIGHTS``; None if there is none."""
    weights = _weights()
    if weights is None or not HUB_NAME.fullmatch(name):
        return None
    _, _, model = name.partition("/")
    for folder in (model, f"{model}-encoder"):  # the second is a copy without the decoder
        if _exists(weights / folder / "config.json"):
            return weights / folder
    return None


def _outside(folder: Path, text: str) -> CheckpointError:
    name = Path(text).name
    return CheckpointError(
        f"the model in {folder} names '{text[:200]}', which is outside its folder, expected a model of the hub or a "
        f"path './...': put a copy into MMCL_WEIGHTS as '{name[:100]}', or build that encoder and pass it as "
        "encoders=[...]"
    )


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~nobody
        return Path(text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or contains a zero byte
        return False


def _is_within(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # circular links
        return False
