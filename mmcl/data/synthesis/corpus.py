"""Generated corpora: created once, visible only when complete, and shared by concurrent processes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from mmcl.errors import DataError
from mmcl.files.plain_json import member, read_json
from mmcl.threads import ThreadPool

MANIFEST = "corpus.json"  #: describes a corpus; a folder that has it is complete
_Job = TypeVar("_Job")


def corpus_name(name: str, edition: str, parameters: object) -> str:
    """Return the folder name of a corpus, which depends on its edition and parameters.

    Parameters are hashed as ``Parameters(...)`` whatever their class is called, so renaming it keeps corpora valid.
    """
    shown = repr(parameters).replace(type(parameters).__name__, "Parameters", 1)
    return f"{name}-{sha256(f'({edition!r}, {shown})'.encode()).hexdigest()[:8]}"


def corpus_folder(root: str | Path | None, name: str) -> Path:
    """Return the folder of a corpus: ``root``, or ``name`` in the user's cache if ``root`` is None."""
    from mmcl.files.cache_dir import cache_dir

    return (cache_dir() / "data" / name if root is None else Path(root).expanduser()).absolute()


def is_made(folder: Path, edition: str, wanted: Mapping[str, Any]) -> bool:
    """Return whether a complete corpus of this edition with the wanted parameters exists.

    Raises:
        DataError: the folder holds another corpus, or something else.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(f"{folder} has no {MANIFEST}, expected a synthetic corpus or nothing: choose another root")
        return False
    try:
        content = read_json(manifest)
        edition_made = member(content, "edition", str, where=str(manifest))
        made = {"edition": edition_made, **member(content, "parameters", dict, where=str(manifest))}
    except DataError as error:
        raise DataError(f"{manifest} cannot be read ({error}): remove {folder}, and it is generated again") from None
    for name, value in {"edition": edition, **wanted}.items():
        value = list(value) if isinstance(value, tuple) else value  # as JSON stores it
        if made.get(name) != value:
            raise DataError(
                f"{folder} holds a corpus of {name} {made.get(name)}, expected {value}: "
                "choose another root, or remove that folder"
            )
    return True


def make_once(folder: Path, edition: str, wanted: Mapping[str, Any], make: Callable[[], None]) -> Path:
    """Call ``make`` if the corpus is missing and no other process generates it meanwhile; return ``folder``.

    Raises:
        DataError: the folder holds another corpus, or is not writable.
    """
    if is_made(folder, edition, wanted):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not is_made(folder, edition, wanted):  # another process may have finished it while we waited
                make()
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror or error}): free some disk, or choose another root"
        ) from error
    return folder


@contextmanager
def appearing_whole(folder: Path, manifest: Mapping[str, Any], *, resume: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to ``folder``, with its manifest, if the body succeeds.

    With ``resume``, the temporary folder of a failed body is kept for the next attempt with the same manifest; each
    file in it must then be written atomically. Otherwise it is removed.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    plan = partial / "plan.json"  # renamed to the manifest at the end, so nobody takes the folder for complete
    text = json.dumps(manifest, indent=2) + "\n"
    if not (resume and plan.is_file() and plan.read_bytes() == text.encode()):
        shutil.rmtree(partial, ignore_errors=True)  # from a killed process, or of another corpus
    try:
        if not partial.exists():
            partial.mkdir()
            plan.write_text(text, encoding="utf-8")
        yield partial
        plan.rename(partial / MANIFEST)
        if folder.exists():
            folder.rmdir()  # it is empty
        partial.rename(folder)
    finally:
        if not resume:
            shutil.rmtree(partial, ignore_errors=True)


def share_out(
    work: Callable[[Path, _Job], None], jobs: Sequence[tuple[Path, _Job]], title: str, *, progress: bool
) -> None:
    """Run all jobs in parallel with a progress bar; a job gets the path of its result. The first error stops all."""
    import torch

    from mmcl.progress import progress_display

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # parallel over jobs; each is too short to parallelise
    try:
        # espeak-ng and torch release the GIL
        with progress_display(disable=not progress) as bars, ThreadPool(os.cpu_count()) as workers:
            bar = bars.add_task(title, total=len(jobs))
            for _ in workers.map(lambda job: work(*job), jobs):
                bars.advance(bar)
    finally:
        torch.set_num_threads(threads)
