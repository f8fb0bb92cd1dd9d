"""Barista: spoken coffee orders, each with one intent and several slots."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Literal

from mmcl.data.base import Entity, Source, SpeechDataset, Utterance, logger
from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.files.plain_json import member, read_json
from mmcl.text.suggest import nearest
from mmcl.text.words import tidy

_TEST_SHARE, _VALID_SHARE = 0.20, 0.16
_SUFFIXES = (".flac", ".wav")  # if an order has several recordings, the first suffix is used


class Barista(SpeechDataset):
    """Read the coffee orders of Picovoice's speech-to-intent benchmark; the value of one slot is the class.

    Recordings without that slot are skipped; the other slots are the entities. The owner provides neither transcripts
    nor splits. The text is the class name or the values of all slots. Each class is split 64 / 16 / 20 % into train,
    valid and test by a hash of ``seed`` and recording id. A copy with missing files splits the others identically.

    Args:
        root: folder with ``label.json`` and ``speech/``, or ``label/label.json`` and ``speech/clean/``.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        slot: slot that defines the class.
        seed: seed of the split.
        words: text of a sample: the class name (``"class"``), or the values of all slots sorted by slot (``"slots"``).
        max_seconds: skip longer recordings; None keeps all.

    Raises:
        MissingDataError: the labels or all recordings are missing; single missing recordings are only counted.
        DataError: no order has the slot, or a class has too few recordings for three splits.
    """

    source = Source(
        name="barista",
        folder="barista",
        marker=("label.json", "label/label.json"),
        owner="Picovoice",
        license="Apache-2.0",
        size="about 620 utterances, 1.5 h, 56 MB as FLAC",
        url="https://github.com/Picovoice/speech-to-intent-benchmark (its folder 'data')",
        note="10 drinks of over 50 speakers, 6 slots",
    )

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        slot: str = "coffeeDrink",
        seed: int = 0,
        *,
        words: Literal["class", "slots"] = "class",
        max_seconds: float | None = None,
    ) -> None:
        if words not in ("class", "slots"):
            raise ConfigError(f"words is {words!r}, expected 'class' or 'slots'")
        self.slot = slot
        self.seed = seed
        self.words = words
        super().__init__(root, split, max_seconds=max_seconds)

    def _read(self) -> tuple[tuple[str, ...], list[Utterance]]:
        orders = _read_orders(next(path for name in self.source.marker if (path := self.root / name).exists()))
        known = sorted({slot for slots in orders.values() for slot in slots})
        if self.slot not in known:
            raise DataError(
                f"{self.root} has no slot '{self.slot}'{nearest(self.slot, known)}: expected one of {', '.join(known)}"
            )
        recordings = self._recordings(orders)
        ids_of: dict[str, list[str]] = {}
        for id, slots in orders.items():
            if self.slot in slots:
                ids_of.setdefault(slots[self.slot], []).append(id)
        classes = tuple(sorted(ids_of))

        utterances = []
        for label, value in enumerate(classes):
            split_of = _split(ids_of[value], self.seed)
            present = [id for id in sorted(split_of) if id in recordings]
            counts = Counter(split_of[id] for id in present)
            if len(counts) < len(self.splits):
                raise DataError(
                    f"class '{value}' of slot '{self.slot}' has too few recordings to split: "
                    f"{', '.join(f'{counts[split]} {split}' for split in self.splits)}, expected at least 1 each; "
                    "use another slot"
                )
            for id in present:
                if split_of[id] == self.split:
                    others = tuple(Entity(slot, value) for slot, value in orders[id].items() if slot != self.slot)
                    text = " ".join(orders[id].values()) if self.words == "slots" else ""
                    utterances.append(Utterance(id, recordings[id], label, text, entities=others))
        return classes, utterances

    def _recordings(self, orders: dict[str, dict[str, str]]) -> dict[str, Path]:
        """Return the recording of each order that has one."""
        folders = (self.root / "speech", self.root / "speech" / "clean")
        found: dict[str, Path] = {}
        for folder in folders:
            for suffix in _SUFFIXES:
                for path in folder.glob(f"*{suffix}"):
                    if path.is_file():  # neither a folder nor a broken link
                        found.setdefault(path.stem, path)
        missing = sorted(id for id in orders if id not in found)
        if len(missing) == len(orders):
            raise MissingDataError(
                f"none of the {len(orders)} labelled recordings of {self.root} exists: "
                f"expected {missing[0]}.flac or .wav in {folders[0]} or {folders[1]}"
            )
        if missing:
            logger.warning(
                "skipped %d of %d labels in %s that have no recording, first %s",
                len(missing),
                len(orders),
                self.root,
                missing[0],
            )
        return found


def _read_orders(path: Path) -> dict[str, dict[str, str]]:
    """Return the slots of each order, by the name of its recording without suffix."""
    orders: dict[str, dict[str, str]] = {}
    for name, entry in read_json(path).items():
        where = f"{path}, entry '{name}'"
        if not isinstance(entry, dict):
            raise DataError(f'{where} is {entry!r:.40}, expected an object like {{"intent": ..., "slots": {{...}}}}')
        slots = member(entry, "slots", dict, where=where)
        if (id := Path(name).stem) in orders:
            raise DataError(f"{where} repeats recording {id}, expected it once: remove one entry")
        # Values such as " soy milk" are artifacts of the owner's templates.
        orders[id] = {slot: tidy(member(slots, slot, str, where=where)) for slot in sorted(slots)}
    return orders


def _split(ids: list[str], seed: int) -> dict[str, str]:
    """Return the split of each recording of a class; with three or more recordings every split gets at least one."""
    shuffled = sorted(ids, key=lambda id: sha256(f"{seed} {id}".encode()).digest())
    test = max(1, round(_TEST_SHARE * len(ids)))
    valid = max(1, round(_VALID_SHARE * len(ids)))
    return {
        id: "test" if rank < test else "valid" if rank < test + valid else "train" for rank, id in enumerate(shuffled)
    }
