"""Synthetic smart-home commands from a grammar, spoken by espeak-ng; identical on every machine.

Everything depends on a seed. Recordings are cached on disk in the layout of Fluent Speech Commands. No voice occurs in
two splits. Half of the test utterances have a wording that does not occur in training.
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
from mmcl.data.synthesis.command_plan import COMMANDS_EDITION, Command, CommandParameters, plan_commands, record
from mmcl.data.synthesis.corpus import MANIFEST, appearing_whole, corpus_folder, is_made, make_once, share_out
from mmcl.data.synthesis.espeak import espeak_version


class SyntheticCommands(FluentSpeechCommands):
    """Read the synthetic commands corpus; it is generated first if it is missing.

    Args:
        root: folder of the corpus; None for one in the cache (``MMCL_CACHE``, or ``~/.cache/mmcl``).
        split: ``"train"``, ``"valid"`` or ``"test"``.
        utterances_per_intent: numbers for train, valid and test; None for those of an existing corpus, else 72, 12
            and 14, so that each voice says each intent once or twice.
        intents: number of classes; None for that of an existing corpus, else 31.
        seed: seed of voices, wordings and variations; None for that of an existing corpus, else 0.
        make: generate a missing corpus.
        progress: show a progress bar during generation.
        max_seconds: skip longer recordings; None keeps all.

    Raises:
        MissingDataError: the corpus is missing and ``make`` is False, or espeak-ng is not installed.
        DataError: ``root`` holds something else or is not writable.
        ConfigError: a parameter is out of range.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dataset = SyntheticCommands(f"{folder}/tiny", utterances_per_intent=(1, 1, 1), intents=2, progress=False)
    ...     dataset.classes, dataset.texts[1]
    (('activate music', 'deactivate music'), 'no more music please')
    """

    source = Source(
        name="synthetic_commands",
        folder=CommandParameters().folder,
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
        folder = corpus_folder(root, CommandParameters(**wanted).folder)
        if not is_made(folder, COMMANDS_EDITION, wanted) and make and split in self.splits:
            make_synthetic_commands(root, **wanted, progress=progress)
        super().__init__(folder, split, max_seconds=max_seconds)

    @staticmethod
    def generate(root: str | Path | None = None, **options: Any) -> Path:
        """Generate the corpus if it is missing, and return its folder; see :func:`make_synthetic_commands`."""
        return make_synthetic_commands(root, **options)


def make_synthetic_commands(
    root: str | Path | None = None,
    *,
    utterances_per_intent: Sequence[int] | None = None,
    intents: int | None = None,
    seed: int | None = None,
    progress: bool = True,
) -> Path:
    """Generate the corpus if it is missing, and return its folder; see :class:`SyntheticCommands` for arguments.

    Equal arguments give equal bytes. The folder appears when it is complete. If another process is generating the same
    corpus, this function waits for it.
    """
    wanted = _wanted(utterances_per_intent, intents, seed)
    folder = corpus_folder(root, CommandParameters(**wanted).folder)
    return make_once(folder, COMMANDS_EDITION, wanted, lambda: _make(folder, CommandParameters(**wanted), progress))


def _wanted(utterances_per_intent: Sequence[int] | None, intents: int | None, seed: int | None) -> dict[str, Any]:
    """Return the parameters that were passed; raises ConfigError if they are out of range."""
    asked: dict[str, Any] = {"utterances_per_intent": utterances_per_intent, "intents": intents, "seed": seed}
    wanted = {name: value for name, value in asked.items() if value is not None}
    whole = asdict(CommandParameters(**wanted))
    return {name: whole[name] for name in wanted}


def _make(folder: Path, parameters: CommandParameters, progress: bool) -> None:
    commands = plan_commands(parameters)
    manifest = {
        "edition": COMMANDS_EDITION,
        "parameters": asdict(parameters),
        "espeak_ng": espeak_version(),
        "utterances": {split: len(said) for split, said in commands.items()},
        "voices": {split: len({command.speaker for command in said}) for split, said in commands.items()},
        "unseen_wording_share": {split: _unseen_share(commands, split) for split in ("valid", "test")},
    }
    with appearing_whole(folder, manifest) as partial:
        _write(partial, commands, progress)


def _unseen_share(commands: dict[str, list[Command]], split: str) -> float:
    """Return the fraction of a split's utterances with a wording that does not occur in training."""
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
