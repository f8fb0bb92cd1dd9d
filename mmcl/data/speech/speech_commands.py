"""Speech Commands v0.02: recordings of one second with one of 35 words.

Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", 2018.
"""

from __future__ import annotations

import os
from pathlib import Path

from mmcl.data.base import Source, SpeechDataset, Utterance
from mmcl.errors import DataError, MissingDataError
from mmcl.files.plain_json import read_text

_LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}


class SpeechCommands(SpeechDataset):
    """Read Speech Commands with the official validation and test lists; all other recordings are for training.

    Classes are the folders of words, sorted, without ``_background_noise_``. The speaker is the part of a file name
    before ``_nohash_``.

    Args:
        root: folder with one folder per word.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        max_seconds: skip longer recordings; None keeps all.

    Raises:
        MissingDataError: a list, or a recording in a list, does not exist.
        DataError: there are no folders of recordings.
    """

    source = Source(
        name="speech_commands",
        folder="speech_commands",
        marker=tuple(_LISTS.values()),
        owner="Google",
        license="CC BY 4.0",
        size="105,829 utterances, 29 h, 3.8 GB",
        url="http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
        note="35 words of 2,618 speakers",
    )

    def __init__(self, root: str | Path, split: str = "train", *, max_seconds: float | None = None) -> None:
        super().__init__(root, split, max_seconds=max_seconds)

    def _read(self) -> tuple[tuple[str, ...], list[Utterance]]:
        recordings = {}
        for word in sorted(os.listdir(self.root)):
            if not word.startswith(("_", ".")) and (self.root / word).is_dir():
                names = sorted(name for name in os.listdir(self.root / word) if name.endswith(".wav"))
                if names:
                    recordings[word] = names
        if not recordings:
            raise DataError(f"{self.root} has no folder with recordings (*.wav), expected one per word")
        classes = tuple(recordings)
        label_of = {word: label for label, word in enumerate(classes)}
        all_names = {f"{word}/{name}": word for word in classes for name in recordings[word]}

        if self.split in _LISTS:
            names = self._listed(self.split, all_names)
        else:
            held_out = {name for split in _LISTS for name in self._listed(split, all_names)}
            names = [name for name in all_names if name not in held_out]
        utterances = [
            Utterance(
                id=name,
                path=self.root / name,
                label=label_of[all_names[name]],
                text=all_names[name],
                speaker=name.rpartition("/")[2].partition("_nohash_")[0],
            )
            for name in names
        ]
        return classes, utterances

    def _listed(self, split: str, all_names: dict[str, str]) -> list[str]:
        """Return the recordings of a split in the order of its list."""
        path = self.root / _LISTS[split]
        if not path.exists():
            raise MissingDataError(f"there is no file {path}, the official list of split '{split}': copy it again")
        names = []
        for line, name in enumerate(read_text(path).splitlines(), start=1):
            if not name.strip():
                continue
            if name.strip() not in all_names:
                raise MissingDataError(
                    f"{path} line {line} lists {name.strip()}, but there is no such recording below {self.root}: "
                    "copy the data set again"
                )
            names.append(name.strip())
        return names
