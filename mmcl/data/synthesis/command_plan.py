"""Plan of the synthetic commands: who says what, in which voice and with which noise, all from a few parameters."""

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
from mmcl.data.speech.fluent_speech_commands import IntentSlots
from mmcl.data.synthesis.command_grammar import GRAMMAR, grammar
from mmcl.data.synthesis.corpus import corpus_name
from mmcl.data.synthesis.espeak import ACCENTS, VARIANTS, Voice, speak
from mmcl.errors import ConfigError
from mmcl.files.atomic import written_whole

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

_Item = TypeVar("_Item")

_VOICES = {"train": 36, "valid": 6, "test": 14}
_UNSEEN = 0.25  # fraction of each intent's wordings reserved for test, where they are half of the utterances
_FORMAT = 1  # increment if plan_commands() or record() produce something else from the same inputs
COMMANDS_EDITION = sha256(repr((_FORMAT, GRAMMAR, ACCENTS, VARIANTS, _VOICES, _UNSEEN)).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class CommandParameters:
    """Parameters that determine every byte of a corpus: utterances per intent and split, intents, seed.

    Raises:
        ConfigError: a parameter is out of range.
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
        object.__setattr__(self, "utterances_per_intent", tuple(sizes))  # configs have lists
        if not is_whole(self.intents, 1) or self.intents > len(grammar()):
            raise ConfigError(f"intents is {self.intents!r}, expected 1 to {len(grammar())}, the size of the grammar")
        if not is_whole(self.seed, 0):
            raise ConfigError(f"seed is {self.seed!r}, expected an integer of at least 0")

    @property
    def folder(self) -> str:
        """Name of the folder in the cache."""
        return corpus_name("synthetic_commands", COMMANDS_EDITION, self)


def is_whole(value: object, least: int) -> bool:
    """Return whether a value is an integer of at least ``least``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@dataclass(frozen=True)
class Command:
    """One recording to generate: speaker, voice and text, milliseconds of silence before and after, noise level, and
    whether it is limited to telephone bandwidth (4 kHz)."""

    speaker: str
    voice: Voice
    intent: IntentSlots
    text: str
    before: int
    after: int
    noise: int
    telephone: bool = field(default=False, repr=False)  # not in repr, which seeds the noise of existing corpora


def voices(seed: int = 0) -> dict[str, list[Voice]]:
    """Draw the voices of each split; no two voices of any split have the same timbre.

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


def plan_commands(parameters: CommandParameters) -> dict[str, list[Command]]:
    """Return the commands to record for each split, intent by intent.

    Voices and wordings alternate in random order. Each voice varies its rate and pitch a little.
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


def utter(random: Random, voice: Voice, intent: IntentSlots, wording: Iterator[str]) -> Command:
    """Return a command: the next wording in a voice with slightly varied rate and pitch, random silence and noise."""
    return Command(  # do not reorder: the order of these lines is the order of the random draws
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
    """Synthesise a command; return its waveform ``(samples,)`` at 16 kHz."""
    import torch

    spoken, _ = speak(command.text, command.voice)
    speech = _resampler()(torch.from_numpy(spoken.astype(np.float64))).numpy()
    before, after = (SAMPLE_RATE * milliseconds // 1000 for milliseconds in (command.before, command.after))
    waveform = np.pad(speech, (before, after))
    # Random bytes from Python are the same on all platforms; numpy does not guarantee that.
    noise = np.frombuffer(Random(repr(command)).randbytes(len(waveform)), np.int8) / 128
    waveform = waveform + command.noise * noise
    if command.telephone:
        down, up = _telephone()
        waveform = up(down(torch.from_numpy(waveform)))[: len(waveform)].numpy()
    return np.clip(np.rint(waveform), -32768, 32767).astype(np.int16)


def record_into(path: Path, command: Command) -> None:
    """Write the waveform of :func:`record` as FLAC, atomically; an existing file is kept."""
    import soundfile

    if path.exists():  # from an earlier, interrupted generation
        return
    encoded = BytesIO()  # soundfile does not report a full disk when it writes to a path
    soundfile.write(encoded, record(command), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    with written_whole(path) as temporary:
        temporary.write_bytes(encoded.getbuffer())


@lru_cache(maxsize=1)
def _resampler() -> Resample:
    import torch
    from torchaudio.transforms import Resample

    # Treat 22,050 Hz as 22,000 Hz, which lowers and slows speech by 0.2 %: 11 samples become 8, and the filter is 40
    # times smaller. In double precision all machines round to the same 16-bit samples.
    return Resample(11, 8, dtype=torch.float64)


@lru_cache(maxsize=1)
def _telephone() -> tuple[Resample, Resample]:
    import torch
    from torchaudio.transforms import Resample

    return Resample(2, 1, dtype=torch.float64), Resample(1, 2, dtype=torch.float64)


def _reserve(wordings: Sequence[str], random: Random) -> tuple[list[str], list[str]]:
    """Split wordings into general ones and ones reserved for test; reserved ones use only words of the others."""
    known = list(wordings)
    new: list[str] = []
    for wording in random.sample(wordings, len(wordings)):
        others = [other for other in known if other != wording]
        if len(new) < _UNSEEN * len(wordings) and set(wording.split()) <= set(" ".join(others).split()):
            known = others
            new.append(wording)
    return known, new


def _turns(random: Random, items: Sequence[_Item]) -> Iterator[_Item]:
    """Yield all items in random order, again and again, in a new order each time."""
    while True:
        yield from random.sample(items, len(items))
