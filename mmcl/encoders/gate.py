"""The gate to other libraries' loaders: which names, files and settings reach them, and what comes of their errors.

A model is data of unknown origin. What its files say can neither run code, nor reach the network, nor name a place of
this machine:

* A name in the description of a model is one on the hub or of a library, or ``./...``, a place within its folder.
  Models of the hub are looked for in ``MMCL_WEIGHTS`` and in the hub's cache; so is, by its last part in
  ``MMCL_WEIGHTS``, a folder that a model was trained with elsewhere. Whoever calls mmcl may name any place.
* Only whoever calls mmcl can have something fetched.
* Loaders of transformers read a copy of the folder with known files and settings alone, see
  :func:`~mmcl.encoders.clean_folder.cleaned`, and are told to trust no code.
* Whatever a loader raises becomes an error of mmcl that names the file.
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
_FOLDER: ContextVar[Path | None] = ContextVar("model folder whose description is followed", default=None)


@contextmanager
def described_by(folder: str | Path) -> Iterator[None]:
    """Take names to be those in the description of the model in ``folder``, which may lead to few places only."""
    token = _FOLDER.set(Path(folder))
    try:
        yield
    finally:
        _FOLDER.reset(token)


def place(name: str | Path) -> Path | None:
    """Return the file or folder of this machine that a name means, None where it means none.

    Raises:
        CheckpointError: the name is in the description of a model, and means a place outside its folder.
        MissingDataError: it means a place within the folder that is not there.

    >>> with described_by("/models/by-words"):
    ...     place("/elsewhere/minilm")
    Traceback (most recent call last):
    ...
    mmcl.errors.CheckpointError: the model in /models/by-words names '/elsewhere/minilm', a place outside its ...
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
            raise MissingDataError(f"there is no {text} in {folder}, which its model names: copy the whole folder")
        return folder / text
    if HUB_NAME.fullmatch(text):
        return _among_weights(text)
    weights, path = _weights(), Path(os.path.normpath(_expanded(text)))
    if not any(mark in text for mark in ("/", "\\", "~", "\0")) and text not in (".", ".."):
        # What a library calls its weights, or a folder of weights; never one that happens to be where mmcl is started.
        return weights / text if weights is not None and _exists(weights / text) else None
    if weights is not None:
        if path.is_relative_to(weights) and _exists(path):
            return path
        if path.name not in ("", "..") and _exists(weights / path.name):
            return weights / path.name
    raise _outside(folder, text)


def file_of(name: str | Path) -> Path:
    """Return the file that a name means, as :func:`place`; raises MissingDataError where there is none."""
    found = place(name)
    if found is None or not found.is_file():
        raise MissingDataError(f"there is no file '{name}': expected weights in .safetensors, or a state dict in .pt")
    return found


def own_file(folder: Path, name: str, *, error: type[MMCLError] = DataError) -> Path | None:
    """Return the path of a file of a model, None where it has none of that name.

    Raises:
        DataError: (or ``error``) it is a link to a place outside the folder, or no regular file.
    """
    path = folder / name
    if not os.path.lexists(path):
        return None
    root = folder.resolve()
    if root.parent.name == "snapshots":  # the hub's cache, where files are links to ../../blobs
        root = root.parent.parent
    if not _is_within(path, root):
        raise error(f"{path} is a link to a place outside its folder, expected the file itself: copy it there")
    if not path.is_file():
        raise error(f"{path} is not a regular file, expected one: copy the folder again from its source")
    return path


def snapshot(name: str, files: Sequence[str], *, download: bool) -> Path | None:
    """Return the folder in the hub's cache of a model, None where it is not there.

    Args:
        name: ``"owner/model"``.
        files: names or patterns of what is fetched.
        download: fetch what is not there.

    Raises:
        MissingDataError: it cannot be fetched.
    """
    import huggingface_hub

    if not HUB_NAME.fullmatch(name):
        return None
    if not download:
        found = (cached(name, file) for file in files if "*" not in file)
        return next((path.parent for path in found if path is not None), None)
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(files)))
    except (OSError, ValueError) as error:  # of the network as well
        raise MissingDataError(
            f"'{name}' cannot be fetched from the hub: check its name and the network, or pass the folder of a copy, "
            "or put that folder into MMCL_WEIGHTS"
        ) from error


def cached(name: str, file: str) -> Path | None:
    """Return the path in the hub's cache of a file of a model, None where it is not there.

    Other functions of the hub's library reach for the network even where they are told not to.
    """
    import huggingface_hub

    found = huggingface_hub.try_to_load_from_cache(name, file) if HUB_NAME.fullmatch(name) else None
    return Path(found) if isinstance(found, str) else None


@contextmanager
def foreign(what: object, *, error: type[MMCLError] = DataError) -> Iterator[None]:
    """Run another library on files of unknown origin: whatever it raises becomes ``error``, of ``what``.

    >>> with foreign("tokenizer.json"):
    ...     [][3]
    Traceback (most recent call last):
    ...
    mmcl.errors.DataError: tokenizer.json cannot be read (IndexError: list index out of range): copy it again from ...
    """
    try:
        yield
    except (MMCLError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as fault:  # panics of the library tokenizers are no Exception
        reason = " ".join(str(fault).split())[:200]
        raise error(
            f"{what} cannot be read ({type(fault).__name__}: {reason}): copy it again from its source"
        ) from fault


def _weights() -> Path | None:
    folder = os.environ.get("MMCL_WEIGHTS")
    return _expanded(folder).absolute() if folder else None


def _among_weights(name: str) -> Path | None:
    """The copy of a hub's model in ``MMCL_WEIGHTS``."""
    weights = _weights()
    if weights is None or not HUB_NAME.fullmatch(name):
        return None
    _, _, model = name.partition("/")
    for known in (model, f"{model}-encoder"):  # the latter of a copy without decoder
        if _exists(weights / known / "config.json"):
            return weights / known
    return None


def _outside(folder: Path, text: str) -> CheckpointError:
    name = Path(text).name
    return CheckpointError(
        f"the model in {folder} names '{text[:200]}', a place outside its folder, expected a model of the hub or "
        f"'./...' within the folder: put a copy into the folder that MMCL_WEIGHTS names, as '{name[:100]}', or build "
        "that encoder and pass it as encoders=[...]"
    )


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~nobody
        return Path(text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False


def _is_within(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle
        return False
