"""Listener: a model of two towers that says what a recording means, and which training sentences are nearest to it."""

from __future__ import annotations

import inspect
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import torch
from pydantic import BaseModel
from torch import Tensor

from mmcl.batch import collate
from mmcl.config.model import load_config
from mmcl.data.audio import audio_seconds, load_speech
from mmcl.data.base import SAMPLE_RATE
from mmcl.errors import AudioError, ConfigError, MMCLError
from mmcl.metrics.zero_shot import class_embeddings, zero_shot_scores
from mmcl.models.two_tower import Tower, TwoTower, embed_texts
from mmcl.predict import Prediction, check_intents, ranked
from mmcl.sections.towers import PairsSection, model_folders

_NEAREST = 5  # sentences
_MOST_INTENTS = 1_000
_MOST_REMEMBERED = 4_096  # texts of intents
_LOCK = Lock()  # models share encoders, and a tokenizer serves one thread at a time


class Sentence(NamedTuple):
    """A training sentence, and the cosine of its words with the recording."""

    text: str
    cosine: float


class Answer(NamedTuple):
    """The intents and some training sentences, the nearest first; the recording's seconds, and those it took."""

    predictions: list[Prediction]
    sentences: list[Sentence]
    audio_seconds: float
    seconds: float


class Sentences(NamedTuple):
    """Texts that a model was trained on: the first, how many there are, and why none are known, or an empty ``why``."""

    texts: list[str]
    total: int
    why: str = ""


class Listener:
    """Names recordings in words; several threads may ask.

    Args:
        model: with a tower of texts and one of audio.
        sentences: texts that it was trained on.
        vectors: their embeddings, ``(sentences, dim)``.
        longest: seconds that a recording may have.

    Raises:
        ConfigError: another tower than audio is beside the texts.
    """

    def __init__(
        self,
        model: TwoTower,
        sentences: Sentences | None = None,
        vectors: Tensor | None = None,
        *,
        longest: float = 30.0,
    ) -> None:
        tower = _tower_of_speech(model, "the model")
        self.model = model.eval()
        self.sentences = sentences or Sentences([], 0, "nobody said what it was trained on")
        self.vectors = vectors if vectors is not None else torch.zeros(0, model.dim)
        self.longest = min(longest, getattr(tower.encoder, "max_seconds", longest))
        self._remembered: OrderedDict[str, Tensor] = OrderedDict()

    @torch.no_grad()
    def answer(self, file: str | Path, intents: Mapping[str, Sequence[str]]) -> Answer:
        """Say which intent, and which training sentences, a recording is nearest to.

        Args:
            file: a recording.
            intents: names, each with the texts that it is called by; their mean direction counts.

        Raises:
            ConfigError: intents that cannot be told apart, none, or too many.
            MissingDataError: there is no such file.
            AudioError: it is no audio, silent, or too long.
            ShapeError: it is too short.
        """
        started = time.perf_counter()
        check_intents(intents)
        if (count := sum(map(len, intents.values()))) > _MOST_INTENTS:
            raise ConfigError(f"there are {count} texts of intents, expected at most {_MOST_INTENTS}")
        waveform = self._heard(Path(file))
        with _LOCK:
            vector = self.model.beside_text(collate([{"audio": waveform}]))
            classes = class_embeddings(self._embedded(intents), [len(called) for called in intents.values()])
        cosines = zero_shot_scores(vector, self.vectors)[0]
        best = cosines.topk(min(_NEAREST, len(cosines)))
        near = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return Answer(
            ranked(vector, classes, list(intents)),
            [Sentence(self.sentences.texts[row], cosine) for row, cosine in near],
            len(waveform) / SAMPLE_RATE,
            time.perf_counter() - started,
        )

    def warm_up(self, intents: Mapping[str, Sequence[str]]) -> None:
        """Have the first answer be as quick as the next: embed three seconds of a tone, and intents to remember."""
        tone = torch.sin(torch.arange(3 * SAMPLE_RATE) / 8)[: int(self.longest * SAMPLE_RATE)]
        with torch.no_grad(), _LOCK:
            self.model.beside_text(collate([{"audio": tone}]))
            self._embedded(intents)

    def _heard(self, file: Path) -> Tensor:
        """The waveform, once its length and its loudness are known to be right."""
        if (seconds := audio_seconds(file)) > self.longest:
            raise AudioError(f"{file} lasts {seconds:.1f} s, expected at most {self.longest:g} s: cut it")
        return load_speech(file, max_seconds=self.longest)

    def _embedded(self, intents: Mapping[str, Sequence[str]]) -> Tensor:
        """Embeddings of all texts of intents, of which only those that are new are computed."""
        texts = [text for called in intents.values() for text in called]
        if new := [text for text in dict.fromkeys(texts) if text not in self._remembered]:
            self._remembered.update(zip(new, embed_texts(self.model, new), strict=True))
        for text in texts:
            self._remembered.move_to_end(text)
        found = torch.stack([self._remembered[text] for text in texts])
        while len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return found


def _tower_of_speech(model: TwoTower, name: str) -> Tower:
    tower = model.beside_text
    if tower.modality != "audio":
        raise ConfigError(
            f"{name} is of text and {tower.modality}, expected text and audio (`mmcl predict` takes both)"
        )
    return tower


class _Trained(BaseModel):
    """What matters here of a run's config, which has more."""

    pairs: PairsSection


def training_sentences(folder: str | Path, limit: int) -> Sentences:
    """Return the first ``limit`` distinct texts that a run, or the run of a model's folder, was trained on.

    What is not on this machine is not made: ``why`` says what is missing.
    """
    from mmcl.data import catalog

    folder = Path(folder).expanduser()
    places = (folder, *folder.resolve().parents[:2])  # a model lies in models/<name> of its run
    found = next((place / "config.yaml" for place in places if (place / "config.yaml").is_file()), None)
    if found is None:
        return Sentences([], 0, f"no config.yaml beside {folder} says what it was trained on")
    try:
        pairs = load_config(_Trained, found).pairs
        if pairs.name != "captions":
            entry = catalog.find(pairs.name)
            if "make" in inspect.signature(entry.load()).parameters:
                state = catalog.status(entry, pairs.root)
                root = str(state.path) if state.found and not pairs.options else pairs.root
                pairs = pairs.model_copy(update={"options": {**pairs.options, "make": False}, "root": root})
        texts = list(dict.fromkeys(pairs.build("train").texts))
    except MMCLError as error:
        return Sentences([], 0, str(error))
    return Sentences(sorted(texts[:limit], key=len), len(texts))  # those of one length are embedded the quickest


def listeners(
    folder: str | Path, *, longest: float = 30.0, limit: int = 5_000, progress: Callable[[int, int], None] | None = None
) -> dict[str, Listener]:
    """Load every model of a run, by name, and embed its training sentences; frozen encoders are shared.

    Args:
        folder: of a run, or of one model.
        longest: seconds that a recording may have.
        limit: sentences at most.
        progress: called with the number of sentences embedded, and their total over all models.

    Raises:
        CheckpointError: there is no model, or it cannot be read.
        MissingDataError: a pretrained encoder is not on this machine.
        ConfigError: the models are not of audio and text.
    """
    folders = model_folders(folder)
    sentences = training_sentences(folder, limit)
    total, done = len(sentences.texts) * len(folders), 0
    frozen: dict[str, Tower] = {}
    spaces: dict[str, Tensor] = {}
    found = {}
    for name, place in folders.items():
        model = TwoTower.load(place)
        _tower_of_speech(model, str(place))
        for tower in (model.first, model.second):
            if tower.encoder.frozen:
                tower.encoder = frozen.setdefault(tower.encoder.fingerprint(), tower).encoder
        text = model.tower("text")
        locked = text.encoder.frozen and text.head.options.name == "none"
        space = text.encoder.fingerprint() if locked else name
        if space not in spaces:
            parts = [torch.zeros(0, model.dim)]
            for start in range(0, len(sentences.texts), 256):
                parts.append(embed_texts(model, sentences.texts[start : start + 256]))
                if progress is not None:
                    progress(done + start + len(parts[-1]), total)
            spaces[space] = torch.cat(parts)
        done += len(sentences.texts)
        if progress is not None:
            progress(done, total)
        found[name] = Listener(model, sentences, spaces[space], longest=longest)
    return found
