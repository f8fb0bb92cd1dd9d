"""English sentences and words spoken by espeak-ng: pairs of speech and text for pretraining a speech tower.

No recordings are needed, and no test sentence of SLURP is included. Everything depends on a seed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from mmcl.data.base import Source, SpeechDataset, Utterance
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
from mmcl.data.synthesis.spoken_texts import TEXT_SOURCES, WORDS, read_texts, texts_digest
from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.files.plain_json import member, read_json_lines
from mmcl.text.suggest import nearest
from mmcl.text.words import composed

_TEXT = "27ff105bd015a9e1"  # digest of SLURP's training text as published
_VALID = 500  # SLURP sentences held out for validation
_FORMAT = 2  # increment if plan_sentences() or record() produce something else from the same inputs
SENTENCES_EDITION = sha256(repr((_FORMAT, voices(), _VALID, WORDS)).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class SentenceParameters:
    """Parameters that determine every sample of a corpus: texts, their number, takes per text, seed, text digest.

    Raises:
        ConfigError: a text source is unknown, or a number is out of range.
    """

    texts: tuple[str, ...] = ("slurp",)
    sentences: int | None = None
    takes: int = 1
    seed: int = 0
    digest: str = _TEXT

    def __post_init__(self) -> None:
        texts = (self.texts,) if isinstance(self.texts, str) else tuple(self.texts)
        object.__setattr__(self, "texts", texts)  # configs have lists
        for name in texts:
            if name not in TEXT_SOURCES:
                raise ConfigError(
                    f"there are no texts '{name}'{nearest(name, TEXT_SOURCES)}: expected some of {TEXT_SOURCES}"
                )
        if not texts or len(set(texts)) < len(texts):
            raise ConfigError(f"texts is {texts}, expected one or more of {TEXT_SOURCES}, each once")
        if "varied" in texts and "slurp" not in texts:
            raise ConfigError(f"texts is {texts}, expected slurp as well, whose sentences are varied")
        object.__setattr__(self, "texts", tuple(name for name in TEXT_SOURCES if name in texts))
        for name, least in (("sentences", 1), ("takes", 1), ("seed", 0)):
            value = getattr(self, name)
            if not is_whole(value, least) and (value is not None or name != "sentences"):
                raise ConfigError(f"{name} is {value!r}, expected an integer of at least {least}")

    @property
    def folder(self) -> str:
        """Name of the folder in the cache."""
        return corpus_name("sentences_tts", SENTENCES_EDITION, self)


class SpokenSentences(SpeechDataset):
    """Read English texts spoken by espeak-ng; the corpus is generated first if it is missing.

    Sources of text are:

    - ``slurp``: the 11,500 sentences of SLURP's training text (``lm.txt``), without those in devel and test.
    - ``vocabulary``: 47,000 single words, those of three letters or more among the 50,000 most frequent in English.
    - ``varied``: SLURP sentences with a third of the words replaced, so that each vocabulary word occurs once.
    - ``commonsense_qa``: questions and choices of CommonsenseQA's training set.

    Silence around the speech, noise and bandwidth vary. The split ``valid`` has 500 SLURP sentences in voices of no
    other split; use :class:`~mmcl.data.SpokenSlurp` for testing. There is one class.

    Args:
        root: folder of the corpus; None for one in the cache (``MMCL_CACHE``, or ``~/.cache/mmcl``).
        split: ``"train"`` or ``"valid"``.
        texts: one or more sources; None for those of an existing corpus, else ``slurp``.
        sentences: number of train texts per source; None for that of an existing corpus, else all.
        takes: voices per train text; None for that of an existing corpus, else 1.
        seed: seed of choice, split and voices; None for that of an existing corpus, else 0.
        text_root: folder that holds ``slurp`` and ``rationales``; None for ``MMCL_DATA``.
        make: generate a missing corpus.
        progress: show a progress bar during generation.
        max_seconds: skip longer recordings; None keeps all.

    Raises:
        MissingDataError: the corpus is missing and ``make`` is False, or a text or espeak-ng is missing.
        DataError: ``root`` holds something else or is not writable.
        ConfigError: a text source is unknown, or a number is out of range.
    """

    splits = ("train", "valid")
    texts_apart = True
    source = Source(
        name="sentences_tts",
        folder=SentenceParameters().folder,
        marker=(MANIFEST,),
        owner="mmcl, of SLURP's text",
        license="CC BY 4.0 (text)",
        size="11,492 utterances, 600 MB",
        url="",
        note="sentences and words in 42 voices of espeak-ng, to pretrain on",
    )

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        *,
        texts: str | Sequence[str] | None = None,
        sentences: int | None = None,
        takes: int | None = None,
        seed: int | None = None,
        text_root: str | Path | None = None,
        make: bool = True,
        progress: bool = True,
        max_seconds: float | None = None,
    ) -> None:
        asked: dict[str, Any] = {"texts": texts, "sentences": sentences, "takes": takes, "seed": seed}
        asked["text_root"] = text_root
        if make:
            root = self.generate(root, progress=progress, **asked)
        else:
            wanted = _wanted(**asked)
            root = corpus_folder(root, SentenceParameters(**wanted).folder)
            if not is_made(root, SENTENCES_EDITION, wanted):
                raise MissingDataError(f"there is no corpus in {root}: {self.source.offer()}, or pass make=True")
        super().__init__(root, split, max_seconds=max_seconds)

    @classmethod
    def generate(
        cls,
        root: str | Path | None = None,
        *,
        texts: str | Sequence[str] | None = None,
        sentences: int | None = None,
        takes: int | None = None,
        seed: int | None = None,
        text_root: str | Path | None = None,
        progress: bool = True,
    ) -> Path:
        """Generate the corpus if it is missing, and return its folder; see the class for arguments and errors.

        Equal arguments give equal texts and samples. If interrupted, the next call resumes.
        """
        wanted = _wanted(texts, sentences, takes, seed, text_root)
        parameters = SentenceParameters(**wanted)
        folder = corpus_folder(root, parameters.folder)
        return make_once(folder, SENTENCES_EDITION, wanted, lambda: _make(folder, parameters, text_root, progress))

    def _read(self) -> tuple[tuple[str, ...], list[Utterance]]:
        path = self.root / f"{self.split}.jsonl"
        utterances = []
        for line, row in read_json_lines(path):
            where = f"{path} line {line}"
            file, text, speaker = (member(row, name, str, where=where) for name in ("file", "text", "speaker"))
            utterances.append(Utterance(Path(file).stem, self.root / file, 0, composed(text), speaker=speaker))
        return ("speech",), utterances


def plan_sentences(parameters: SentenceParameters, texts: dict[str, list[str]]) -> dict[str, list[tuple[str, Command]]]:
    """Return file and command of each recording by split; they depend on text, seed and take only."""
    planned: dict[str, list[tuple[str, Command]]] = {split: [] for split in SpokenSentences.splits}
    speakers = voices(parameters.seed)
    held_out: set[str] = set()
    for source, all_of in texts.items():
        if source == "varied":
            all_of = _varied([text for text in texts["slurp"] if text not in held_out], all_of, parameters.seed)
        chosen = sorted(all_of, key=lambda text: sha256(f"{parameters.seed} {text}".encode()).digest())
        if source == "slurp":
            held_out = set(_held_out(chosen))
        trained = [text for text in chosen if text not in held_out][: parameters.sentences]
        said = [("train", text, take) for text in trained for take in range(parameters.takes)]
        for split, text, take in [*said, *(("valid", text, 0) for text in chosen if text in held_out)]:
            random = Random(f"{parameters.seed} {split} {take} {text}")
            command = utter(random, random.choice(speakers[split]), (source, ""), iter([text]))
            if split == "train":
                command = _elsewhere(random, command)
            name = f"{sha256(text.encode()).hexdigest()[:12]}-{take}"
            planned[split].append((f"audio/{split}/{source}/{name}.flac", command))
    return planned


def _elsewhere(random: Random, command: Command) -> Command:
    """Vary the recording conditions of a command: cropped silence, louder noise, telephone bandwidth."""
    before, after = (random.choice((0, silence)) for silence in (command.before, command.after))
    noise = round(2 * 200 ** random.random())  # log-uniform over 46 decibels
    return replace(command, before=before, after=after, noise=noise, telephone=random.random() < 0.3)


def _varied(sentences: Sequence[str], words: Sequence[str], seed: int) -> list[str]:
    """Insert each word once into a sentence in place of another word; about a third of each sentence is replaced."""
    random = Random(f"{seed} varied")
    waiting, varied = random.sample(words, len(words)), []
    while waiting:
        sentence = random.choice(sentences).split()
        for place in random.sample(range(len(sentence)), min(len(waiting), max(1, len(sentence) // 3))):
            sentence[place] = waiting.pop()
        varied.append(" ".join(sentence))
    return varied


def _held_out(sentences: Sequence[str]) -> list[str]:
    """Return the first sentences of at least three words, at most a tenth of all."""
    longer = [text for text in sentences if len(text.split()) >= 3]
    return longer[: min(_VALID, max(1, len(sentences) // 10))]


def _wanted(
    texts: str | Sequence[str] | None,
    sentences: int | None,
    takes: int | None,
    seed: int | None,
    text_root: str | Path | None,
) -> dict[str, Any]:
    """Return the parameters that were passed; raises ConfigError if they are invalid."""
    if texts is not None:
        texts = SentenceParameters(texts=texts).texts  # type: ignore[arg-type]
    asked: dict[str, Any] = {"texts": texts, "sentences": sentences, "takes": takes, "seed": seed}
    if text_root is not None or texts not in (None, SentenceParameters().texts):
        asked["digest"] = texts_digest(read_texts(texts or SentenceParameters().texts, text_root))
    wanted = {name: value for name, value in asked.items() if value is not None}
    SentenceParameters(**wanted)
    return wanted


def _make(folder: Path, parameters: SentenceParameters, text_root: str | Path | None, progress: bool) -> None:
    texts = read_texts(parameters.texts, text_root)
    if (digest := texts_digest(texts)) != parameters.digest:
        raise DataError(
            f"the text of SLURP has digest {digest}, expected {parameters.digest} of the published text: "
            "copy it again, or pass its folder as text_root for a corpus of its own"
        )
    planned = plan_sentences(parameters, texts)
    manifest = {
        "edition": SENTENCES_EDITION,
        "parameters": {**asdict(parameters), "texts": list(parameters.texts)},
        "espeak_ng": espeak_version(),
        "utterances": {split: len(said) for split, said in planned.items()},
    }
    with appearing_whole(folder, manifest, resume=True) as partial:
        jobs = [(partial / name, command) for said in planned.values() for name, command in said]
        for parent in {path.parent for path, _ in jobs}:
            parent.mkdir(parents=True, exist_ok=True)
            for leftover in parent.glob(".*"):  # from a process that was killed while writing
                leftover.unlink()
        share_out(record_into, jobs, "speaking texts", progress=progress)
        for split, said in planned.items():
            with (partial / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n") as lines:
                for name, command in said:
                    lines.write(json.dumps({"file": name, "text": command.text, "speaker": command.speaker}) + "\n")
