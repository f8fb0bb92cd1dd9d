import numpy as np
import pytest
import soundfile

from mmcl.data.audio import audio_seconds, examine, load_audio
from mmcl.data.audio_formats.flac import span
from mmcl.errors import AudioError


def with_count(path, count):
    """Set the number of samples in the header; 0 means unknown."""
    content = bytearray(path.read_bytes())
    content[21] = content[21] & 0xF0 | count >> 32
    content[22:26] = (count & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(content)
    return path


def test_frames_tell_the_number_of_samples(data_dir):
    for path in sorted((data_dir / "barista" / "speech").glob("*.flac"))[:30]:
        assert span(path.read_bytes()) == (0, soundfile.info(path).frames)
    assert span(b"fLaC") == (0, 0)


@pytest.mark.parametrize("count", [0, 1_000, 2**36 - 1], ids=["unknown", "too few", "too many"])
def test_wrong_counts(write, speech, count):
    samples, rate = speech
    path = with_count(write("speech.flac"), count)
    if count > len(samples):
        with pytest.raises(AudioError, match=r"speech\.flac (lasts|is truncated)"):
            load_audio(path)
        return
    found = examine(path)
    assert np.array_equal(found.waveform, samples)
    assert audio_seconds(path) == len(samples) / rate
    assert found.notes == ((f"its header says 0.1 s, but it lasts {len(samples) / rate:.1f} s",) if count else ())


@pytest.mark.parametrize("is_counted", [True, False])
def test_truncated_anywhere(write, speech, is_counted):
    path = write("speech.flac")
    content = (path if is_counted else with_count(path, 0)).read_bytes()
    for kept in (*range(9_000, len(content), 7_001), len(content) - 1):
        path.write_bytes(content[:kept])
        with pytest.raises(AudioError, match=r"speech\.flac is truncated"):
            load_audio(path)


def test_tags_after_the_frames_do_not_matter(write, speech):
    path = write("speech.flac")
    path.write_bytes(path.read_bytes() + b"TAG" + b" " * 125)
    assert np.array_equal(examine(path).waveform, speech[0])


def test_files_one_after_the_other_are_refused(write):
    path = write("speech.flac")
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(AudioError, match=r"speech\.flac holds several files one after the other, expected one"):
        load_audio(path)


def test_piped_and_segmented(ffmpeg, speech, tmp_path):
    samples, rate = speech
    path = ffmpeg("piped.flac", "-f", "flac", piped=True)
    assert np.array_equal(examine(path).waveform, samples)
    ffmpeg("part%d.flac", "-f", "segment", "-segment_time", "2", "-c:a", "flac")
    (tmp_path / "part%d.flac").unlink()
    parts = sorted(tmp_path.glob("part*.flac"))
    assert len(parts) > 2
    assert np.array_equal(np.concatenate([examine(part).waveform for part in parts]), samples)
    for part in parts:
        assert audio_seconds(part) == len(examine(part).waveform) / rate
