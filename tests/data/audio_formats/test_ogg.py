import numpy as np
import pytest
import soundfile
import torch

from mmcl.data.audio import audio_seconds, examine, load_audio
from mmcl.data.audio_formats.ogg import ended, links
from mmcl.errors import AudioError

CODECS = ["VORBIS", "OPUS"]


def pages(content):
    found, position = [], 0
    while position < len(content):
        table = content[position + 27 : position + 27 + content[position + 26]]
        found.append(content[position : position + 27 + len(table) + sum(table)])
        position += len(found[-1])
    return found


def not_ended(content):
    """Unmark the last page, as a stopped recorder leaves it, and fix its checksum."""
    changed = bytearray(content)
    start = len(content) - len(pages(content)[-1])
    changed[start + 5] &= ~4
    changed[start + 22 : start + 26] = bytes(4)
    value = 0
    for byte in changed[start:]:  # bitwise, as in RFC 3533
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    changed[start + 22 : start + 26] = value.to_bytes(4, "little")
    assert ended(changed, start) == content
    return bytes(changed)


@pytest.mark.parametrize("codec", CODECS)
def test_unmarked_last_page(write, speech, codec):
    path = write("speech.ogg", codec)
    whole = examine(path).waveform
    path.write_bytes(not_ended(path.read_bytes()))
    assert np.array_equal(examine(path).waveform, whole)
    assert len(whole) == len(speech[0])
    assert audio_seconds(path) == len(whole) / speech[1]


@pytest.mark.parametrize("codec", CODECS)
def test_all_streams_of_a_chain_are_read(write, speech, codec):
    path = write("speech.ogg", codec)
    once = examine(path).waveform
    path.write_bytes(path.read_bytes() * 3)
    found = examine(path)
    assert np.array_equal(found.waveform, np.concatenate([once] * 3))
    assert audio_seconds(path) == pytest.approx(3 * len(speech[0]) / speech[1])
    assert found.notes == ("it holds 3 streams one after the other, which are read as one",)


def test_chain_of_several_rates_channels_and_codecs(tmp_path, speech):
    samples, _ = speech
    soundfile.write(tmp_path / "a.ogg", samples, 16_000, subtype="VORBIS")
    soundfile.write(tmp_path / "b.ogg", np.stack([samples, samples], 1), 48_000, subtype="OPUS")
    chain = tmp_path / "chain.ogg"
    chain.write_bytes((tmp_path / "a.ogg").read_bytes() + (tmp_path / "b.ogg").read_bytes())
    parts = [load_audio(tmp_path / name) for name in ("a.ogg", "b.ogg")]
    assert torch.equal(load_audio(chain), torch.cat(parts))
    assert audio_seconds(chain) == pytest.approx(len(torch.cat(parts)) / 16_000, abs=1e-3)


def test_last_page_may_be_empty(write, speech):
    path = write("speech.ogg", "VORBIS")
    content = bytearray(not_ended(path.read_bytes()))
    last = bytearray(pages(content)[-1][:27])
    last[18:22] = (int.from_bytes(last[18:22], "little") + 1).to_bytes(4, "little")
    last[26] = 0
    path.write_bytes(ended(content + last, len(content)))
    assert len(examine(path).waveform) == len(speech[0])


@pytest.mark.parametrize("codec", CODECS)
def test_damage(write, codec):
    path = write("speech.ogg", codec)
    content = path.read_bytes()
    parts = pages(content)
    for bad in (content[: len(content) * 2 // 3], content[:-1]):
        path.write_bytes(bad)
        with pytest.raises(AudioError, match=r"speech\.ogg is truncated: it holds \d+ samples and ends within a page"):
            load_audio(path)
    path.write_bytes(b"".join(parts[:4] + parts[5:]))
    with pytest.raises(AudioError, match=r"speech\.ogg is truncated or damaged: its header promises \d+ samples"):
        load_audio(path)


@pytest.mark.parametrize("codec", CODECS)
def test_intact_files_are_not_truncated(write, speech, codec):
    path = write("speech.ogg", codec)
    content = path.read_bytes()
    parts = pages(content)
    whole = examine(path).waveform
    for rest in (bytes(300), b"TAG" + b" " * 125):
        path.write_bytes(content + rest)
        assert np.array_equal(examine(path).waveform, whole)
    path.write_bytes(b"".join(parts[:2] + parts[4:]))  # as recorded from the middle of a stream
    assert 0 < len(load_audio(path)) < len(whole)


def test_without_a_stream(tmp_path):
    (tmp_path / "none.ogg").write_bytes(b"OggS" + bytes(100))
    with pytest.raises(AudioError, match=r"none\.ogg is not audio"):
        load_audio(tmp_path / "none.ogg")
    assert links(b"") == ([], False)


def test_codecs_of_ogg_that_ffmpeg_decodes(ffmpeg, speech):
    for codec, name in (("flac", "a.oga"), ("libspeex", "a.spx")):
        path = ffmpeg(name, "-c:a", codec, "-f", "ogg")
        assert len(load_audio(path)) == len(speech[0])
        path.write_bytes(path.read_bytes() * 2)
        assert len(load_audio(path)) == 2 * len(speech[0])
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(AudioError, match="ends within a page of Ogg"):
            load_audio(path)
