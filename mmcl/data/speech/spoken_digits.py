"""Free Spoken Digit Dataset: English digits, spoken repeatedly by a few people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mmcl.data.base import Source, SpeechDataset, Utterance
from mmcl.errors import DataError
from mmcl.text.suggest import nearest

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NAME = re.compile(r"(?P<digit>[0-9])_(?P<speaker>.+)_(?P<index>[0-9]+)")
_INDICES = {"test": range(0, 5), "valid": range(5, 10)}  # all others are training data


class SpokenDigits(SpeechDataset):
    """Read the Free Spoken Digit Dataset, ``recordings/{digit}_{speaker}_{index}.wav``.

    The official test split is index 0 to 4 of each digit and speaker. There is no official validation split: index 5
    to 9 of the training recordings is used for it.

    Args:
        root: folder with ``recordings/``.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        speakers: keep recordings of these speakers only; None keeps all.
        max_seconds: skip longer recordings; None keeps all.

    Raises:
        MissingDataError: the folder does not exist.
        DataError: a file name cannot be parsed, or a speaker is unknown.
    """

    source = Source(
        name="fsdd",
        folder="fsdd",
        marker=("recordings",),
        owner="Zohar Jackson and others",
        license="CC BY-SA 4.0",
        size="3,000 utterances, 27 MB",
        url="https://github.com/Jakobovski/free-spoken-digit-dataset",
        note="10 digits of 6 speakers, 8 kHz",
    )

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        speakers: Sequence[str] | None = None,
        *,
        max_seconds: float | None = None,
    ) -> None:
        self._kept_speakers = (speakers,) if isinstance(speakers, str) else speakers
        super().__init__(root, split, max_seconds=max_seconds)

    def _read(self) -> tuple[tuple[str, ...], list[Utterance]]:
        utterances, known = [], set()
        for path in sorted((self.root / "recordings").glob("*.wav")):
            match = _NAME.fullmatch(path.stem)
            if match is None:
                raise DataError(f"{path} is not named like a recording, expected {{digit}}_{{speaker}}_{{index}}.wav")
            known.add(match["speaker"])
            split = next((split for split, indices in _INDICES.items() if int(match["index"]) in indices), "train")
            if split == self.split:
                label = int(match["digit"])
                utterances.append(Utterance(path.stem, path, label, text=DIGITS[label], speaker=match["speaker"]))
        for speaker in self._kept_speakers or ():
            if speaker not in known:
                raise DataError(
                    f"{self.root} has no speaker '{speaker}'{nearest(speaker, known)}: "
                    f"expected some of {', '.join(sorted(known))}"
                )
        if self._kept_speakers is not None:
            utterances = [utterance for utterance in utterances if utterance.speaker in self._kept_speakers]
        return DIGITS, utterances
