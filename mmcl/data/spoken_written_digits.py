"""Pairs of a spoken digit (FSDD) and a handwritten digit (MNIST), with optional noise."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mmcl.data.speech.spoken_digits import DIGITS
from mmcl.errors import ConfigError

if TYPE_CHECKING:
    from mmcl.batch import Sample


class SpokenWrittenDigits:
    """Pair each recording of the Free Spoken Digit Dataset with an MNIST image of the same digit.

    Splits are those of both data sets: a test recording is paired with a test image. The choice of the image and the
    noise depend only on ``seed`` and the name of the recording.

    Args:
        root: folder of :class:`~mmcl.data.SpokenDigits`; None uses the folder that ``mmcl data ls`` shows.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        mnist_root: folder of MNIST; None as for ``root``.
        snr: signal-to-noise ratio of the speech in decibels, with white noise; None adds no noise.
        image_noise: standard deviation of the noise added to pixels, which are then clipped to [0, 1].
        seed: seed of pairs and noise.

    A sample has ``audio``, ``image`` ``(1, 28, 28)``, ``label``, and the digit as a word in ``text``.

    Raises:
        MissingDataError, DataError: see both data sets.
        ConfigError: ``image_noise`` is negative.
    """

    classes = DIGITS
    modalities: ClassVar[dict[str, str]] = {"audio": "audio", "image": "image"}

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        *,
        mnist_root: str | Path | None = None,
        snr: float | None = None,
        image_noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        from mmcl.data import open_dataset

        if image_noise < 0:
            raise ConfigError(f"image_noise is {image_noise}, expected a standard deviation of 0 or more")
        self.split, self.snr, self.image_noise, self.seed = split, snr, image_noise, seed
        self.spoken = open_dataset("fsdd", split, root)
        self.written = open_dataset("mnist", split, mnist_root)
        self.labels, self.texts, self.speakers = self.spoken.labels, self.spoken.texts, self.spoken.speakers
        rows: dict[int, list[int]] = {}
        for row, label in enumerate(self.written.labels):
            rows.setdefault(label, []).append(row)
        self._image = [
            rows[label][self._number("image", row) % len(rows[label])] for row, label in enumerate(self.labels)
        ]

    def _number(self, what: str, index: int) -> int:
        """Return a pseudo-random number that depends on the seed and the recording."""
        name = f"{self.seed} {what} {self.spoken.utterances[index].id}"
        return int.from_bytes(sha256(name.encode()).digest()[:7], "big")

    def _noise(self, what: str, index: int, like: Any) -> Any:
        import torch

        return torch.randn(like.shape, generator=torch.Generator().manual_seed(self._number(what, index)))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        spoken = self.spoken[index]
        audio, image = spoken["audio"], self.written[self._image[index]]["image"]
        if self.snr is not None:
            level = audio.square().mean().sqrt() * 10 ** (-self.snr / 20)
            audio = audio + level * self._noise("audio noise", index, audio)
        if self.image_noise:
            image = (image + self.image_noise * self._noise("image noise", index, image)).clamp(0, 1)
        return {
            "id": spoken["id"],
            "audio": audio,
            "image": image,
            "label": spoken["label"],
            "text": spoken["text"],
            "speaker": spoken["speaker"],
        }
