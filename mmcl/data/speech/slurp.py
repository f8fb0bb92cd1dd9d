"""SLURP: spoken requests to a home assistant, with scenario, action and entities; 60 intents in 18 scenarios.

Bastianelli et al., "SLURP: A Spoken Language Understanding Resource Package", 2020.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from mmcl.data.base import Entity, Source, SpeechDataset, Utterance, logger
from mmcl.data.class_names import merged_names
from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.files.plain_json import member, read_json_lines
from mmcl.text.words import folded, spoken_words, visible

ANNOTATION_FILES = {"train": "train.jsonl", "valid": "devel.jsonl", "test": "test.jsonl"}  #: by split
_SYNTHETIC = "train_synthetic.jsonl"
_REAL_AUDIO = ("audio/slurp_real", "slurp_real", "audio")  # possible folders below the root
_SYNTHETIC_AUDIO = ("audio/slurp_synth", "slurp_synth", "audio")
_CLITIC = re.compile(r" (?='|n't\b)")  # a token such as "'s" is part of the previous word

_Read = TypeVar("_Read")
_Listed = tuple["SlurpSentence", str]  # a sentence and the name of one of its recordings


class Slurp(SpeechDataset):
    """Read SLURP: one sample per recording, one class per pair of scenario and action.

    Classes come from all annotation files that exist, sorted, so that all splits have the same classes. The annotated
    field ``intent`` is not used because it sometimes contradicts scenario and action. Texts and entity values are
    normalized by :func:`normalized_text`. Recordings with an empty transcript and entities with an empty value are
    skipped; warnings count them.

    Args:
        root: folder with ``dataset/slurp/*.jsonl``, or with these files themselves, and recordings in
            ``audio/slurp_real``, ``slurp_real`` or ``audio``.
        split: ``"train"``, ``"valid"`` (the owner's devel) or ``"test"``.
        recordings: ``"headset"``, ``"distant"`` (microphones) or ``"all"``.
        synthetic: add the owner's synthetic recordings in ``audio/slurp_synth`` to the train split. A warning counts
            their sentences that also occur in devel or test.
        max_characters: skip recordings with longer transcripts; None keeps all.
        max_missing: fraction of listed recordings that may be missing; missing ones are skipped.
        max_seconds: skip longer recordings; None keeps all.

    Raises:
        MissingDataError: the annotations of the split, or more than ``max_missing`` of the recordings, are missing.
        DataError: a line of the annotations cannot be read.
        ConfigError: an option has an invalid value.
    """

    source = Source(
        name="slurp",
        folder="slurp",
        marker=("dataset/slurp", *ANNOTATION_FILES.values()),
        owner="Emotech and Heriot-Watt University",
        license="CC BY 4.0 (text), CC BY-NC 4.0 (recordings)",
        size="about 72,000 recordings, 58 h, 6 GB",
        url="https://github.com/pswietojanski/slurp, whose scripts/download_audio.sh fetches the recordings",
        note="60 intents of 18 scenarios",
    )

    texts_apart = True

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        recordings: Literal["all", "headset", "distant"] = "all",
        synthetic: bool = False,
        max_characters: int | None = None,
        max_missing: float = 0.0,
        max_seconds: float | None = None,
    ) -> None:
        if recordings not in ("all", "headset", "distant"):
            raise ConfigError(f"recordings is {recordings!r}, expected 'all', 'headset' or 'distant'")
        if not 0 <= max_missing <= 1:
            raise ConfigError(f"max_missing is {max_missing!r}, expected a fraction from 0 to 1")
        self.recordings = recordings
        self.synthetic = synthetic
        self.max_characters = max_characters
        self.max_missing = max_missing
        super().__init__(root, split, max_seconds=max_seconds)

    def _read(self) -> tuple[tuple[str, ...], list[Utterance]]:
        folder = annotations_folder(self.root)
        scenario_of = intents(folder)
        classes = tuple(sorted(scenario_of))
        self.superclasses = tuple(scenario_of[name] for name in classes)

        present = self._present(folder / ANNOTATION_FILES[self.split], _REAL_AUDIO, self._is_wanted)
        if self.synthetic and self.split == "train":
            for warning in self.warnings_of(self.root):
                logger.warning("%s", warning)
            present += self._present(folder / _SYNTHETIC, _SYNTHETIC_AUDIO, lambda name: True)
        label_of = {name: label for label, name in enumerate(classes)}
        return classes, [
            Utterance(path.stem, path, label_of[sentence.intent], sentence.text, entities=sentence.entities)
            for sentence, path in present
        ]

    @classmethod
    def variants(cls, root: Path) -> list[tuple[dict[str, Any], tuple[str, ...]]]:
        """Return the options and splits that ``mmcl data check`` reads, with synthetic recordings if there are any."""
        found = any((root / place).is_dir() for place in _SYNTHETIC_AUDIO[:-1])
        return [({}, cls.splits), *([({"synthetic": True}, ("train",))] if found else [])]

    @classmethod
    def warnings_of(cls, root: Path) -> list[str]:
        """Return warnings that count synthetic sentences which also occur in devel or test."""
        folder = annotations_folder(root)
        if not (folder / _SYNTHETIC).exists():
            return []
        synthetic = _each_line(folder / _SYNTHETIC, _text)
        warnings = []
        for split in ("valid", "test"):
            path = folder / ANNOTATION_FILES[split]
            held_out = set(_each_line(path, _text)) if path.exists() else set()
            if shared := [text for text in synthetic if text in held_out]:
                warnings.append(
                    f"{len(shared)} of {len(synthetic)} sentences of {folder / _SYNTHETIC} also occur in {path.name}, "
                    f"first '{shared[0]}': with synthetic=True, results on {split} are too optimistic"
                )
        return warnings

    def _is_wanted(self, recording: str) -> bool:
        return self.recordings == "all" or ("-headset" in recording) == (self.recordings == "headset")

    def _present(
        self, annotations: Path, places: tuple[str, ...], wanted: Callable[[str], bool]
    ) -> list[tuple[SlurpSentence, Path]]:
        """Return the wanted recordings listed in ``annotations`` that exist, each with its sentence."""
        sentences = read_sentences(annotations)
        listed = [(sentence, name) for sentence in sentences for name in sentence.recordings if wanted(name)]
        listed = _keep(listed, annotations, lambda item: bool(item[0].text), "without a word in their transcript")
        if (most := self.max_characters) is not None:
            why = f"with transcripts of more than {most} characters"
            listed = _keep(listed, annotations, lambda item: len(item[0].text) <= most, why)

        path_of: dict[str, Path] = {}  # list each folder once: on a network disk, one lookup per file takes minutes
        for folder in (self.root / place for place in reversed(places)):
            path_of.update({path.name: path for path in folder.iterdir()} if folder.is_dir() else {})
        absent = [name for _, name in listed if name not in path_of]
        if len(absent) > self.max_missing * len(listed):
            raise MissingDataError(
                f"{len(absent)} of {len(listed)} recordings listed in {annotations} are missing "
                f"({len(absent) / len(listed):.1%}, expected at most {self.max_missing:.1%}), first {absent[0]}, "
                f"searched in {', '.join(places[:-1])} and {places[-1]} of {self.root}: "
                f"{'raise max_missing, or' if self.source.url else f'remove {self.root}, and'} {self.source.offer()}"
            )
        listed = _keep(listed, annotations, lambda item: item[1] in path_of, "whose files are missing")
        return [(sentence, path_of[name]) for sentence, name in listed]


@dataclass(frozen=True)
class SlurpSentence:
    """One line of the annotations: a sentence with its meaning and the names of its recordings.

    ``annotation`` is the original JSON object.
    """

    id: str
    text: str
    scenario: str
    action: str
    entities: tuple[Entity, ...]
    recordings: tuple[str, ...]
    annotation: dict[str, Any] = field(repr=False, compare=False, default_factory=dict)

    @property
    def intent(self) -> str:
        """Scenario and action in words: the name of the class."""
        return _words(self.scenario, self.action)


def normalized_text(text: str) -> str:
    """Return the case-folded words of a text, separated by single spaces.

    Punctuation separates words, except apostrophes inside a word. Combining marks of any language stay with their word
    and are composed.
    >>> normalized_text("What's 'At&T' worth in U. S. D., at five o'clock?")
    "what's at t worth in u s d at five o'clock"
    """
    return " ".join(spoken_words(folded(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))))


def annotations_folder(root: Path) -> Path:
    """Return the folder of the annotations: ``dataset/slurp`` below ``root`` if it exists, else ``root``."""
    official = root / "dataset" / "slurp"
    return official if official.is_dir() else root


def intents(folder: Path) -> dict[str, str]:
    """Return the scenario of each intent in any annotation file; both are in words."""
    paths = [path for name in (*ANNOTATION_FILES.values(), _SYNTHETIC) if (path := folder / name).exists()]
    merged_names((name for path in paths for names in _each_line(path, _names) for name in names), folder)
    return dict(pair for path in paths for pair in _each_line(path, _intent))


def read_sentences(path: str | Path) -> list[SlurpSentence]:
    """Read the sentences of an annotation file; recordings are not needed.

    Entities without a word in their sentence are skipped, with one warning that counts them.

    Raises:
        MissingDataError: the file does not exist.
        DataError: a line is not JSON, or lacks a field.
    """
    path = Path(path)
    sentences = _each_line(path, _sentence)
    wordless = [
        (sentence.id, entity["type"])
        for sentence in sentences
        for entity in sentence.annotation["entities"]
        if not _value(entity, sentence.annotation)
    ]
    if wordless:
        logger.warning(
            "skipped %d entities of %s without a word in their sentence, first that of slurp_id %s and type %s",
            len(wordless),
            path,
            *wordless[0],
        )
    return sentences


def _sentence(row: dict[str, Any], where: str) -> SlurpSentence:
    entities = member(row, "entities", list, of=dict, where=where)
    spans = [member(entity, "span", list, of=int, where=f"{where}, entities") for entity in entities]
    types = [member(entity, "type", str, where=f"{where}, entities") for entity in entities]
    values = [_value(entity, row, where) for entity in entities]
    spoken = sorted(range(len(entities)), key=lambda place: min(spans[place], default=0))
    recordings = member(row, "recordings", list, of=dict, where=where)
    if not isinstance(row.get("slurp_id"), (int, str)) or isinstance(row["slurp_id"], bool):
        raise DataError(
            f"{where} has {row.get('slurp_id')!r:.40} for 'slurp_id', expected a number: copy the file again"
        )
    return SlurpSentence(
        id=str(row["slurp_id"]),
        text=normalized_text(member(row, "sentence", str, where=where)),
        scenario=visible(member(row, "scenario", str, where=where)),
        action=visible(member(row, "action", str, where=where)),
        entities=tuple(Entity(types[place], values[place]) for place in spoken if values[place]),
        recordings=tuple(member(recording, "file", str, where=f"{where}, recordings") for recording in recordings),
        annotation=row,
    )


def _value(entity: dict[str, Any], row: dict[str, Any], where: str = "") -> str:
    """Return the words of an entity, or an empty string if its span is empty or outside the sentence."""
    tokens = member(row, "tokens", list, of=dict, where=where)
    if not all(0 <= index < len(tokens) for index in entity["span"]):
        return ""
    words = [member(tokens[index], "surface", str, where=f"{where}, tokens") for index in entity["span"]]
    return normalized_text(_CLITIC.sub("", " ".join(words)))


def _intent(row: dict[str, Any], where: str) -> tuple[str, str]:
    """Return the name of the class and of its superclass."""
    scenario, action = _names(row, where)
    return _words(visible(scenario), visible(action)), _words(visible(scenario))


def _text(row: dict[str, Any], where: str) -> str:
    return normalized_text(member(row, "sentence", str, where=where))


def _names(row: dict[str, Any], where: str) -> tuple[str, str]:
    """Return scenario and action as annotated."""
    return member(row, "scenario", str, where=where), member(row, "action", str, where=where)


def _words(*names: str) -> str:
    return " ".join(names).replace("_", " ")


def _each_line(path: Path, read: Callable[[dict[str, Any], str], _Read]) -> list[_Read]:
    if not path.exists():
        raise MissingDataError(f"there is no file {path}, which lists recordings: copy it from the data set's owner")
    return [read(row, f"{path} line {line}") for line, row in read_json_lines(path)]


def _keep(listed: list[_Listed], annotations: Path, good: Callable[[_Listed], bool], why: str) -> list[_Listed]:
    """Return the good recordings, with a warning that counts the others."""
    bad = [name for sentence, name in listed if not good((sentence, name))]
    if bad:
        logger.warning(
            "skipped %d of %d recordings listed in %s, %s, first %s", len(bad), len(listed), annotations, why, bad[0]
        )
    return [item for item in listed if good(item)]
