"""A smart-home corpus of our own grammar, spoken by espeak-ng: made in seconds by anyone, and the same for all.

What is said by whom follows from a seed, and a cache on disk keeps the recordings in the layout of Fluent Speech
Commands. No voice of one split speaks in another, and half of what the test voices say is worded as nobody says it in
training.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import wave
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from mmcl.data.base import SAMPLE_RATE, Source
from mmcl.data.command_plan import EDITION, Command, Parameters, plan, record
from mmcl.data.espeak import espeak_version
from mmcl.data.fluent_speech_commands import SLOTS, FluentSpeechCommands
from mmcl.errors import DataError

if TYPE_CHECKING:
    pass

_MANIFEST = "corpus.json"  # a folder that has it is whole


class SyntheticCommands(FluentSpeechCommands):
    """Read the synthetic corpus, which is made first where it is missing.

    Args:
        root: folder of the corpus; None for one in the cache (``MMCL_CACHE``, or else ``~/.cache/mmcl``).
        split: ``"train"``, ``"valid"`` or ``"test"``.
        utterances_per_intent: numbers of train, valid and test; None for those of the corpus that is there, or else
            72, 12 and 14, so that each voice says each intent once or twice.
        intents: number of classes; None likewise, or else 31.
        seed: of voices, wordings and variations; None likewise, or else 0.
        make: make a missing corpus.
        progress: show a bar meanwhile.
        max_seconds: leave out longer recordings.

    Raises:
        MissingDataError: the corpus is missing and not to be made, or espeak-ng is missing.
        DataError: ``root`` holds something else or cannot be written.
        ConfigError: numbers that no corpus can have.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dataset = SyntheticCommands(f"{folder}/tiny", utterances_per_intent=(1, 1, 1), intents=2, progress=False)
    ...     dataset.classes, dataset.texts[1]
    (('activate music', 'deactivate music'), 'no more music please')
    """

    source = Source(
        name="synthetic_commands",
        folder=Parameters().folder,
        marker=(_MANIFEST,),
        owner="mmcl",
        license="Apache-2.0, as mmcl",
        size="3,038 utterances, 180 MB",
        url="",
        note="31 intents of 56 voices of espeak-ng",
    )

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        *,
        utterances_per_intent: Sequence[int] | None = None,
        intents: int | None = None,
        seed: int | None = None,
        make: bool = True,
        progress: bool = True,
        max_seconds: float | None = None,
    ) -> None:
        wanted = _wanted(utterances_per_intent, intents, seed)
        folder = _folder(root, wanted)
        if not _is_made(folder, wanted) and make and split in self.splits:
            make_synthetic_commands(root, **wanted, progress=progress)
        super().__init__(folder, split, max_seconds=max_seconds)


def make_synthetic_commands(
    root: str | Path | None = None,
    *,
    utterances_per_intent: Sequence[int] | None = None,
    intents: int | None = None,
    seed: int | None = None,
    progress: bool = True,
) -> Path:
    """Make the corpus unless it is there, and return its folder; arguments and errors as of :class:`SyntheticCommands`.

    Equal arguments give equal bytes. The folder appears when all of it is written; who asks for a corpus that somebody
    else is making waits for it.
    """
    wanted = _wanted(utterances_per_intent, intents, seed)
    folder = _folder(root, wanted)
    if _is_made(folder, wanted):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not _is_made(folder, wanted):  # nobody made it while we waited
                _make(folder, Parameters(**wanted), progress)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror or error}): free some disk, or choose another root"
        ) from error
    return folder


def _wanted(utterances_per_intent: Sequence[int] | None, intents: int | None, seed: int | None) -> dict[str, Any]:
    """What was asked for; raises ConfigError if it cannot be had."""
    asked: dict[str, Any] = {"utterances_per_intent": utterances_per_intent, "intents": intents, "seed": seed}
    wanted = {name: value for name, value in asked.items() if value is not None}
    whole = asdict(Parameters(**wanted))
    return {name: whole[name] for name in wanted}


def _folder(root: str | Path | None, wanted: dict[str, Any]) -> Path:
    from mmcl.data.catalog import cache_dir

    folder = cache_dir() / "data" / Parameters(**wanted).folder if root is None else Path(root).expanduser()
    return folder.absolute()


def _is_made(folder: Path, wanted: dict[str, Any]) -> bool:
    """Tell if a corpus is there; raises DataError if it is another one, or something else is there."""
    manifest = folder / _MANIFEST
    if not manifest.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(f"{folder} has no {_MANIFEST}, expected a synthetic corpus or nothing: choose another root")
        return False
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        made = {"edition": content["edition"], **content["parameters"]}
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{manifest} cannot be read ({error!r}): remove {folder}, and it is made anew") from error
    for name, value in {"edition": EDITION, **wanted}.items():
        value = list(value) if isinstance(value, tuple) else value  # as in JSON
        if made.get(name) != value:
            raise DataError(
                f"{folder} holds a corpus of {name} {made.get(name)}, expected {value}: "
                "choose another root, or remove that folder"
            )
    return True


def _make(folder: Path, parameters: Parameters, progress: bool) -> None:
    """Write a corpus beside ``folder`` and rename it when it is whole."""
    commands = plan(parameters)
    manifest = {
        "edition": EDITION,
        "parameters": asdict(parameters),
        "espeak_ng": espeak_version(),
        "utterances": {split: len(said) for split, said in commands.items()},
        "voices": {split: len({command.speaker for command in said}) for split, said in commands.items()},
        "unseen_wording_share": {split: _unseen_share(commands, split) for split in ("valid", "test")},
    }
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)  # of one who was killed
    try:
        (temporary / "data").mkdir(parents=True)
        _record_all(temporary, commands, progress)
        (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            folder.rmdir()  # it is empty
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unseen_share(commands: dict[str, list[Command]], split: str) -> float:
    """Share of the utterances of a split whose wording nobody says in training."""
    train = {command.text for command in commands["train"]}
    return sum(command.text not in train for command in commands[split]) / len(commands[split])


def _record_all(root: Path, commands: dict[str, list[Command]], progress: bool) -> None:
    import torch

    from mmcl.progress import progress_display

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the commands are shared out, each too short to be
    workers = ThreadPoolExecutor(os.cpu_count())  # espeak-ng and torch let other threads run
    try:
        with progress_display(disable=not progress) as bars:
            bar = bars.add_task("speaking commands", total=sum(map(len, commands.values())))
            for split, said in commands.items():
                names = [f"wavs/speakers/{command.speaker}/{index:05d}.wav" for index, command in enumerate(said)]
                for _ in workers.map(_write_wav, [root / name for name in names], said):
                    bars.advance(bar)
                with (root / "data" / f"{split}_data.csv").open("w", newline="", encoding="utf-8") as file:
                    lines = csv.writer(file, lineterminator="\n")
                    lines.writerow(["", "path", "speakerId", "transcription", *SLOTS])
                    for index, (name, command) in enumerate(zip(names, said, strict=True)):
                        lines.writerow([index, name, command.speaker, command.text, *command.intent])
    finally:
        workers.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _write_wav(path: Path, command: Command) -> None:
    waveform = record(command)
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, len(waveform), "NONE", ""))
        file.writeframes(waveform.astype("<i2").tobytes())
