"""Speech synthesis with espeak-ng: a waveform that depends on text and voice only.

espeak-ng is a formant synthesiser under the GPL. It is not part of mmcl: it comes with the package ``espeakng-loader``
and is loaded on first use.
"""

from __future__ import annotations

import _ctypes
import atexit
import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from threading import get_ident

import numpy as np
from numpy.typing import NDArray

from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.text.suggest import nearest

ESPEAK_RATE = 22_050  #: sample rate of espeak-ng in hertz

#: English accents and espeak-ng's file for each.
ACCENTS = {
    "en-029": "en-029",  # the Caribbean
    "en-gb": "en",
    "en-gb-scotland": "en-GB-scotland",
    "en-gb-x-gbclan": "en-GB-x-gbclan",  # Lancaster
    "en-gb-x-gbcwmd": "en-GB-x-gbcwmd",  # West Midlands
    "en-gb-x-rp": "en-GB-x-rp",
    "en-us": "en-US",
    "en-us-nyc": "en-US-nyc",
}

_VARIANTS = """
    Alex Andrea Andy Annie Denis Gene Henrique Hugo Jacky Marco Mario Mike Nguyen Storm anika antonio aunty belinda
    boris ed edward f1 f2 f3 f4 f5 grandma grandpa gustave iven iven3 iven4 john klatt3 klatt4 m1 m2 m3 m4 m5 m6 m7
    m8 marcelo max miguel norbert pablo paul pedro quincy robert steph steph2 travis victor
"""
#: Timbres of espeak-ng that sound like different people and are easy to understand. Left out are robots, whispers,
#: duplicates, voices that models trained on the others hardly recognise, and the sixth Klatt synthesiser, whose breath
#: noise differs each time.
VARIANTS = tuple(_VARIANTS.split())

_AUDIO_SYNCHRONOUS, _DO_NOT_EXIT, _UTF8 = 2, 0x8000, 1  # constants of espeak-ng's speak_lib.h, as those in speak()
_RANGES = {"rate": (80, 450), "pitch": (0, 99), "pitch_range": (0, 99)}
_BUFFER = 5000  # milliseconds of speech per callback; shorter buffers cut echoes off
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Voice:
    """A voice of espeak-ng.

    Args:
        accent: one of :data:`ACCENTS`.
        variant: timbre, one of :data:`VARIANTS`.
        rate: words per minute, 80 to 450.
        pitch: pitch, 0 to 99; 50 is the variant's default.
        pitch_range: range of the pitch, 0 (monotone) to 99; 50 is the variant's default.

    Raises:
        ConfigError: a value is out of range or unknown.

    >>> Voice("en-gb-scotland", "f2", rate=160).name
    'en-gb-scotland+f2'
    """

    accent: str = "en-us"
    variant: str = "m1"
    rate: int = 175
    pitch: int = 50
    pitch_range: int = 50

    def __post_init__(self) -> None:
        for name, value, choices in (("accent", self.accent, ACCENTS), ("variant", self.variant, VARIANTS)):
            if value not in choices:
                raise ConfigError(f"{name} is {value!r}{nearest(value, choices)}, expected one of {', '.join(choices)}")
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected {low} to {high}")

    @property
    def name(self) -> str:
        """Accent and variant in espeak-ng's notation."""
        return f"{self.accent}+{self.variant}"


def speak(text: str, voice: Voice) -> tuple[NDArray[np.int16], int]:
    """Synthesise a text; return the waveform ``(samples,)`` and its sample rate in hertz.

    Equal arguments give equal samples, whatever was synthesised before. The function is thread-safe.

    Raises:
        MissingDataError: espeak-ng is not installed.
        DataError: the text has nothing to speak, or espeak-ng fails to start.

    >>> waveform, rate = speak("turn on the lights", Voice("en-us", "f1"))
    >>> waveform.dtype, rate, bool(0.8 < len(waveform) / rate < 1.2)
    (dtype('int16'), 22050, True)
    """
    pieces: list[bytes] = []

    def keep(samples: ctypes._Pointer[ctypes.c_short], count: int, events: int) -> int:
        if samples and count:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0  # continue

    callback = _CALLBACK(keep)  # keep a reference while the library may call it
    encoded = text.replace("\0", " ").encode(errors="replace") + b"\0"
    with _fresh_library() as library:
        library.espeak_SetSynthCallback(callback)
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # breath noise would otherwise be seeded with the time
        failed = library.espeak_SetVoiceByName(f"{ACCENTS[voice.accent].lower()}+{voice.variant}".encode())
        for number, value in ((1, voice.rate), (3, voice.pitch), (4, voice.pitch_range)):
            library.espeak_SetParameter(number, value, 0)
        failed = failed or library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, 0, 0, _UTF8, None, None)
    if failed:
        raise DataError(f"espeak-ng cannot speak with voice {voice.name} (status {failed}): reinstall espeakng-loader")
    waveform = np.frombuffer(b"".join(pieces), np.int16)
    if not waveform.any():
        raise DataError(f"text {text!r} has nothing to speak, expected words")
    return waveform, ESPEAK_RATE


@lru_cache(maxsize=1)
def espeak_version() -> str:
    """Return the version of espeak-ng; raises as :func:`speak`.

    >>> espeak_version().split(".")[0]
    '1'
    """
    with _fresh_library() as library:
        library.espeak_Info.restype = ctypes.c_char_p
        return library.espeak_Info(None).decode()


@contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """Load and start a new copy of espeak-ng, and unload it at the end.

    The library keeps state between calls, such as the phase of its flutter and the loudness. Only a new copy is clean.
    """
    try:
        path, data = _private_copy(get_ident())
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise DataError(
            f"espeak-ng cannot be loaded ({error}): free some disk, or reinstall espeakng-loader"
        ) from error
    try:
        rate = library.espeak_Initialize(_AUDIO_SYNCHRONOUS, _BUFFER, os.fsencode(data), _DO_NOT_EXIT)
        if rate != ESPEAK_RATE:
            raise DataError(f"espeak-ng does not start with its data in {data}: reinstall espeakng-loader")
        yield library
        library.espeak_Terminate()
    finally:
        handle = library._handle
        del library
        if sys.platform == "win32":
            _ctypes.FreeLibrary(handle)
        else:
            _ctypes.dlclose(handle)


@cache
def _private_copy(thread: int) -> tuple[Path, Path]:
    """Copy the library and its English data into a folder of this thread; return both paths.

    Memory of the library is shared by everyone who loads the same file, so each thread needs its own file. Accents are
    stored under the lower-case names that espeak-ng tries first; otherwise it reads its 250 voices to find one, which
    takes twice as long as synthesis. A later thread with the same id reuses the copy.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise MissingDataError(
            'espeak-ng, the speech synthesiser, is not installed: pip install "mmcl[synth]"'
        ) from error
    source = Path(espeakng_loader.get_data_path())
    folder = Path(tempfile.mkdtemp(prefix="mmcl-espeak-"))
    atexit.register(_remove, folder, os.getpid())
    data = folder / "espeak-ng-data"
    (data / "lang").mkdir(parents=True)
    (data / "voices" / "!v").mkdir(parents=True)
    for name in ("phondata", "phonindex", "phontab", "intonations", "en_dict"):
        shutil.copy(source / name, data)
    for name in ACCENTS.values():
        shutil.copy(source / "lang" / "gmw" / name, data / "lang" / name.lower())
    for name in VARIANTS:
        shutil.copy(source / "voices" / "!v" / name, data / "voices" / "!v")
    return Path(shutil.copy(espeakng_loader.get_library_path(), folder)), data


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child must not remove the copy of its parent
        shutil.rmtree(folder, ignore_errors=True)
