"""SLURP's sentences spoken by espeak-ng in SLURP's own layout: a substitute if its recordings are not available.

It has SLURP's 60 intents, 18 scenarios and annotated entities, so all SLURP experiments run on it. Its accuracies say
little about the real recordings. Everything depends on a seed.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

from mmcl.data.base import Source, logger
from mmcl.data.speech.slurp import ANNOTATION_FILES, Slurp, SlurpSentence, annotations_folder, read_sentences
from mmcl.data.synthesis.command_plan import Command, is_whole, record_into, utter, voices
from mmcl.data.synthesis.corpus import (
    MANIFEST,
    appearing_whole,
    corpus_folder,
    corpus_name,
    is_made,
    make_once,
    share_out,
)
from mmcl.data.synthesis.espeak import espeak_version
from mmcl.errors import ConfigError, DataError, MissingDataError

# Not every copy of SLURP has train.jsonl. Only the other two files are spoken, even if it exists, so that the corpus is
# the same everywhere.
_TEXT_FILES = (ANNOTATION_FILES["valid"], ANNOTATION_FILES["test"])
_TEXT = "250fbb89899b6de9"  # digest of these files as published
_TEST_SHARE, _VALID_SHARE = 0.2, 0.1
_FORMAT = 1  # increment if plan_slurp() or record() produce something else from the same inputs
SLURP_EDITION = sha256(repr((_FORMAT, voices(), _TEST_SHARE, _VALID_SHARE)).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class SlurpParameters:
    """Parameters that determine every sample of a corpus: numbers of sentences and intents, seed, text digest.

    Raises:
        ConfigError: a number is out of range.
    """

    sentences: int | None = None
    intents: int | None = None
    seed: int = 0
    text: str = _TEXT

    def __post_init__(self) -> None:
        for name, least in (("sentences", 1), ("intents", 1), ("seed", 0)):
            value = getattr(self, name)
            if not is_whole(value, least) and (value is not None or name == "seed"):
                raise ConfigError(f"{name} is {value!r}, expected an integer of at least {least}")

    @property
    def folder(self) -> str:
        """Name of the folder in the cache."""
        return corpus_name("slurp_tts", SLURP_EDITION, self)


class SpokenSlurp(Slurp):
    """Read SLURP as spoken by espeak-ng; the corpus is generated first if it is missing.

    Sentences come from SLURP's devel and test annotations and are split again: about 70 % of each intent into train,
    10 % into valid and 20 % into test. Each is spoken once, by a voice that occurs in no other split.

    Args:
        root: folder of the corpus; None for one in the cache (``MMCL_CACHE``, or ``~/.cache/mmcl``).
        split: ``"train"``, ``"valid"`` or ``"test"``.
        sentences: number of sentences in all splits together, taken from intents in turn; None for that of an existing
            corpus, else all.
        intents: number of classes, in alphabetical order but from at least two scenarios if there are two or more;
            None for that of an existing corpus, else all.
        seed: seed of choice, split and voices; None for that of an existing corpus, else 0.
        text_root: folder of SLURP's annotations; None for the data set ``slurp``.
        make: generate a missing corpus.
        progress: show a progress bar during generation.
        max_characters: skip recordings with longer transcripts; None keeps all.
        max_seconds: skip longer recordings; None keeps all.

    Raises:
        MissingDataError: the corpus is missing and ``make`` is False, or SLURP's text or espeak-ng is missing.
        DataError: ``root`` holds something else or is not writable.
        ConfigError: a number is out of range.
    """

    source = Source(
        name="slurp_tts",
        folder=SlurpParameters().folder,
        marker=(MANIFEST,),
        owner="mmcl, of SLURP's text",
        license="CC BY 4.0 (text)",
        size="5,007 utterances, 240 MB",
        url="",
        note="60 intents of 18 scenarios, 56 voices of espeak-ng",
    )

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        *,
        sentences: int | None = None,
        intents: int | None = None,
        seed: int | None = None,
        text_root: str | Path | None = None,
        make: bool = True,
        progress: bool = True,
        max_characters: int | None = None,
        max_seconds: float | None = None,
    ) -> None:
        asked: dict[str, Any] = {"sentences": sentences, "intents": intents, "seed": seed, "text_root": text_root}
        wanted = _wanted(**asked)
        folder = corpus_folder(root, SlurpParameters(**wanted).folder)
        if not is_made(folder, SLURP_EDITION, wanted) and make and split in self.splits:
            self.generate(root, **asked, progress=progress)
        super().__init__(folder, split, max_characters=max_characters, max_seconds=max_seconds)

    @staticmethod
    def generate(
        root: str | Path | None = None,
        *,
        sentences: int | None = None,
        intents: int | None = None,
        seed: int | None = None,
        text_root: str | Path | None = None,
        progress: bool = True,
    ) -> Path:
        """Generate the corpus if it is missing, and return its folder; see the class for arguments and errors.

        Equal arguments give equal annotations and samples. If interrupted, the next call resumes.
        """
        wanted = _wanted(sentences, intents, seed, text_root)
        parameters = SlurpParameters(**wanted)
        folder = corpus_folder(root, parameters.folder)
        return make_once(folder, SLURP_EDITION, wanted, lambda: _make(folder, parameters, text_root, progress))


def plan_slurp(
    parameters: SlurpParameters, sentences: list[SlurpSentence]
) -> dict[str, list[tuple[SlurpSentence, Command]]]:
    """Return the sentences to record for each split, and how.

    The sound of a sentence depends on its slurp_id, its split and the seed. An intent with one sentence has it in
    train; an intent with two has the other in test.
    """
    planned: dict[str, list[tuple[SlurpSentence, Command]]] = {split: [] for split in ANNOTATION_FILES}
    speakers = voices(parameters.seed)
    for intent, chosen in _chosen(parameters, sentences).items():
        test = max(len(chosen) > 1, round(_TEST_SHARE * len(chosen)))
        valid = max(len(chosen) > 2, round(_VALID_SHARE * len(chosen)))
        for rank, sentence in enumerate(chosen):
            split = "test" if rank < test else "valid" if rank < test + valid else "train"
            random = Random(f"{parameters.seed} {split} {sentence.id}")
            voice = random.choice(speakers[split])
            planned[split].append((sentence, utter(random, voice, intent, iter([sentence.text]))))
    if empty := [split for split, said in planned.items() if not said]:
        raise ConfigError(
            f"sentences is {parameters.sentences} and intents is {parameters.intents}, which leaves split "
            f"'{empty[0]}' without a sentence: expected 3 or more sentences of an intent"
        )
    return planned


def _chosen(parameters: SlurpParameters, sentences: list[SlurpSentence]) -> dict[tuple[str, str], list[SlurpSentence]]:
    """Return the sentences of each intent in a reproducible random order, limited to the wanted number."""
    sentences_of: dict[tuple[str, str], list[SlurpSentence]] = {}
    for sentence in sorted(sentences, key=lambda each: sha256(f"{parameters.seed} {each.id}".encode()).digest()):
        sentences_of.setdefault((sentence.scenario, sentence.action), []).append(sentence)
    intents = sorted(sentences_of)
    for name, most in (("intents", len(intents)), ("sentences", len(sentences))):
        if (getattr(parameters, name) or 0) > most:
            raise ConfigError(f"{name} is {getattr(parameters, name)}, expected at most {most}, the size of the text")
    if parameters.intents is not None:
        half = (parameters.intents + 1) // 2  # limit per scenario, so that two or more intents span two scenarios
        ranked = [
            (rank >= half, intent)
            for _, group in groupby(intents, key=lambda intent: intent[0])
            for rank, intent in enumerate(group)
        ]
        intents = [intent for _, intent in sorted(ranked)[: parameters.intents]]
    turns = sorted((rank, intent) for intent in intents for rank in range(len(sentences_of[intent])))
    counts = Counter(intent for _, intent in turns[: parameters.sentences])
    return {intent: sentences_of[intent][:count] for intent, count in sorted(counts.items())}


def _wanted(
    sentences: int | None, intents: int | None, seed: int | None, text_root: str | Path | None
) -> dict[str, Any]:
    """Return the parameters that were passed; raises ConfigError if they are invalid."""
    text = None if text_root is None else _digest(_read_text(text_root))
    asked: dict[str, Any] = {"sentences": sentences, "intents": intents, "seed": seed, "text": text}
    wanted = {name: value for name, value in asked.items() if value is not None}
    SlurpParameters(**wanted)
    return wanted


def _read_text(text_root: str | Path | None) -> list[SlurpSentence]:
    from mmcl.data.catalog import find, status

    state = status(find("slurp"), text_root)
    if not state.found:
        raise MissingDataError(
            f"SLURP's text, which {SpokenSlurp.source.name} speaks (its text_root), is missing: {state.why}"
        )
    folder = annotations_folder(state.path)
    sentences = [sentence for name in _TEXT_FILES for sentence in read_sentences(folder / name)]
    if wordless := [sentence.id for sentence in sentences if not sentence.text]:
        logger.warning(
            "skipped %d sentences of %s without a word, first slurp_id %s", len(wordless), folder, wordless[0]
        )
    return [sentence for sentence in sentences if sentence.text]


def _digest(sentences: list[SlurpSentence]) -> str:
    text = "\n".join(json.dumps(sentence.annotation, sort_keys=True) for sentence in sentences)
    return sha256(text.encode()).hexdigest()[:16]


def _make(folder: Path, parameters: SlurpParameters, text_root: str | Path | None, progress: bool) -> None:
    sentences = _read_text(text_root)
    if (text := _digest(sentences)) != parameters.text:
        raise DataError(
            f"the text of data set slurp has digest {text}, expected {parameters.text} of the published text: "
            "copy it again, or pass its folder as text_root for a corpus of its own"
        )
    planned = plan_slurp(parameters, sentences)
    manifest = {
        "edition": SLURP_EDITION,
        "parameters": asdict(parameters),
        "espeak_ng": espeak_version(),
        "utterances": {split: len(said) for split, said in planned.items()},
        "voices": {split: len({command.speaker for _, command in said}) for split, said in planned.items()},
    }
    with appearing_whole(folder, manifest, resume=True) as partial:
        _write(partial, planned, progress)


def _write(root: Path, planned: dict[str, list[tuple[SlurpSentence, Command]]], progress: bool) -> None:
    annotations, audio = root / "dataset" / "slurp", root / "audio" / "slurp_real"
    for folder in (annotations, audio):
        folder.mkdir(parents=True, exist_ok=True)
    for leftover in audio.glob(".*"):  # from a process that was killed while writing
        leftover.unlink()
    jobs = [(audio / _file(sentence), command) for said in planned.values() for sentence, command in said]
    share_out(record_into, jobs, "speaking sentences", progress=progress)
    for split, said in planned.items():
        with (annotations / ANNOTATION_FILES[split]).open("w", encoding="utf-8", newline="\n") as lines:
            for sentence, command in said:
                recording = {"file": _file(sentence), "wer": None, "ent_wer": None, "status": "correct"}
                row = {**sentence.annotation, "recordings": [{**recording, "usrid": command.speaker}]}
                lines.write(json.dumps(row) + "\n")


def _file(sentence: SlurpSentence) -> str:
    return f"audio-{sentence.id}.flac"
