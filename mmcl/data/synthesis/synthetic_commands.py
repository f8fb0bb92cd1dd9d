"""A smart-home corpus of our own grammar, spoken by espeak-ng: made in seconds by anyone, and the same for all.

What is said by whom follows from a seed, and a cache on disk keeps the recordings in the layout of Fluent Speech
Commands. No voice of one split speaks in another, and half of what the test voices say is worded as nobody says it in
training.
"""

from __future__ import annotations

import csv
import wave
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmcl.data.base import SAMPLE_RATE, Source
from mmcl.data.speech.fluent_speech_commands import SLOTS, FluentSpeechCommands
from mmcl.data.synthesis.command_plan import EDITION, Command, Parameters, plan, record
from mmcl.data.synthesis.corpus import MANIFEST, appearing_whole, corpus_folder, is_made, make_once, share_out
from mmcl.data.synthesis.espeak import espeak_version


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
        marker=(MANIFEST,),
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
        folder = corpus_folder(root, Parameters(**wanted).folder)
        if not is_made(folder, EDITION, wanted) and make and split in self.splits:
            make_synthetic_commands(root, **wanted, progress=progress)
        super().__init__(folder, split, max_seconds=max_seconds)

    @staticmethod
    def generate(root: str | Path | None = None, **options: Any) -> Path:
        """Make the corpus unless it is there, and return its folder; options as of :func:`make_synthetic_commands`."""
        return make_synthetic_commands(root, **options)


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
    folder = corpus_folder(root, Parameters(**wanted).folder)
    return make_once(folder, EDITION, wanted, lambda: _make(folder, Parameters(**wanted), progress))


def _wanted(utterances_per_intent: Sequence[int] | None, intents: int | None, seed: int | None) -> dict[str, Any]:
    """What was asked for; raises ConfigError if it cannot be had."""
    asked: dict[str, Any] = {"utterances_per_intent": utterances_per_intent, "intents": intents, "seed": seed}
    wanted = {name: value for name, value in asked.items() if value is not None}
    whole = asdict(Parameters(**wanted))
    return {name: whole[name] for name in wanted}


def _make(folder: Path, parameters: Parameters, progress: bool) -> None:
    commands = plan(parameters)
    manifest = {
        "edition": EDITION,
        "parameters": asdict(parameters),
        "espeak_ng": espeak_version(),
        "utterances": {split: len(said) for split, said in commands.items()},
        "voices": {split: len({command.speaker for command in said}) for split, said in commands.items()},
        "unseen_wording_share": {split: _unseen_share(commands, split) for split in ("valid", "test")},
    }
    with appearing_whole(folder, manifest) as partial:
        _write(partial, commands, progress)


def _unseen_share(commands: dict[str, list[Command]], split: str) -> float:
    """Share of the utterances of a split whose wording nobody says in training."""
    train = {command.text for command in commands["train"]}
    return sum(command.text not in train for command in commands[split]) / len(commands[split])


def _write(root: Path, commands: dict[str, list[Command]], progress: bool) -> None:
    names = {
        split: [f"wavs/speakers/{command.speaker}/{index:05d}.wav" for index, command in enumerate(said)]
        for split, said in commands.items()
    }
    jobs = [
        (root / name, command) for split in names for name, command in zip(names[split], commands[split], strict=True)
    ]
    share_out(_write_wav, jobs, "speaking commands", progress=progress)
    (root / "data").mkdir()
    for split, said in commands.items():
        with (root / "data" / f"{split}_data.csv").open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(["", "path", "speakerId", "transcription", *SLOTS])
            for index, (name, command) in enumerate(zip(names[split], said, strict=True)):
                lines.writerow([index, name, command.speaker, command.text, *command.intent])


def _write_wav(path: Path, command: Command) -> None:
    waveform = record(command)
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, len(waveform), "NONE", ""))
        file.writeframes(waveform.astype("<i2").tobytes())
