"""Who says what in the synthetic corpus, in which voice, and how that sounds: all of it follows from a few numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.base import SAMPLE_RATE
from mmcl.data.speech.fluent_speech_commands import Intent
from mmcl.data.synthesis.command_grammar import GRAMMAR, grammar
from mmcl.data.synthesis.espeak import ACCENTS, VARIANTS, Voice, speak
from mmcl.errors import ConfigError
from mmcl.files.atomic import written_whole

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

_Item = TypeVar("_Item")

_VOICES = {"train": 36, "valid": 6, "test": 14}
_UNSEEN = 0.25  # share of each intent's wordings that nobody says in training; they are half of what is said in test
_FORMAT = 1  # counts up when plan() or record() below make something else of all this
EDITION = sha256(repr((_FORMAT, GRAMMAR, ACCENTS, VARIANTS, _VOICES, _UNSEEN)).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Parameters:
    """What decides every byte of a corpus: numbers of train, valid and test utterances, number of intents, seed.

    Raises:
        ConfigError: a number that no corpus can have.
    """

    utterances_per_intent: tuple[int, int, int] = (72, 12, 14)
    intents: int = 31
    seed: int = 0

    def __post_init__(self) -> None:
        sizes: object = self.utterances_per_intent
        if hasattr(sizes, "tolist"):
            sizes = whole_numbers(sizes, "utterances_per_intent", error=ConfigError)
        if not isinstance(sizes, (list, tuple)) or len(sizes) != 3 or not all(is_whole(size, 1) for size in sizes):
            raise ConfigError(
                f"utterances_per_intent is {sizes!r}, expected 3 numbers for train, valid and test, each at least 1"
            )
        object.__setattr__(self, "utterances_per_intent", tuple(sizes))  # a config gives a list
        if not is_whole(self.intents, 1) or self.intents > len(grammar()):
            raise ConfigError(f"intents is {self.intents!r}, expected 1 to {len(grammar())}, which the grammar has")
        if not is_whole(self.seed, 0):
            raise ConfigError(f"seed is {self.seed!r}, expected a whole number from 0")

    @property
    def folder(self) -> str:
        """Name of the folder in the cache."""
        return f"synthetic_commands-{sha256(repr((EDITION, self)).encode()).hexdigest()[:8]}"


def is_whole(value: object, least: int) -> bool:
    """Tell if a value is a whole number of at least ``least``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@dataclass(frozen=True)
class Command:
    """One recording to be made: who says what, between how many milliseconds of silence, in how loud a noise, and if
    it sounds as over a telephone, with nothing above 4 kHz."""

    speaker: str
    voice: Voice
    intent: Intent
    text: str
    before: int
    after: int
    noise: int
    telephone: bool = field(default=False, repr=False)  # the noise follows from what is written, and is that of ever


def voices(seed: int = 0) -> dict[str, list[Voice]]:
    """Draw the voices of each split; no two of them, in any split, have the same timbre.

    >>> {split: len(drawn) for split, drawn in voices().items()}
    {'train': 36, 'valid': 6, 'test': 14}
    """
    random = Random(f"{seed} voices")
    variants = iter(random.sample(VARIANTS, sum(_VOICES.values())))
    return {
        split: [
            Voice(
                accent=random.choice(tuple(ACCENTS)),
                variant=next(variants),
                rate=random.randint(145, 190),
                pitch=random.randint(35, 65),
                pitch_range=random.randint(40, 70),
            )
            for _ in range(count)
        ]
        for split, count in _VOICES.items()
    }


def plan(parameters: Parameters) -> dict[str, list[Command]]:
    """Say for each split what is to be recorded, intent by intent.

    Voices and wordings take turns in random order, and each voice varies its rate and pitch a little.
    """
    commands: dict[str, list[Command]] = {}
    for (split, speakers), size in zip(voices(parameters.seed).items(), parameters.utterances_per_intent, strict=True):
        commands[split] = []
        for intent, wordings in islice(grammar().items(), parameters.intents):
            random = Random(f"{parameters.seed} {split} {intent}")
            speaker = _turns(random, speakers)
            known, new = (_turns(random, each) for each in _reserve(wordings, Random(f"{parameters.seed} {intent}")))
            for number in range(size):
                wording = new if split == "test" and number % 2 == 0 else known
                commands[split].append(utter(random, next(speaker), intent, wording))
    return commands


def utter(random: Random, voice: Voice, intent: Intent, wording: Iterator[str]) -> Command:
    """Have a voice say the next wording, at a rate and pitch a little off its own; silences and noise vary too."""
    return Command(  # the order of these lines is the order of the draws, in which the wording may take part
        speaker=f"{voice.accent}-{voice.variant}",
        voice=replace(
            voice,
            rate=voice.rate + random.randint(-8, 8),
            pitch=voice.pitch + random.randint(-4, 4),
        ),
        intent=intent,
        text=next(wording),
        before=random.randint(50, 350),
        after=random.randint(50, 350),
        noise=random.randint(2, 60),
    )


def record(command: Command) -> NDArray[np.int16]:
    """Speak a command; return its waveform ``(samples,)`` at 16 kHz."""
    import torch

    spoken, _ = speak(command.text, command.voice)
    speech = _resampler()(torch.from_numpy(spoken.astype(np.float64))).numpy()
    before, after = (SAMPLE_RATE * milliseconds // 1000 for milliseconds in (command.before, command.after))
    waveform = np.pad(speech, (before, after))
    # Bytes of Python's own generator are the same everywhere, which numpy's are not promised to be.
    noise = np.frombuffer(Random(repr(command)).randbytes(len(waveform)), np.int8) / 128
    waveform = waveform + command.noise * noise
    if command.telephone:
        down, up = _telephone()
        waveform = up(down(torch.from_numpy(waveform)))[: len(waveform)].numpy()
    return np.clip(np.rint(waveform), -32768, 32767).astype(np.int16)


def record_into(path: Path, command: Command) -> None:
    """Write what :func:`record` makes of a command as FLAC, whole or not at all; what is there is left alone."""
    import soundfile

    if path.exists():  # an earlier generation got so far
        return
    encoded = BytesIO()  # a full disk is not reported by soundfile's own writing
    soundfile.write(encoded, record(command), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    with written_whole(path) as temporary:
        temporary.write_bytes(encoded.getbuffer())


@lru_cache(maxsize=1)
def _resampler() -> Resample:
    import torch
    from torchaudio.transforms import Resample

    # 22,050 Hz taken for 22,000, which lowers and slows speech by 0.2 %: then 11 samples become 8, and the filter is
    # 40 times smaller. In double precision no machine rounds to other 16-bit samples.
    return Resample(11, 8, dtype=torch.float64)


@lru_cache(maxsize=1)
def _telephone() -> tuple[Resample, Resample]:
    import torch
    from torchaudio.transforms import Resample

    return Resample(2, 1, dtype=torch.float64), Resample(1, 2, dtype=torch.float64)


def _reserve(wordings: Sequence[str], random: Random) -> tuple[list[str], list[str]]:
    """Part wordings into those for everywhere and those for test alone, whose every word is in one of the others."""
    known = list(wordings)
    new: list[str] = []
    for wording in random.sample(wordings, len(wordings)):
        others = [other for other in known if other != wording]
        if len(new) < _UNSEEN * len(wordings) and set(wording.split()) <= set(" ".join(others).split()):
            known = others
            new.append(wording)
    return known, new


def _turns(random: Random, items: Sequence[_Item]) -> Iterator[_Item]:
    """Every item once in random order, then every item once in another, without end."""
    while True:
        yield from random.sample(items, len(items))
