"""What every data set looks like, and the base of those that are recordings on disk."""

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

if TYPE_CHECKING:  # reading annotations needs no torch, and `mmcl data ls` is quick without it
    from torch import Tensor

    from mmcl.batch import Batch, Sample

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000  #: samples a second of every waveform in mmcl
SILENCE = 1e-3  #: a recording whose loudest sample is 60 dB below full scale holds no speech


@runtime_checkable
class Dataset(Protocol):
    """An indexable of :class:`~mmcl.batch.Sample` whose labels can be read without decoding anything.

    ``classes[label]`` is the name of a class, in words that a person or a text encoder can read; ``labels[i]`` is the
    label of sample ``i``; ``texts[i]`` is what the sample says, as far as the data set knows: its transcript, or else
    the words of its label.
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
class BatchedDataset(Dataset, Protocol):
    """A data set in memory, which makes a batch of many rows in one step (several times faster than one by one)."""

    def batch(self, rows: Tensor) -> Batch:
        """The batch of samples ``rows``, ``(batch,)``."""
        ...


@dataclass(frozen=True)
class Source:
    """Where a data set comes from, and how its folder is known.

    ``marker`` lists paths inside the folder of which one must be there: a folder without any of them is something else.
    A data set without ``url`` is not offered by anyone but made on the spot.
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
        """Say in one clause why ``root`` is not this data set; empty if it is."""
        if not root.is_dir():
            return f"there is no folder {root}"
        if not any((root / path).exists() for path in self.marker):
            return f"{root} has no {' or '.join(self.marker)}"
        return ""

    def offer(self) -> str:
        """Say in one clause how to get the data."""
        if not self.url:
            return f"make it with 'mmcl data make {self.name}'"
        return (
            f"get it from {self.owner}, {self.url}, and set MMCL_DATA to the folder that holds '{self.folder}', "
            "or pass its path as root"
        )


class Entity(NamedTuple):
    """What an utterance says of one slot: its type, such as ``date``, and its value in the words that are spoken."""

    type: str
    value: str


@dataclass(frozen=True)
class Utterance:
    """One recording: where it lies and what is known of it."""

    id: str
    path: Path
    label: int
    text: str = ""
    speaker: str = ""
    entities: tuple[Entity, ...] = ()


class SpeechDataset(ABC):
    """Recordings with labels. A subclass says where they come from and how its owner lays out the files, by ``_read``.

    Args:
        root: the folder of the data set, as its owner lays it out.
        split: one of the data set's own ``splits``.
        max_seconds: longer recordings are left out, in every split, with one warning that counts them; None keeps all.

    Attributes:
        splits: names of the splits.
        source: who offers the data, where and under which licence.
        classes: name of each class, in words.
        labels: label of each recording.
        texts: transcript of each recording, or the words of its label where there is none.
        entities: entities of each recording, in the order in which they are spoken.
        superclasses: name of each class's superclass, such as SLURP's scenarios; empty where classes have none.
        texts_apart: whether no text is meant to be in two splits, so that ``mmcl data check`` counts those that are.

    Raises:
        MissingDataError: the folder, or a file that the data set lists, is not there.
        DataError: there is no such split, or an annotation cannot be read.
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

    def __add__(self, other: SpeechDataset) -> SpeechDataset:
        """Join two splits of the same classes; raises DataError if the classes differ."""
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
        return joined

    @abstractmethod
    def _read(self) -> tuple[tuple[str, ...], list[Utterance]]:
        """Return the class names and the utterances of ``self.split`` under ``self.root``."""

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
    """Escape what a file's name that is not UTF-8 left in the fields, but for the path itself."""
    fields = (utterance.id, utterance.text, utterance.speaker)
    shown = tuple(map(encodable, fields))
    return utterance if shown == fields else replace(utterance, id=shown[0], text=shown[1], speaker=shown[2])


def checked_root(dataset: Any, root: str | Path, split: str) -> Path:
    """Return the folder of a data set's class, once it is known to be that data set and to have that split.

    Raises:
        DataError: there is no such split.
        MissingDataError: the folder is missing, or is something else.
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
    """Number the superclass of each class, in the order of their names.

    >>> superclass_labels(["alarm", "play", "alarm", "audio"])
    [0, 2, 0, 1]
    """
    names = sorted(set(superclasses))
    return [names.index(name) for name in superclasses]


def short_enough(utterances: list[Utterance], max_seconds: float) -> list[Utterance]:
    """Leave out longer recordings, with a warning that counts them."""
    from mmcl.data.audio import audio_seconds

    kept: list[Utterance] = []
    too_long: list[Utterance] = []
    for utterance in utterances:
        (kept if audio_seconds(utterance.path) <= max_seconds else too_long).append(utterance)
    if too_long:
        logger.warning(
            "left out %d recordings longer than %g s, first %s", len(too_long), max_seconds, too_long[0].path
        )
    return kept
