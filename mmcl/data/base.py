"""What every data set looks like, and the base of those that are recordings on disk."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from mmcl.batch import Batch, Sample
from mmcl.errors import DataError, LabelError

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000  #: samples a second of every waveform in mmcl


@runtime_checkable
class Dataset(Protocol):
    """An indexable of :class:`~mmcl.batch.Sample` whose labels can be read without decoding anything.

    ``classes[label]`` is the name of a class, in words that a person or a text encoder can read; ``labels[i]`` is the
    label of sample ``i``; ``texts[i]`` is what the sample says, as far as the data set knows: its transcript, or else
    the words of its label.
    """

    classes: Sequence[str]
    labels: Sequence[int]
    texts: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


@runtime_checkable
class BatchedDataset(Dataset, Protocol):
    """A data set in memory, which makes a batch of many rows in one step (several times faster than one by one)."""

    def batch(self, rows: Tensor) -> Batch:
        """The batch of samples ``rows``, ``(batch,)``."""
        ...


@dataclass(frozen=True)
class Utterance:
    """One recording: where it lies and what is known of it."""

    id: str
    path: Path
    label: int
    text: str = ""
    speaker: str = ""
    slots: dict[str, str] = field(default_factory=dict)


class SpeechDataset(ABC):
    """Recordings with labels. A subclass says only how its owner lays out the files, by ``_read``.

    Args:
        root: the folder of the data set, as its owner lays it out.
        split: one of the data set's own splits.
        max_seconds: longer recordings are left out, in every split, with one warning that counts them; None keeps all.

    Raises:
        MissingDataError: the folder, or a file that the data set lists, is not there.
        DataError: an annotation cannot be read.
    """

    def __init__(self, root: str | Path, split: str, *, max_seconds: float | None = None) -> None:
        self.root = Path(root)
        self.split = split
        self.classes, utterances = self._read()
        for utterance in utterances:
            if not 0 <= utterance.label < len(self.classes):
                raise LabelError(
                    f"{utterance.path} has label {utterance.label}, expected 0 to {len(self.classes) - 1}: "
                    "check the annotations"
                )
        self.utterances = _short_enough(utterances, max_seconds) if max_seconds is not None else utterances
        if not self.utterances:
            raise DataError(
                f"{self.root} has no recordings in split '{split}': check the annotations and max_seconds={max_seconds}"
            )

    @abstractmethod
    def _read(self) -> tuple[tuple[str, ...], list[Utterance]]:
        """Return the class names and the utterances of ``self.split`` under ``self.root``."""

    @property
    def labels(self) -> list[int]:
        """Label of each recording."""
        return [utterance.label for utterance in self.utterances]

    @property
    def texts(self) -> list[str]:
        """Transcript of each recording, or the words of its label where there is none."""
        return [utterance.text or self.classes[utterance.label] for utterance in self.utterances]

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Sample:
        from mmcl.data.audio import load_audio

        utterance = self.utterances[index]
        return Sample(
            id=utterance.id,
            audio=load_audio(utterance.path),
            label=utterance.label,
            text=utterance.text or self.classes[utterance.label],
            slots=dict(utterance.slots),
            speaker=utterance.speaker,
        )


def _short_enough(utterances: list[Utterance], max_seconds: float) -> list[Utterance]:
    from mmcl.data.audio import audio_seconds

    kept = [utterance for utterance in utterances if audio_seconds(utterance.path) <= max_seconds]
    if len(kept) < len(utterances):
        first = next(utterance for utterance in utterances if utterance not in kept)
        logger.warning(
            "left out %d recordings longer than %g s, first %s", len(utterances) - len(kept), max_seconds, first.path
        )
    return kept
