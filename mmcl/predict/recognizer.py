"""Recognizer: the class, or intent and entities, of a recording, image, text or row, with a confidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from mmcl.batch import Batch, Sample, collate
from mmcl.data.audio import load_speech
from mmcl.data.base import Entity
from mmcl.data.images.image_file import load_image
from mmcl.data.own_rows import OwnRow
from mmcl.encoders.fused_views import FusedViews
from mmcl.errors import CheckpointError, ConfigError
from mmcl.metrics.calibration import Calibrated, Calibration, NotCalibrated
from mmcl.models.classifier import SLUClassifier
from mmcl.models.image_classifier import ImageClassifier
from mmcl.models.seq2seq import SLUSeq2Seq
from mmcl.models.sequence_confidence import sequence_confidence
from mmcl.models.text_classifier import TextClassifier

_IMAGE_SIZE = 224  # pixels, for encoders that resize images themselves

RecognizingModel: TypeAlias = SLUClassifier | SLUSeq2Seq | TextClassifier | ImageClassifier


class Guess(NamedTuple):
    """A class and its confidence, from 0 to 1."""

    label: str
    confidence: float


@dataclass(frozen=True)
class Recognition:
    """The answer of a recognizer.

    Attributes:
        label: name of the class or intent; None for none of these.
        confidence: confidence of the best guess.
        guesses: most confident classes first. A sequence model has one guess.
        entities: entities that a sequence model decoded.
        transcript: transcript that a sequence model decoded.
    """

    label: str | None
    confidence: float
    guesses: tuple[Guess, ...]
    entities: tuple[Entity, ...] = ()
    transcript: str = ""


class Recognizer:
    """Recognizes files or texts with a classifier or a sequence model.

    The answer is "none of these" (``label`` is None) if the confidence is below the threshold. Confidence and threshold
    are those of :mod:`mmcl.metrics.calibration`. Without a calibration, confidence is that of the model, and there is
    no threshold.

    Args:
        model: a classifier of speech, images, texts or several views, or a sequence model.
        classes: class names by label.
        calibration: calibration of the model.
        threshold: confidence below which an answer is rejected, from 0 to 1; None for that of the calibration.

    Raises:
        ConfigError: the threshold is out of range.
        CheckpointError: the model has another number of classes.

    Attributes:
        modality: ``"audio"``, ``"image"`` or ``"text"``; ``"views"`` for several views or for numbers.
        is_sequence: whether it is a sequence model.
    """

    def __init__(
        self,
        model: RecognizingModel,
        classes: tuple[str, ...],
        calibration: Calibrated,
        *,
        threshold: float | None = None,
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ConfigError(f"threshold is {threshold:g}, expected 0 (accept every answer) to 1")
        if not classes:
            raise CheckpointError("the model has no class names: export it again with mmcl export")
        self.model, self.classes, self.calibration = model.eval(), classes, calibration
        self.is_sequence = isinstance(model, SLUSeq2Seq)
        if isinstance(calibration, Calibration) and (calibration.method == "platt") != self.is_sequence:
            raise CheckpointError(f"the calibration ({calibration.method}) belongs to another kind of model: copy both")
        stated = calibration.threshold if isinstance(calibration, Calibration) else None
        self.threshold = stated if threshold is None else threshold

    @property
    def modality(self) -> str:
        """Modality of the inputs."""
        if isinstance(self.model, TextClassifier):
            return "text"
        return "image" if isinstance(self.model, ImageClassifier) else self.model.encoder.modality

    @property
    def note(self) -> str:
        """A sentence about the confidence and the threshold."""
        if isinstance(self.calibration, NotCalibrated):
            return f"confidence is not calibrated: {self.calibration.reason}"
        found = self.calibration
        error = f"calibration error {100 * found.error_before:.1f} % before and {100 * found.error_after:.1f} % after"
        return f"confidence was calibrated on {found.samples} validation samples ({error})"

    def recognize_file(self, path: str | Path, *, max_seconds: float | None = None) -> Recognition:
        """Recognize a recording or an image.

        Args:
            path: the file.
            max_seconds: longest recording that is read; None for any.

        Raises:
            ConfigError: the model is for texts or for several views.
            MissingDataError, AudioError, DataError: the file does not exist, cannot be read, or is a silent recording.
        """
        if self.modality not in ("audio", "image"):
            raise ConfigError(f"{path}: the model is for {self.modality}, expected recognize_text or recognize_row")
        if self.modality == "audio":
            return self.recognize({"audio": load_speech(path, max_seconds=max_seconds)})
        encoder = self.model if isinstance(self.model, ImageClassifier) else self.model.encoder
        return self.recognize({"image": _image(encoder, Path(path))})

    def recognize_text(self, text: str) -> Recognition:
        """Recognize a text.

        Raises:
            ConfigError: the model is not for texts, or the text is empty.
        """
        if self.modality != "text" or not text.strip():
            wrong = (
                "the text is empty" if self.modality == "text" else f"the model is for {self.modality}, not for text"
            )
            raise ConfigError(f"cannot recognize '{text}': {wrong}")
        return self.recognize({"text": text})

    def recognize_row(self, row: OwnRow) -> Recognition:
        """Recognize a row of a table, with a model of several views or of numbers.

        The views are ``audio``, ``image``, ``text`` and ``numbers``, as in :class:`~mmcl.data.LabelledTable`.

        Raises:
            ConfigError: the model has no views, other views, or one that the row lacks.
            MissingDataError, AudioError, DataError: a file of the row does not exist, or cannot be read.
        """
        encoder = getattr(self.model, "encoder", None)
        if not isinstance(encoder, FusedViews):
            raise ConfigError(f"{row.source}: the model is for {self.modality}, expected one of several views")
        given = {**row.files, **({"text": row.text} if row.text else {}), **({"numbers": 0} if row.numbers else {})}
        sample: dict[str, Any] = {}
        for view, each in encoder.views():
            if view not in given:
                raise ConfigError(
                    f"{row.source} has {', '.join(given)} in {row.place}, but the model needs {view}: add that column, "
                    "or call recognize in Python with a sample"
                )
            if view == "audio":
                sample[view] = load_speech(row.files[view])
            elif view == "image":
                sample[view] = _image(each, row.files[view])
            else:
                sample[view] = row.text if view == "text" else torch.tensor(row.numbers)
        return self.recognize(sample)  # type: ignore[arg-type]

    @torch.no_grad()
    def recognize(self, sample: Sample) -> Recognition:
        """Recognize a sample with ``audio``, ``image`` or ``text``, or with each view of the model."""
        batch = collate([sample])
        if isinstance(self.model, SLUSeq2Seq):
            return self._decoded(self.model, batch)
        shares = self._probabilities(self.model(batch).logits)[0]
        order = shares.argsort(descending=True, stable=True).tolist()
        guesses = tuple(
            Guess(self.classes[label], float(shares[label])) for label in order if label < len(self.classes)
        )
        best = guesses[0]
        return Recognition(self._accepted(best), best.confidence, guesses)

    def _probabilities(self, logits: Tensor) -> Tensor:
        if isinstance(self.calibration, Calibration):
            return self.calibration.probabilities(logits)
        return logits.double().softmax(-1)

    def _decoded(self, model: SLUSeq2Seq, batch: Batch) -> Recognition:
        encoded = model.encode(batch)
        sequences = model.decode(encoded)
        raw = sequence_confidence(model, encoded, sequences)
        calibrated = self.calibration.confidence(raw) if isinstance(self.calibration, Calibration) else raw
        frame, confidence = model.tokenizer.decode(sequences[0]), float(calibrated[0])
        label = self._accepted(Guess(frame.intent, confidence)) if frame.intent else None
        guesses = (Guess(frame.intent, confidence),) if frame.intent else ()
        return Recognition(label, confidence, guesses, frame.entities, frame.transcript)

    def _accepted(self, best: Guess) -> str | None:
        """Return the label of a guess that is confident enough, else None."""
        return best.label if self.threshold is None or best.confidence >= self.threshold else None


def _image(encoder: object, path: Path) -> Tensor:
    """Load an image for an encoder."""
    size = getattr(encoder, "size", None)
    size = size if isinstance(size, int) else _IMAGE_SIZE
    return load_image(path, size, grey=getattr(encoder, "channels", 3) == 1)
