"""Spoken orders with and without a spoken digit over them: barista as background, FSDD as foreground."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from mmcl.config.numbers import Count
from mmcl.data.base import SAMPLE_RATE, SILENCE, Source, Utterance
from mmcl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from mmcl.batch import Sample

_SHORTEST = 0.025  # seconds: one frame of audio encoders


class DigitsOverSpeech:
    """Mix spoken digits over spoken orders, for objectives that separate common and salient factors.

    Each order is heard without a digit in one background sample, and with a digit in each of its target samples. The
    common factor is a slot of the order, which is the label. The salient factors are the digit and who says it.

    Splits are those of both data sets, so no recording is in two splits. Of an order, the loudest span of ``seconds``
    is used; shorter orders stay whole. Digits are used once each until all are used. Digits and their places depend on
    the seed and the split only. A mixture whose peak would exceed 1 is scaled to a peak of 1.

    A sample has ``audio`` ``(samples,)``, and the value of the slot as ``text``.

    Args:
        root: folder of :class:`~mmcl.data.Barista`; None uses the folder that ``mmcl data ls`` shows.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        fsdd_root: folder of :class:`~mmcl.data.SpokenDigits`; None as for ``root``.
        slot: slot of the orders that is the label; orders without it are skipped.
        seconds: length of the samples.
        snr: mean power of the digit over that of the order, in decibels. Both are means over their own samples.
        targets: number of target samples of each order.
        seed: seed of digits and places.

    Attributes:
        is_target: whether each sample has a digit.
        digits: digit of each sample; -1 without one.
        digit_speakers: number of the digit's speaker in alphabetical order; -1 without a digit.
        factors: the slot, the digit and its speaker of each sample, by name.

    Raises:
        MissingDataError: a folder or file of either data set does not exist.
        DataError: the split or slot does not exist, a file is invalid, or a recording is silent.
        ConfigError: ``targets`` is less than 1, ``seconds`` is less than 0.025, or ``snr`` is not finite.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "valid", "test")
    source: ClassVar[Source] = Source(
        name="digits_over_speech",
        folder="barista",
        marker=("label.json", "label/label.json"),
        owner="Picovoice (orders) and Zohar Jackson and others (digits)",
        license="Apache-2.0 (orders), CC BY-SA 4.0 (digits)",
        size="619 orders and 3,000 digits, 83 MB",
        url="https://github.com/Picovoice/speech-to-intent-benchmark (its folder 'data') and "
        "https://github.com/Jakobovski/free-spoken-digit-dataset (folder 'fsdd')",
        note="orders of 10 drinks, with and without an FSDD digit over them",
    )

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        fsdd_root: str | Path | None = None,
        slot: str = "coffeeDrink",
        seconds: float = 2.0,
        snr: float = 0.0,
        targets: Count = 1,
        seed: int = 0,
    ) -> None:
        import torch

        from mmcl.data.catalog import open_dataset

        if targets < 1 or not _SHORTEST <= seconds < math.inf or not math.isfinite(snr):
            raise ConfigError(
                f"targets is {targets}, seconds {seconds:g} and snr {snr:g}: expected 1 or more targets, "
                f"{_SHORTEST:g} seconds or more, and a finite ratio"
            )
        orders = open_dataset("barista", split, root, slot=slot)
        digits = open_dataset("fsdd", split, fsdd_root)
        self.split, self.slot, self.snr, self.classes = split, slot, snr, orders.classes
        under = [_Speech.read(each, round(seconds * SAMPLE_RATE)) for each in orders.utterances]
        generator = torch.Generator().manual_seed(len(self.splits) * seed + self.splits.index(split))
        rows = torch.arange(len(under) * targets) % len(digits)
        rows = torch.randperm(len(digits), generator=generator)[rows]
        places = torch.rand(len(rows), generator=generator).tolist()
        over = [digits.utterances[row] for row in rows.tolist()]
        self._mixtures = [_Mixture(each) for each in under]
        self._mixtures += map(_Mixture, under * targets, over, places)
        self.labels = orders.labels * (targets + 1)
        names = sorted(set(digits.speakers))
        self.digits = [-1] * len(under) + [each.label for each in over]
        self.digit_speakers = [-1] * len(under) + [names.index(each.speaker) for each in over]

    @property
    def texts(self) -> list[str]:
        """Value of the slot of each sample."""
        return [self.classes[label] for label in self.labels]

    @property
    def ids(self) -> list[str]:
        """Id of each sample: that of the order, and that of the digit if there is one."""
        return [each.id for each in self._mixtures]

    @property
    def is_target(self) -> list[bool]:
        """Whether each sample has a digit."""
        return [digit >= 0 for digit in self.digits]

    @property
    def factors(self) -> Mapping[str, Sequence[int]]:
        """The slot, the digit and its speaker of each sample; the last two are -1 where there is no digit."""
        return {self.slot: self.labels, "digit": self.digits, "speaker": self.digit_speakers}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        mixture, label = self._mixtures[index], self.labels[index]
        return {"id": mixture.id, "audio": mixture.audio(self.snr), "label": label, "text": self.classes[label]}

    def __add__(self, other: DigitsOverSpeech) -> DigitsOverSpeech:
        """Concatenate two splits; raises DataError if their classes or ratios differ."""
        if (self.classes, self.slot, self.snr) != (other.classes, other.slot, other.snr):
            raise DataError(
                f"splits '{self.split}' and '{other.split}' have slots {self.slot} and {other.slot} and ratios of "
                f"{self.snr:g} and {other.snr:g} dB, expected the same slot, classes and ratio"
            )
        joined = copy(self)
        joined.split = f"{self.split}+{other.split}"
        joined._mixtures = self._mixtures + other._mixtures
        joined.labels, joined.digits = self.labels + other.labels, self.digits + other.digits
        joined.digit_speakers = self.digit_speakers + other.digit_speakers
        return joined


class _Speech(NamedTuple):
    """The loudest span of a recording ``(samples,)``, and its mean power."""

    id: str
    audio: Tensor
    power: float

    @classmethod
    def read(cls, utterance: Utterance, samples: int) -> _Speech:
        """Read a recording and keep ``samples`` samples of it; raises DataError if it is silent."""
        from mmcl.data.audio import load_audio

        audio = loudest_span(load_audio(utterance.path), samples)
        if (peak := audio.abs().max().item()) < SILENCE:
            raise DataError(
                f"{utterance.path} is silent, its loudest sample is {peak:.2g}: remove it, or copy it again"
            )
        return cls(utterance.id, audio.clone(), audio.double().square().mean().item())


class _Mixture(NamedTuple):
    """An order, and the digit over it with its place, from 0 (start) to 1 (end)."""

    order: _Speech
    digit: Utterance | None = None
    place: float = 0.0

    @property
    def id(self) -> str:
        return self.order.id if self.digit is None else f"{self.order.id}+{self.digit.id}"

    def audio(self, snr: float) -> Tensor:
        """Return the waveform ``(samples,)``."""
        mixed = self.order.audio.clone()
        if self.digit is not None:
            digit = _Speech.read(self.digit, len(mixed))
            start = round(self.place * (len(mixed) - len(digit.audio)))
            scale = (self.order.power / digit.power * 10 ** (snr / 10)) ** 0.5
            mixed[start : start + len(digit.audio)] += scale * digit.audio
            mixed /= max(1.0, mixed.abs().max().item())
        return mixed


def loudest_span(waveform: Tensor, samples: int) -> Tensor:
    """Return the span of ``samples`` samples with the most energy; a shorter waveform stays whole.

    >>> import torch
    >>> loudest_span(torch.tensor([0.0, 1.0, -2.0, 1.5, 0.0]), 2)
    tensor([-2.0000,  1.5000])
    """
    import torch

    if len(waveform) <= samples:
        return waveform
    energy = torch.nn.functional.pad(waveform.double().square().cumsum(0), (1, 0))
    start = int((energy[samples:] - energy[:-samples]).argmax())
    return waveform[start : start + samples]
