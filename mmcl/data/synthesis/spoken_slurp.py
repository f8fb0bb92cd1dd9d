"""SLURP's sentences spoken by espeak-ng, in SLURP's own layout: a stand-in for who has no recordings of SLURP.

It has the 60 intents, 18 scenarios and annotated entities of SLURP, so that all that is done with SLURP can be done
with it; how well it is recognised says little of the real recordings. What is said by whom follows from a seed.
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
from mmcl.data.speech.slurp import FILES, Sentence, Slurp, annotations_folder, read_sentences
from mmcl.data.synthesis.command_plan import Command, is_whole, record_into, utter, voices
from mmcl.data.synthesis.corpus import MANIFEST, appearing_whole, corpus_folder, is_made, make_once, share_out
from mmcl.data.synthesis.espeak import espeak_version
from mmcl.errors import ConfigError, DataError, MissingDataError

# Of the owner's three files, train.jsonl is not in every copy. Only these two are spoken, even where it is, so that
# everybody has the same corpus.
_TEXT_FILES = (FILES["valid"], FILES["test"])
_TEXT = "250fbb89899b6de9"  # digest of them as their owner published them
_TEST_SHARE, _VALID_SHARE = 0.2, 0.1
_FORMAT = 1  # counts up when plan() below, or record(), make something else of all this
EDITION = sha256(repr((_FORMAT, voices(), _TEST_SHARE, _VALID_SHARE)).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Parameters:
    """What decides every sample of a corpus: numbers of sentences and intents, the seed, and a digest of the text.

    Raises:
        ConfigError: a number that no corpus can have.
    """

    sentences: int | None = None
    intents: int | None = None
    seed: int = 0
    text: str = _TEXT

    def __post_init__(self) -> None:
        for name, least in (("sentences", 1), ("intents", 1), ("seed", 0)):
            value = getattr(self, name)
            if not is_whole(value, least) and (value is not None or name == "seed"):
                raise ConfigError(f"{name} is {value!r}, expected a whole number from {least}")

    @property
    def folder(self) -> str:
        """Name of the folder in the cache."""
        return f"slurp_tts-{sha256(repr((EDITION, self)).encode()).hexdigest()[:8]}"


class SpokenSlurp(Slurp):
    """Read SLURP as espeak-ng speaks it, which is made first where it is missing.

    The sentences are those of SLURP's devel and test annotations, split anew: about 70 % of each intent into train,
    10 % into valid and 20 % into test. Each is spoken once, by a voice that is heard in no other split.

    Args:
        root: folder of the corpus; None for one in the cache (``MMCL_CACHE``, or else ``~/.cache/mmcl``).
        split: ``"train"``, ``"valid"`` or ``"test"``.
        sentences: number of sentences in all splits together, which intents take in turns; None for those of the
            corpus that is there, or else all.
        intents: number of classes, the first by name, but of two scenarios if there are two classes; None likewise.
        seed: of choice, split and voices; None likewise, or else 0.
        text_root: folder of SLURP's annotations; None for the data set ``slurp``.
        make: make a missing corpus.
        progress: show a bar meanwhile.
        max_characters: leave out recordings with longer transcripts.
        max_seconds: leave out longer recordings.

    Raises:
        MissingDataError: the corpus is missing and not to be made, or SLURP's text or espeak-ng is missing.
        DataError: ``root`` holds something else or cannot be written.
        ConfigError: numbers that no corpus can have.
    """

    source = Source(
        name="slurp_tts",
        folder=Parameters().folder,
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
        folder = corpus_folder(root, Parameters(**wanted).folder)
        if not is_made(folder, EDITION, wanted) and make and split in self.splits:
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
        """Make the corpus unless it is there, and return its folder; arguments and errors as of the class.

        Equal arguments give equal annotations and samples. After an interruption it goes on where it stopped.
        """
        wanted = _wanted(sentences, intents, seed, text_root)
        parameters = Parameters(**wanted)
        folder = corpus_folder(root, parameters.folder)
        return make_once(folder, EDITION, wanted, lambda: _make(folder, parameters, text_root, progress))


def plan(parameters: Parameters, sentences: list[Sentence]) -> dict[str, list[tuple[Sentence, Command]]]:
    """Say for each split which of the sentences are to be recorded, and how.

    What a sentence sounds like follows from its slurp_id, its split and the seed. An intent of one sentence has it in
    train, an intent of two the other in test.
    """
    planned: dict[str, list[tuple[Sentence, Command]]] = {split: [] for split in FILES}
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
            f"'{empty[0]}' without a sentence: expected 3 sentences of an intent, or more"
        )
    return planned


def _chosen(parameters: Parameters, sentences: list[Sentence]) -> dict[tuple[str, str], list[Sentence]]:
    """The sentences of each intent, in an order that is random but the same for all, and no more than are wanted."""
    sentences_of: dict[tuple[str, str], list[Sentence]] = {}
    for sentence in sorted(sentences, key=lambda each: sha256(f"{parameters.seed} {each.id}".encode()).digest()):
        sentences_of.setdefault((sentence.scenario, sentence.action), []).append(sentence)
    intents = sorted(sentences_of)
    for name, most in (("intents", len(intents)), ("sentences", len(sentences))):
        if (getattr(parameters, name) or 0) > most:
            raise ConfigError(f"{name} is {getattr(parameters, name)}, expected at most {most}, which the text has")
    if parameters.intents is not None:
        half = (parameters.intents + 1) // 2  # a scenario has no more of the first intents, so that they are of two
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
    """What was asked for; raises ConfigError if it cannot be had."""
    text = None if text_root is None else _digest(_read_text(text_root))
    asked: dict[str, Any] = {"sentences": sentences, "intents": intents, "seed": seed, "text": text}
    wanted = {name: value for name, value in asked.items() if value is not None}
    Parameters(**wanted)
    return wanted


def _read_text(text_root: str | Path | None) -> list[Sentence]:
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
            "left out %d sentences of %s without a word, first slurp_id %s", len(wordless), folder, wordless[0]
        )
    return [sentence for sentence in sentences if sentence.text]


def _digest(sentences: list[Sentence]) -> str:
    text = "\n".join(json.dumps(sentence.annotation, sort_keys=True) for sentence in sentences)
    return sha256(text.encode()).hexdigest()[:16]


def _make(folder: Path, parameters: Parameters, text_root: str | Path | None, progress: bool) -> None:
    sentences = _read_text(text_root)
    if (text := _digest(sentences)) != parameters.text:
        raise DataError(
            f"the text of data set slurp has digest {text}, expected {parameters.text}, that of its owner's: "
            "copy it again, or pass its folder as text_root for a corpus of its own"
        )
    planned = plan(parameters, sentences)
    manifest = {
        "edition": EDITION,
        "parameters": asdict(parameters),
        "espeak_ng": espeak_version(),
        "utterances": {split: len(said) for split, said in planned.items()},
        "voices": {split: len({command.speaker for _, command in said}) for split, said in planned.items()},
    }
    with appearing_whole(folder, manifest, resume=True) as partial:
        _write(partial, planned, progress)


def _write(root: Path, planned: dict[str, list[tuple[Sentence, Command]]], progress: bool) -> None:
    annotations, audio = root / "dataset" / "slurp", root / "audio" / "slurp_real"
    for folder in (annotations, audio):
        folder.mkdir(parents=True, exist_ok=True)
    for leftover in audio.glob(".*"):  # of one who was killed as he wrote it
        leftover.unlink()
    jobs = [(audio / _file(sentence), command) for said in planned.values() for sentence, command in said]
    share_out(record_into, jobs, "speaking sentences", progress=progress)
    for split, said in planned.items():
        with (annotations / FILES[split]).open("w", encoding="utf-8", newline="\n") as lines:
            for sentence, command in said:
                recording = {"file": _file(sentence), "wer": None, "ent_wer": None, "status": "correct"}
                row = {**sentence.annotation, "recordings": [{**recording, "usrid": command.speaker}]}
                lines.write(json.dumps(row) + "\n")


def _file(sentence: Sentence) -> str:
    return f"audio-{sentence.id}.flac"
