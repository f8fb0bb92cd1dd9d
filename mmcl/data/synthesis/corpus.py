"""A corpus that is generated appears whole and once: others see all of it or nothing, and wait for who makes it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from mmcl.errors import DataError
from mmcl.files.plain_json import member, read_json

MANIFEST = "corpus.json"  #: says what a corpus is; a folder that has it is whole
_Job = TypeVar("_Job")


def corpus_folder(root: str | Path | None, name: str) -> Path:
    """Return the folder of a corpus: ``root``, or else ``name`` in the user's cache."""
    from mmcl.data.catalog import cache_dir

    return (cache_dir() / "data" / name if root is None else Path(root).expanduser()).absolute()


def is_made(folder: Path, edition: str, wanted: Mapping[str, Any]) -> bool:
    """Tell if a corpus of this edition and of the wanted parameters is there.

    Raises:
        DataError: another corpus, or something else, is there.
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
        raise DataError(f"{manifest} cannot be read ({error}): remove {folder}, and it is made anew") from None
    for name, value in {"edition": edition, **wanted}.items():
        value = list(value) if isinstance(value, tuple) else value  # as in JSON
        if made.get(name) != value:
            raise DataError(
                f"{folder} holds a corpus of {name} {made.get(name)}, expected {value}: "
                "choose another root, or remove that folder"
            )
    return True


def make_once(folder: Path, edition: str, wanted: Mapping[str, Any], make: Callable[[], None]) -> Path:
    """Call ``make`` unless the corpus is there, or somebody else who is making it ends; return ``folder``.

    Raises:
        DataError: another corpus is there, or the disk cannot be written.
    """
    if is_made(folder, edition, wanted):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not is_made(folder, edition, wanted):  # nobody made it while we waited
                make()
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror or error}): free some disk, or choose another root"
        ) from error
    return folder


@contextmanager
def appearing_whole(folder: Path, manifest: Mapping[str, Any], *, resume: bool = False) -> Iterator[Path]:
    """Give a folder to be filled beside ``folder``, which becomes it, with its manifest, when the body ends well.

    With ``resume``, what an unfinished body has left there is kept for the next one of the same manifest; each of its
    files must then appear whole too. Otherwise nothing is left.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    plan = partial / "plan.json"  # not yet the manifest: nobody may take the folder for whole
    text = json.dumps(manifest, indent=2) + "\n"
    if not (resume and plan.is_file() and plan.read_bytes() == text.encode()):
        shutil.rmtree(partial, ignore_errors=True)  # of one who was killed, or who made something else
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
    """Do all jobs, each with the path of its result, on all processors, behind a bar; the first error ends it."""
    import torch

    from mmcl.progress import progress_display

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the jobs are shared out, each too short to be
    workers = ThreadPoolExecutor(os.cpu_count())  # espeak-ng and torch let other threads run
    try:
        with progress_display(disable=not progress) as bars:
            bar = bars.add_task(title, total=len(jobs))
            for _ in workers.map(lambda job: work(*job), jobs):
                bars.advance(bar)
    finally:
        workers.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
