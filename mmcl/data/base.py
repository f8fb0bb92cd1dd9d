"""Dataset protocol, optional attributes of data sets, and the base class of speech data sets."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from mmcl.errors import DataError, LabelError, MissingDataError
from mmcl.text.escape import encodable
from mmcl.text.suggest import nearest

if TYPE_CHECKING:  # `mmcl data ls` stays quick: reading annotations needs no torch
    from torch import Tensor

    from mmcl.batch import Batch, Sample

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000  #: samples per second of every waveform in mmcl
SILENCE = 1e-3  #: peak amplitude (-60 dB of full scale) below which a recording counts as silent


@runtime_checkable
class Dataset(Protocol):
    """A sequence of :class:`~mmcl.batch.Sample` whose labels can be read without decoding any file.

    Any class with these members is a data set; it need not inherit from ``Dataset``. Optional attributes are listed in
    :class:`~mmcl.data.attributes.DatasetAttributes`.

    Attributes:
        classes: class names in plain words, indexed by label.
        labels: label of each sample.
        texts: text of each sample: its transcript if known, else the name of its class.
    """

    @property
    def classes(self) -> Sequence[str]: ...

    @property
    def labels(self) -> Sequence[int]: ...

    @property
    def texts(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


@runtime_checkable
class MakesBatches(Protocol):
    """An object with a ``batch`` method; unlike ``BatchedDataset``, checking for it reads no labels."""

    def batch(self, rows: Tensor) -> Batch:
        """Return the batch of samples ``rows``, ``(batch,)``."""
        ...


@runtime_checkable
class BatchedDataset(Dataset, MakesBatches, Protocol):
    """A data set in memory that builds a batch in one step, several times faster than sample by sample."""


@dataclass(frozen=True)
class Source:
    """Origin, license and folder layout of a data set.

    ``marker`` lists paths inside the folder. If none of them exists, the folder is not this data set. An empty ``url``
    means that mmcl generates the data.
    """

    name: str
    folder: str
    marker: tuple[str, ...]
    owner: str
    license: str
    size: str
    url: str
    note: str = ""

    def lack(self, root: Path) -> str:
        """Return a clause that says why ``root`` is not this data set, or an empty string if it is."""
        if not root.is_dir():
            return f"there is no folder {root}"
        if not any((root / path).exists() for path in self.marker):
            return f"{root} has no {' or '.join(self.marker)}"
        return ""

    def offer(self) -> str:
        """Return a clause that says how to get the data."""
        if not self.url:
            return f"make it with 'mmcl data make {self.name}'"
        return (
            f"get it from {self.owner}, {self.url}, and set MMCL_DATA to the folder that holds '{self.folder}', "
            "or pass its path as root"
        )


class Entity(NamedTuple):
    """A slot of an utterance: its type, such as ``date``, and its value in the spoken words."""

    type: str
    value: str


@dataclass(frozen=True)
class Utterance:
    """One recording: its file and its annotations."""

    id: str
    path: Path
    label: int
    text: str = ""
    speaker: str = ""
    entities: tuple[Entity, ...] = ()


class SpeechDataset(ABC):
    """Base class of labelled recordings. A subclass implements ``_read`` for its owner's file layout.

    Args:
        root: folder of the data set in its owner's layout.
        split: one of ``splits``.
        max_seconds: longer recordings are skipped in every split, with one warning that counts them. None keeps all.

    Attributes:
        splits: names of the splits.
        source: origin and license of the data.
        classes: class names in plain words.
        labels: label of each recording.
        texts: transcript of each recording, or the name of its class if it has no transcript.
        entities: entities of each recording, in spoken order.
        speakers: speaker of each recording, empty strings if unknown.
        superclasses: superclass of each class, such as SLURP's scenarios; empty if classes have none.
        texts_apart: True if no text should occur in two splits; ``mmcl data check`` then counts shared texts.

    Raises:
        MissingDataError: the folder or a listed file does not exist.
        DataError: the split does not exist, or an annotation cannot be read.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "valid", "test")
    source: ClassVar[Source | None] = None
    texts_apart: ClassVar[bool] = False
    superclasses: Sequence[str] = ()
    max_seconds: float | None = None

    def __init__(self, root: str | Path, split: str, *, max_seconds: float | None = None) -> None:
        self.root, self.split, self.max_seconds = checked_root(type(self), root, split), split, max_seconds
        classes, utterances = self._read()
        self.classes = tuple(map(encodable, classes))
        for utterance in utterances:
            if not 0 <= utterance.label < len(self.classes):
                raise LabelError(
                    f"{utterance.path} has label {utterance.label}, expected 0 to {len(self.classes) - 1}: "
                    "check the annotations"
                )
        utterances = [_encodable(utterance) for utterance in utterances]
        self.utterances = short_enough(utterances, max_seconds) if max_seconds is not None else utterances
        if not self.utterances:
            raise DataError(
                f"{self.root} has no recordings in split '{split}': check the annotations and max_seconds={max_seconds}"
            )
        self.labels = [utterance.label for utterance in self.utterances]
        self.texts = [utterance.text or self.classes[utterance.label] for utterance in self.utterances]
        self.entities = [utterance.entities for utterance in self.utterances]
        self.speakers = [utterance.speaker for utterance in self.utterances]

    def __add__(self, other: SpeechDataset) -> SpeechDataset:
        """Concatenate two splits of the same classes; raises DataError if the classes differ."""
        if self.classes != other.classes:
            raise DataError(
                f"{self.root} ({self.split}) and {other.root} ({other.split}) have {len(self.classes)} and "
                f"{len(other.classes)} classes that are not the same: expected splits of one data set"
            )
        joined = copy(self)
        joined.split = f"{self.split}+{other.split}"
        joined.max_seconds = self.max_seconds if self.max_seconds == other.max_seconds else None
        joined.utterances = self.utterances + other.utterances
        joined.labels = self.labels + other.labels
        joined.texts = self.texts + other.texts
        joined.entities = self.entities + other.entities
        joined.speakers = self.speakers + other.speakers
        return joined

    @classmethod
    def warnings_of(cls, root: Path) -> list[str]:
        """Return further warnings of ``mmcl data check`` about the folder ``root``."""
        return []

    @abstractmethod
    def _read(self) -> tuple[tuple[str, ...], list[Utterance]]:
        """Return the class names, and the utterances of ``self.split`` in ``self.root``."""

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Sample:
        from mmcl.data.audio import load_audio

        utterance = self.utterances[index]
        return {
            "id": utterance.id,
            "audio": load_audio(utterance.path, max_seconds=self.max_seconds),
            "label": utterance.label,
            "text": self.texts[index],
            "entities": utterance.entities,
            "speaker": utterance.speaker,
        }


def _encodable(utterance: Utterance) -> Utterance:
    """Escape bytes that are not UTF-8 in every field except the path."""
    texts = (utterance.id, utterance.text, utterance.speaker)
    shown = tuple(map(encodable, texts))
    return utterance if shown == texts else replace(utterance, id=shown[0], text=shown[1], speaker=shown[2])


def checked_root(dataset: Any, root: str | Path, split: str) -> Path:
    """Check that a folder holds a data set and that the split exists, then return the folder.

    Args:
        dataset: class of the data set.
        root: folder of the data set.
        split: name of the split.

    Raises:
        DataError: the split does not exist.
        MissingDataError: the folder does not exist, or is not this data set.
    """
    root = Path(root).expanduser()
    name, splits, source = dataset.__name__, dataset.splits, dataset.source
    if split not in splits:
        raise DataError(f"{name} has no split '{split}'{nearest(split, splits)}: expected one of {', '.join(splits)}")
    if source is None and not root.is_dir():
        raise MissingDataError(f"{name} is missing: there is no folder {root}, check the path")
    if source is not None and (lack := source.lack(root)):
        raise MissingDataError(f"{name} is missing: {lack}; {source.offer()}")
    return root


def superclass_labels(superclasses: Sequence[str]) -> list[int]:
    """Return a number for the superclass of each class, counted in alphabetical order.

    >>> superclass_labels(["alarm", "play", "alarm", "audio"])
    [0, 2, 0, 1]
    """
    names = sorted(set(superclasses))
    return [names.index(name) for name in superclasses]


def short_enough(utterances: list[Utterance], max_seconds: float) -> list[Utterance]:
    """Return the recordings of at most ``max_seconds``, with one warning that counts the skipped ones."""
    from mmcl.data.audio import audio_seconds

    kept: list[Utterance] = []
    too_long: list[Utterance] = []
    for utterance in utterances:
        (kept if audio_seconds(utterance.path) <= max_seconds else too_long).append(utterance)
    if too_long:
        logger.warning("skipped %d recordings longer than %g s, first %s", len(too_long), max_seconds, too_long[0].path)
    return kept
