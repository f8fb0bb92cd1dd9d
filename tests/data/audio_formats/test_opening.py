import os

import numpy as np
import pytest
import soundfile

from mmcl.data.audio_formats.flac import FlacRecording
from mmcl.data.audio_formats.mpeg import MpegRecording
from mmcl.data.audio_formats.ogg import OggRecording
from mmcl.data.audio_formats.opening import OrdinaryRecording, open_recording
from mmcl.errors import AudioError, MissingDataError


@pytest.mark.parametrize(
    ("format", "kind"),
    [
        ("WAV", OrdinaryRecording),
        ("AIFF", OrdinaryRecording),
        ("FLAC", FlacRecording),
        ("OGG", OggRecording),
        ("MP3", MpegRecording),
    ],
)
@pytest.mark.parametrize("suffix", ["wav", "mp3", "txt", "recording"])
def test_format_is_detected_by_content(write, speech, format, kind, suffix):
    path = write(f"speech.{suffix}", format=format)
    recording = open_recording(path)
    assert type(recording) is kind
    assert recording.seconds == len(speech[0]) / speech[1]
    [sound] = recording.read(10)
    assert sound.samples.shape == (len(speech[0]), 1)
    assert sound.rate == speech[1]


@pytest.mark.parametrize("suffix", ["au", "snd", "vox", "gsm", "raw"])
def test_suffix_alone_is_not_enough(tmp_path, suffix):
    path = tmp_path / f"words.{suffix}"
    path.write_text("version https://git-lfs.github.com/spec/v1\n" * 20)
    with pytest.raises(AudioError, match=rf"words\.{suffix} is not audio \(.*\): its \d+ bytes have no header"):
        open_recording(path)


def test_rates_are_checked_before_anything_is_decoded(tmp_path):
    path = tmp_path / "fast.wav"
    soundfile.write(path, np.zeros(8_000), 16_000)
    content = bytearray(path.read_bytes())
    for rate in (2_147_483_647, 384_001, 0, 999):
        content[24:28] = rate.to_bytes(4, "little")
        path.write_bytes(content)
        with pytest.raises(AudioError, match=r"fast\.wav (has 8000 samples at \d+ Hz, expected|is not audio)"):
            open_recording(path)


def test_channels_are_checked(tmp_path):
    soundfile.write(tmp_path / "many.wav", np.zeros((10, 65)), 16_000)
    with pytest.raises(AudioError, match=r"many\.wav has 65 channels, expected 1 to 64"):
        open_recording(tmp_path / "many.wav")


def test_special_files_raise(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    for name, error in (("pipe.wav", AudioError), ("link.wav", MissingDataError), ("x" * 300, AudioError)):
        with pytest.raises(error, match=name[:20]):
            open_recording(tmp_path / name)
