"""Fluent Speech Commands: spoken smart-home commands with 31 intents (action, object and location).

Lugosch et al., "Speech Model Pre-training for End-to-End Spoken Language Understanding", 2019.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from os import scandir
from pathlib import Path

from mmcl.data.base import Entity, Source, SpeechDataset, Utterance
from mmcl.data.class_names import merged_names
from mmcl.errors import DataError, MissingDataError
from mmcl.files.plain_csv import read_table
from mmcl.text.words import composed

SLOTS = ("action", "object", "location")
_COLUMNS = ("path", "speakerId", "transcription", *SLOTS)

IntentSlots = tuple[str, ...]  #: one value for each of SLOTS


class FluentSpeechCommands(SpeechDataset):
    """Read Fluent Speech Commands, or any corpus with its layout.

    ``data/{train,valid,test}_data.csv`` list the recordings with paths relative to ``root``. Classes are the triples of
    action, object and location in any of the three files, sorted, so that all splits have the same classes.

    Args:
        root: folder with ``data/`` and the recordings.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        max_seconds: skip longer recordings; None keeps all.

    Raises:
        MissingDataError: a CSV or a listed recording does not exist; the message names CSV and line.
        DataError: a CSV lacks a column or a value, or a line has another number of cells than the first.
    """

    source = Source(
        name="fluent_speech_commands",
        folder="fluent_speech_commands",
        marker=("data/train_data.csv",),
        owner="Fluent.ai",
        license="Fluent Speech Commands Public License (academic research only)",
        size="30,043 utterances, 19 h",
        url="https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-understanding-research/",
        note="31 intents of 97 speakers",
    )

    def __init__(self, root: str | Path, split: str = "train", *, max_seconds: float | None = None) -> None:
        super().__init__(root, split, max_seconds=max_seconds)

    def _read(self) -> tuple[tuple[str, ...], list[Utterance]]:
        rows = {split: _read_csv(self.root / "data" / f"{split}_data.csv") for split in self.splits}
        called = merged_names((row[slot] for each in rows.values() for _, row in each for slot in SLOTS), self.root)
        for _, row in (row for each in rows.values() for row in each):
            row.update({slot: called[row[slot]] for slot in SLOTS})
        intents = sorted({_intent(row) for split in self.splits for _, row in rows[split]})
        label_of = {intent: label for label, intent in enumerate(intents)}
        _require_files(self.root, self.root / "data" / f"{self.split}_data.csv", rows[self.split])
        utterances = [
            Utterance(
                id=row["path"],
                path=self.root / row["path"],
                label=label_of[_intent(row)],
                text=row["transcription"],
                speaker=row["speakerId"],
                entities=tuple(Entity(slot, row[slot]) for slot in SLOTS if row[slot] != "none"),
            )
            for _, row in rows[self.split]
        ]
        return tuple(intent_names(intents)), utterances


def intent_names(intents: Iterable[IntentSlots]) -> list[str]:
    """Return the name of each intent: its values without "none", or with it if two intents would share a name.

    >>> intent_names([("activate", "lights", "living_room"), ("change language", "none", "none")])
    ['activate lights living room', 'change language']
    >>> intent_names([("turn", "none", "up"), ("turn", "up", "none")])
    ['turn none up', 'turn up none']
    """
    intents = list(intents)
    short = [" ".join(value for value in intent if value != "none").replace("_", " ") for intent in intents]
    full = [" ".join(intent).replace("_", " ") for intent in intents]
    exact = ["/".join(intent) for intent in intents]
    short_count, full_count = Counter(short), Counter(full)
    return [
        short[i] if short[i] and short_count[short[i]] == 1 else full[i] if full_count[full[i]] == 1 else exact[i]
        for i in range(len(intents))
    ]


def _intent(row: dict[str, str]) -> IntentSlots:
    return tuple(row[slot] for slot in SLOTS)


def _read_csv(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a CSV with their line numbers."""
    if not path.exists():
        raise MissingDataError(f"there is no file {path}, which lists recordings: copy the data set again")
    rows = read_table(path, _COLUMNS, required=_COLUMNS).rows
    for line, row in rows:
        if not row["path"].strip():
            raise DataError(f"{path} line {line} has no value for path: fill it in, or copy the file again")
        row["transcription"] = composed(row["transcription"])
    return rows


def _require_files(root: Path, csv_path: Path, rows: list[tuple[int, dict[str, str]]]) -> None:
    """Raise MissingDataError if a recording does not exist."""
    present: dict[Path, set[str]] = {}  # list each folder once: on a network disk, one lookup per file takes minutes
    missing = []
    for line, row in rows:
        path = root / row["path"]
        if path.parent not in present:
            present[path.parent] = {entry.name for entry in scandir(path.parent)} if path.parent.is_dir() else set()
        if path.name not in present[path.parent]:
            missing.append((line, row["path"]))
    if missing:
        line, name = missing[0]
        raise MissingDataError(
            f"{csv_path} line {line} lists {name}, but there is no file {root / name} "
            f"({len(missing)} of {len(rows)} recordings are missing): copy the data set again"
        )
