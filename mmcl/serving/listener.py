"""Listener: find the intent of a recording and the nearest training sentences with a two-tower model."""

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
_MAX_INTENTS = 1_000
_MAX_CACHED = 4_096  # texts of intents
_LOCK = Lock()  # models share encoders, and tokenizers are not thread-safe


class NearestSentence(NamedTuple):
    """A training sentence and the cosine between its embedding and that of the recording."""

    text: str
    cosine: float


class Answer(NamedTuple):
    """Intents and training sentences, nearest first, with the duration of the recording and of the computation."""

    predictions: list[Prediction]
    sentences: list[NearestSentence]
    audio_seconds: float
    seconds: float


class TrainingSentences(NamedTuple):
    """The first training texts of a model and their total number; ``why`` says why they are not available."""

    texts: list[str]
    total: int
    why: str = ""


class Listener:
    """Finds the intents of recordings. Methods are thread-safe.

    Args:
        model: A model with a text tower and an audio tower.
        sentences: Its training sentences.
        vectors: Embeddings of the sentences, ``(sentences, dim)``.
        longest: Maximum duration of a recording in seconds.

    Raises:
        ConfigError: The model has no audio tower.
    """

    def __init__(
        self,
        model: TwoTower,
        sentences: TrainingSentences | None = None,
        vectors: Tensor | None = None,
        *,
        longest: float = 30.0,
    ) -> None:
        tower = _tower_of_speech(model, "the model")
        self.model = model.eval()
        self.sentences = sentences or TrainingSentences([], 0, "no training data was given")
        self.vectors = vectors if vectors is not None else torch.zeros(0, model.dim)
        self.longest = min(longest, getattr(tower.encoder, "max_seconds", longest))
        self._cache: OrderedDict[str, Tensor] = OrderedDict()

    @torch.no_grad()
    def answer(self, file: str | Path, intents: Mapping[str, Sequence[str]]) -> Answer:
        """Find the nearest intents and training sentences of a recording.

        Args:
            file: The recording.
            intents: Texts of each intent by its name; the mean direction of their embeddings is used.

        Raises:
            ConfigError: There are no intents, too many, or duplicates.
            MissingDataError: The file does not exist.
            AudioError: The file is not audio, silent, or too long.
            ShapeError: The recording is too short.
        """
        started = time.perf_counter()
        check_intents(intents)
        if (count := sum(map(len, intents.values()))) > _MAX_INTENTS:
            raise ConfigError(f"there are {count} texts of intents, expected at most {_MAX_INTENTS}")
        waveform = self._load(Path(file))
        with _LOCK:
            vector = self.model.beside_text(collate([{"audio": waveform}]))
            classes = class_embeddings(self._embed(intents), [len(texts) for texts in intents.values()])
        cosines = zero_shot_scores(vector, self.vectors)[0]
        best = cosines.topk(min(_NEAREST, len(cosines)))
        near = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return Answer(
            ranked(vector, classes, list(intents)),
            [NearestSentence(self.sentences.texts[row], cosine) for row, cosine in near],
            len(waveform) / SAMPLE_RATE,
            time.perf_counter() - started,
        )

    def warm_up(self, intents: Mapping[str, Sequence[str]]) -> None:
        """Make the first answer as fast as later ones: embed a three-second tone, and cache the intents."""
        tone = torch.sin(torch.arange(3 * SAMPLE_RATE) / 8)[: int(self.longest * SAMPLE_RATE)]
        with torch.no_grad(), _LOCK:
            self.model.beside_text(collate([{"audio": tone}]))
            self._embed(intents)

    def _load(self, file: Path) -> Tensor:
        """Load a recording after checking its duration and loudness."""
        if (seconds := audio_seconds(file)) > self.longest:
            raise AudioError(f"{file} lasts {seconds:.1f} s, expected at most {self.longest:g} s: shorten it")
        return load_speech(file, max_seconds=self.longest)

    def _embed(self, intents: Mapping[str, Sequence[str]]) -> Tensor:
        """Embed all texts of intents, with a cache."""
        texts = [text for each in intents.values() for text in each]
        if new := [text for text in dict.fromkeys(texts) if text not in self._cache]:
            self._cache.update(zip(new, embed_texts(self.model, new), strict=True))
        for text in texts:
            self._cache.move_to_end(text)
        found = torch.stack([self._cache[text] for text in texts])
        while len(self._cache) > _MAX_CACHED:
            self._cache.popitem(last=False)
        return found


def _tower_of_speech(model: TwoTower, name: str) -> Tower:
    tower = model.beside_text
    if tower.modality != "audio":
        raise ConfigError(
            f"{name} has towers of text and {tower.modality}, expected text and audio (`mmcl predict` supports both)"
        )
    return tower


class _Trained(BaseModel):
    """The part of a run's config that names the training data."""

    pairs: PairsSection


def training_sentences(folder: str | Path, limit: int) -> TrainingSentences:
    """Return the first ``limit`` distinct training texts of a run, or of the run that contains a model's folder.

    Missing data sets are not generated; ``why`` says what is missing.
    """
    from mmcl.data import catalog

    folder = Path(folder).expanduser()
    places = (folder, *folder.resolve().parents[:2])  # a model is in models/<name> of its run
    found = next((place / "config.yaml" for place in places if (place / "config.yaml").is_file()), None)
    if found is None:
        return TrainingSentences([], 0, f"there is no config.yaml of the run of {folder}")
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
        return TrainingSentences([], 0, str(error))
    return TrainingSentences(sorted(texts[:limit], key=len), len(texts))  # batches of similar lengths are faster


def listeners(
    folder: str | Path, *, longest: float = 30.0, limit: int = 5_000, progress: Callable[[int, int], None] | None = None
) -> dict[str, Listener]:
    """Load all models of a run and embed their training sentences. Models share frozen encoders.

    Args:
        folder: Folder of a run or of a model.
        longest: Maximum duration of a recording in seconds.
        limit: Maximum number of sentences.
        progress: Called with the number of embedded sentences and their total over all models.

    Raises:
        CheckpointError: There is no model, or it cannot be read.
        MissingDataError: A pretrained encoder is not on this machine.
        ConfigError: A model is not of audio and text.
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
        for tower in model.towers:
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
