"""Fixtures: a recording, and writers of other formats."""

import shutil
import subprocess

import pytest
import soundfile


@pytest.fixture(scope="session")
def speech(data_dir):
    """Samples and rate of a real recording."""
    return soundfile.read(min((data_dir / "barista" / "speech").glob("*.flac")), dtype="float32")


@pytest.fixture
def write(speech, tmp_path):
    """Return a function that writes the recording with soundfile and returns the file."""

    def call(name, subtype=None, format=None, rate=None, **options):
        samples, own_rate = speech
        path = tmp_path / name
        soundfile.write(path, samples, rate or own_rate, subtype=subtype, format=format, **options)
        return path

    return call


@pytest.fixture
def ffmpeg(write, tmp_path):
    """Return a function that writes the recording with ffmpeg; skips without ffmpeg or the encoder."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    source = write("source.wav")

    def call(name, *options, piped=False):
        command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", source, *options]
        with (tmp_path / name).open("wb") as file:
            target = ["pipe:1"] if piped else [tmp_path / name]
            done = subprocess.run([*command, *target], stdout=file if piped else None, stderr=subprocess.PIPE)
        if b"Unknown encoder" in done.stderr:
            pytest.skip(f"ffmpeg is built without {' '.join(options)}")
        assert done.returncode == 0, done.stderr.decode()
        return tmp_path / name

    return call
