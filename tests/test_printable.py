import io
import sys

import pytest

from mmcl.errors import AudioError, ConfigError
from mmcl.printable import print_everything, printable


@pytest.mark.parametrize("text", ["", "order.wav", "café.wav", "音声.wav", "🎤.wav", "a\\udce9.wav"])
def test_text_that_can_be_written_stays(text):
    assert printable(text) is text or printable(text) == text


@pytest.mark.parametrize(("text", "shown"), [("caf\udce9", "caf\\udce9"), ("é\udcff\udc80", "é\\udcff\\udc80")])
def test_bytes_that_are_not_utf_8_are_escaped(text, shown):
    assert printable(text) == shown
    printable(text).encode()


@pytest.mark.parametrize("kind", [AudioError, ConfigError])
def test_errors_can_be_printed(kind):
    assert str(kind("caf\udce9.wav is empty")) == "caf\\udce9.wav is empty"
    assert str(kind()) == ""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_streams_of_any_encoding(monkeypatch, encoding):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    print_everything()
    for stream in streams:
        print("caf\udce9 音", file=stream, flush=True)
        assert stream.buffer.getvalue().startswith(b"caf\\udce9 ")
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # of a notebook, say
    print_everything()
