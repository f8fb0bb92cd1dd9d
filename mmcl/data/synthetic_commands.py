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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from mmcl.data.base import SAMPLE_RATE, Source
from mmcl.data.command_grammar import GRAMMAR, grammar
from mmcl.data.espeak import ACCENTS, VARIANTS, Voice, espeak_version, speak
from mmcl.data.fluent_speech_commands import SLOTS, FluentSpeechCommands, Intent
from mmcl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

_Item = TypeVar("_Item")

_VOICES = {"train": 36, "valid": 6, "test": 14}
_UNSEEN = 0.25  # share of each intent's wordings that nobody says in training; they are half of what is said in test
_FORMAT = 1  # counts up when plan() or record() below make something else of all this
_EDITION = sha256(repr((_FORMAT, GRAMMAR, ACCENTS, VARIANTS, _VOICES, _UNSEEN)).encode()).hexdigest()[:8]
_MANIFEST = "corpus.json"  # a folder that has it is whole


@dataclass(frozen=True)
class Parameters:
    """What decides every byte of a corpus: numbers of train, valid and test utterances, number of intents, seed.

    Raises:
        ConfigError: a number that no corpus can have.
    """

    utterances_per_intent: tuple[int, int, int] = (72, 12, 14)
    intents: int = 31
    seed: int = 0

    def __post_init__(self) -> None:
        sizes: object = self.utterances_per_intent
        if not isinstance(sizes, (list, tuple)) or len(sizes) != 3 or not all(_is_whole(size, 1) for size in sizes):
            raise ConfigError(
                f"utterances_per_intent is {sizes!r}, expected 3 numbers for train, valid and test, each at least 1"
            )
        object.__setattr__(self, "utterances_per_intent", tuple(sizes))  # a config gives a list
        if not _is_whole(self.intents, 1) or self.intents > len(grammar()):
            raise ConfigError(f"intents is {self.intents!r}, expected 1 to {len(grammar())}, which the grammar has")
        if not _is_whole(self.seed, 0):
            raise ConfigError(f"seed is {self.seed!r}, expected a whole number from 0")

    @property
    def folder(self) -> str:
        """Name of the folder in the cache."""
        return f"synthetic_commands-{sha256(repr((_EDITION, self)).encode()).hexdigest()[:8]}"


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


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


@dataclass(frozen=True)
class Command:
    """One recording to be made: who says what, between how many milliseconds of silence, in how loud a noise."""

    speaker: str
    voice: Voice
    intent: Intent
    text: str
    before: int
    after: int
    noise: int


def voices(seed: int = 0) -> dict[str, list[Voice]]:
    """Draw the voices of each split; no two of them, in any split, have the same timbre.

    >>> {split: len(drawn) for split, drawn in voices().items()}
    {'train': 36, 'valid': 6, 'test': 14}
    """
    random = Random(f"{seed} voices")
    variants = iter(random.sample(VARIANTS, sum(_VOICES.values())))
    return {
        split: [
            Voice(
                accent=random.choice(tuple(ACCENTS)),
                variant=next(variants),
                rate=random.randint(145, 190),
                pitch=random.randint(35, 65),
                pitch_range=random.randint(40, 70),
            )
            for _ in range(count)
        ]
        for split, count in _VOICES.items()
    }


def plan(parameters: Parameters) -> dict[str, list[Command]]:
    """Say for each split what is to be recorded, intent by intent.

    Voices and wordings take turns in random order, and each voice varies its rate and pitch a little.
    """
    commands: dict[str, list[Command]] = {}
    for (split, speakers), size in zip(voices(parameters.seed).items(), parameters.utterances_per_intent, strict=True):
        commands[split] = []
        for intent, wordings in islice(grammar().items(), parameters.intents):
            random = Random(f"{parameters.seed} {split} {intent}")
            speaker = _turns(random, speakers)
            known, new = (_turns(random, each) for each in _reserve(wordings, Random(f"{parameters.seed} {intent}")))
            for number in range(size):
                voice = next(speaker)
                commands[split].append(
                    Command(
                        speaker=f"{voice.accent}-{voice.variant}",
                        voice=replace(
                            voice,
                            rate=voice.rate + random.randint(-8, 8),
                            pitch=voice.pitch + random.randint(-4, 4),
                        ),
                        intent=intent,
                        text=next(new if split == "test" and number % 2 == 0 else known),
                        before=random.randint(50, 350),
                        after=random.randint(50, 350),
                        noise=random.randint(2, 60),
                    )
                )
    return commands


def record(command: Command) -> NDArray[np.int16]:
    """Speak a command; return its waveform ``(samples,)`` at 16 kHz."""
    import torch

    spoken, _ = speak(command.text, command.voice)
    speech = _resampler()(torch.from_numpy(spoken.astype(np.float64))).numpy()
    before, after = (SAMPLE_RATE * milliseconds // 1000 for milliseconds in (command.before, command.after))
    waveform = np.pad(speech, (before, after))
    # Bytes of Python's own generator are the same everywhere, which numpy's are not promised to be.
    noise = np.frombuffer(Random(repr(command)).randbytes(len(waveform)), np.int8) / 128
    return np.clip(np.rint(waveform + command.noise * noise), -32768, 32767).astype(np.int16)


@lru_cache(maxsize=1)
def _resampler() -> Resample:
    import torch
    from torchaudio.transforms import Resample

    # 22,050 Hz taken for 22,000, which lowers and slows speech by 0.2 %: then 11 samples become 8, and the filter is
    # 40 times smaller. In double precision no machine rounds to other 16-bit samples.
    return Resample(11, 8, dtype=torch.float64)


def _reserve(wordings: Sequence[str], random: Random) -> tuple[list[str], list[str]]:
    """Part wordings into those for everywhere and those for test alone, whose every word is in one of the others."""
    known = list(wordings)
    new: list[str] = []
    for wording in random.sample(wordings, len(wordings)):
        others = [other for other in known if other != wording]
        if len(new) < _UNSEEN * len(wordings) and set(wording.split()) <= set(" ".join(others).split()):
            known = others
            new.append(wording)
    return known, new


def _turns(random: Random, items: Sequence[_Item]) -> Iterator[_Item]:
    """Every item once in random order, then every item once in another, without end."""
    while True:
        yield from random.sample(items, len(items))


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
    for name, value in {"edition": _EDITION, **wanted}.items():
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
        "edition": _EDITION,
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
