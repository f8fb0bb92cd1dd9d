import importlib.util
import os
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from mmcl.data.synthesis import espeak
from mmcl.data.synthesis.espeak import ACCENTS, ESPEAK_RATE, VARIANTS, Voice, espeak_version, speak
from mmcl.errors import ConfigError, DataError, MissingDataError

CHECKOUT = Path(espeak.__file__).parents[3]
TEXT = "he hears music and such"  # aspirated, voiceless, voiced and plosive sounds
EVERYONE = [Voice(accent, variant) for accent, variant in zip(list(ACCENTS) * len(VARIANTS), VARIANTS, strict=False)]

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not installed"
)


@pytest.fixture
def no_copy():
    """Clear cached copies of the library before and after."""
    espeak._private_copy.cache_clear()
    yield
    espeak._private_copy.cache_clear()


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@needs_espeak
def test_says_something_of_the_right_length():
    short, rate = speak("music", Voice())
    long, _ = speak("music and music and music and music", Voice())
    assert rate == ESPEAK_RATE and short.dtype == np.int16 and short.ndim == 1
    assert 0.3 < len(short) / rate < 1.0 and len(long) > 2.5 * len(short)
    assert np.abs(short.astype(int)).max() > 3_000


@needs_espeak
def test_output_does_not_depend_on_earlier_calls():
    first = [speak(TEXT, voice)[0].tobytes() for voice in EVERYONE]
    again = []
    for voice in reversed(EVERYONE):
        speak("close the blinds", Voice("en-029", "f2", rate=300, pitch=90, pitch_range=0))
        again.append(speak(TEXT, voice)[0].tobytes())
    differ = [voice.name for voice, one, other in zip(EVERYONE, first, again[::-1], strict=True) if one != other]
    assert differ == []


@needs_espeak
def test_output_is_equal_in_other_threads_and_processes():
    expected = [speak(TEXT, voice)[0].tobytes() for voice in EVERYONE]
    with ThreadPoolExecutor(3) as threads:
        at_once = list(threads.map(lambda voice: speak(TEXT, voice)[0].tobytes(), EVERYONE * 2))
    assert at_once == expected * 2
    code = (
        "from hashlib import sha256; from mmcl.data.synthesis.espeak import Voice, speak\n"
        f"said = [speak({TEXT!r}, voice)[0].tobytes() for voice in {EVERYONE!r}]\n"
        "print(sha256(b''.join(said)).hexdigest(), end='')"
    )
    assert run(code) == sha256(b"".join(expected)).hexdigest()


@needs_espeak
def test_voices_are_distinct():
    voices = [Voice("en-us", variant) for variant in VARIANTS] + [Voice(accent, "m1") for accent in ACCENTS]
    spoken = {voice: speak("turn up the heating in the bathroom", voice)[0].tobytes() for voice in voices}
    assert len(set(spoken.values())) == len(spoken) == len(VARIANTS) + len(ACCENTS) - 1


@needs_espeak
def test_rate_pitch_and_range_have_an_effect():
    lengths = [len(speak(TEXT, Voice(rate=rate))[0]) for rate in (100, 175, 300)]
    assert lengths[0] > 1.3 * lengths[1] > 1.3 * 1.3 * lengths[2]
    plain = speak("ah", Voice())[0]
    for other in (Voice(pitch=80), Voice(pitch_range=90)):
        assert speak("ah", other)[0].tobytes() != plain.tobytes()

    def mean_frequency(pitch):
        spectrum = np.abs(np.fft.rfft(speak("aaah", Voice(pitch=pitch, pitch_range=0))[0].astype(float), 2**16))
        hertz = np.arange(len(spectrum)) * ESPEAK_RATE / 2**16
        voiced = (hertz > 50) & (hertz < 300)
        return hertz[voiced][spectrum[voiced].argmax()]

    assert mean_frequency(20) < mean_frequency(50) < mean_frequency(90)


@needs_espeak
def test_prints_nothing(capfd):
    for text in ("turn on the lights", "привет", "<b>12.5 & so on</b>", "nul\0 and \ud800"):
        speak(text, Voice())
    assert capfd.readouterr() == ("", "")


@needs_espeak
def test_leaves_no_files_behind(tmp_path):
    """Files are removed at the end of the process, but not at the end of a forked child."""
    code = (
        "import atexit, os; from mmcl.data.synthesis.espeak import Voice, speak\n"
        "before = speak('one', Voice())[0]\n"
        "assert len(os.listdir(os.environ['TMPDIR'])) == 1\n"
        "if hasattr(os, 'fork') and (child := os.fork()) == 0: atexit._run_exitfuncs(); os._exit(0)\n"
        "elif hasattr(os, 'fork'): os.waitpid(child, 0)\n"
        "assert (speak('one', Voice())[0] == before).all()\n"
    )
    run(code, TMPDIR=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@needs_espeak
@pytest.mark.parametrize("text", ["", "  ", "...", "\0"])
def test_nothing_to_speak(text):
    with pytest.raises(DataError, match="has nothing to speak, expected words"):
        speak(text, Voice())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"accent": "en-uss"}, r"accent is 'en-uss' \(did you mean 'en-us'\?\), expected one of en-029, en-gb, "),
        ({"variant": "robosoft"}, r"variant is 'robosoft'.*, expected one of Alex, "),
        ({"rate": 79}, "rate is 79, expected 80 to 450"),
        ({"pitch": 100}, "pitch is 100, expected 0 to 99"),
        ({"pitch_range": -1}, "pitch_range is -1, expected 0 to 99"),
    ],
)
def test_voices_that_do_not_exist(values, message):
    with pytest.raises(ConfigError, match=message):
        Voice(**values)


def test_without_espeak_it_says_what_to_install(no_copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingDataError, match=r'espeak-ng.* not installed.*: pip install "mmcl\[synth\]"') as caught:
        speak("music", Voice())
    assert "\n" not in str(caught.value)


@needs_espeak
def test_library_that_cannot_be_loaded(no_copy, monkeypatch, tmp_path):
    import espeakng_loader

    (tmp_path / "library.so").write_text("no library\n")
    loader = types.SimpleNamespace(
        get_library_path=lambda: str(tmp_path / "library.so"), get_data_path=espeakng_loader.get_data_path
    )
    monkeypatch.setitem(sys.modules, "espeakng_loader", loader)
    with pytest.raises(DataError, match=r"espeak-ng cannot be loaded \(.*\): free some disk, or reinstall"):
        speak("music", Voice())


@needs_espeak
def test_library_without_its_data(no_copy, monkeypatch, tmp_path):
    import espeakng_loader

    loader = types.SimpleNamespace(
        get_library_path=espeakng_loader.get_library_path, get_data_path=lambda: str(tmp_path)
    )
    monkeypatch.setitem(sys.modules, "espeakng_loader", loader)
    with pytest.raises(DataError, match=r"espeak-ng cannot be loaded \(.*phondata.*\)"):
        speak("music", Voice())


@needs_espeak
def test_library_with_broken_data(no_copy):
    _, data = espeak._private_copy(espeak.get_ident())
    (data / "phontab").unlink()
    with pytest.raises(DataError, match="espeak-ng does not start with its data in .*: reinstall espeakng-loader"):
        speak("music", Voice())


@needs_espeak
def test_version():
    assert espeak_version().count(".") >= 1


def test_library_is_loaded_on_first_use():
    code = "import sys, mmcl.data.synthesis.espeak; print({'espeakng_loader', 'torch'} & set(sys.modules))"
    assert run(code) == "set()\n"
