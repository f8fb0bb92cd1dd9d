import os
import threading

import numpy as np
import pytest
import soundfile

from mmcl.data.audio_formats.libsndfile import open_bytes, open_path, piped


def test_a_stream_is_read_forwards_to_the_same_samples(write, speech):
    for format in ("WAV", "FLAC", "OGG"):
        path = write(f"speech.{format.lower()}")
        whole, _ = soundfile.read(path, dtype="float32")
        for stream in (open_path(path), open_bytes(path.read_bytes())):
            with stream:
                blocks = []
                while len(block := stream.read(10_007, dtype="float32")):
                    blocks.append(block)
            assert np.array_equal(np.concatenate(blocks), whole)


def test_a_pipe_is_closed_whatever_happens(write):
    content = write("speech.mp3").read_bytes()
    before, threads = len(os.listdir("/dev/fd")), threading.active_count()
    with piped(content) as stream:
        stream.read(10)  # and no more
    with pytest.raises(soundfile.LibsndfileError), piped(b"this is no sound\n" * 100_000):
        pass
    with pytest.raises(KeyError), piped(content):
        raise KeyError
    assert len(os.listdir("/dev/fd")) == before
    assert threading.active_count() == threads
