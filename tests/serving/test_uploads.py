"""Uploaded recordings are stored under safe names and deleted in time."""

import io
import os

import pytest

from mmcl.serving.uploads import Uploads


def files(uploads):
    return sorted(path.name for path in uploads.folder.rglob("*") if path.is_file())


def add(uploads, name="order.wav"):
    return str(uploads.add(name, io.BytesIO(b"RIFF")))


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("order.wav", "order.wav"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\win.ini", "win.ini"),
        ("..", "recording"),
        ("", "recording"),
        ("\x00", "_"),
        ("a\x1b[31m\u202e<b>\n.wav", "a_31m_b_.wav"),
        ("caf\udce9.wav", "caf_.wav"),
        ("पानी.wav", "प_न_.wav"),
        ("x" * 10_000 + ".wav", "x" * 96 + ".wav"),
    ],
)
def test_file_names_are_sanitized(tmp_path, name, kept):
    uploads = Uploads(tmp_path)
    path = uploads.add(name, io.BytesIO(b"RIFF"))
    assert path.name == kept and path.read_bytes() == b"RIFF" and path.parent.parent == tmp_path.resolve()
    assert uploads.find(str(path)) == path


def test_recording_is_deleted_after_the_answer_without_an_open_page(tmp_path):
    uploads = Uploads(tmp_path)
    path = add(uploads)
    assert uploads.claim(path, "page")
    uploads.release(path)
    assert not os.listdir(tmp_path) and uploads.find(path) is None and not uploads.claim(path, "page")
    uploads.release(path)  # a second time


def test_recording_of_an_open_page_is_kept_until_it_closes_or_uploads_another(tmp_path):
    uploads = Uploads(tmp_path)
    uploads.page_opened("page")
    uploads.page_opened("page")  # as on reconnect of a browser
    first, second = add(uploads, "first.wav"), add(uploads, "second.wav")
    assert uploads.claim(first, "page")
    uploads.release(first)
    assert files(uploads) == ["first.wav", "second.wav"]
    assert uploads.claim(second, "page")
    assert files(uploads) == ["second.wav"]
    uploads.page_closed("page")
    assert files(uploads) == ["second.wav"]
    uploads.page_closed("page")
    assert not os.listdir(tmp_path)


def test_unclaimed_recordings_are_released_and_the_oldest_is_deleted(tmp_path):
    uploads = Uploads(tmp_path, maximum=2)
    paths = [add(uploads, f"{number}.wav") for number in range(3)]
    assert files(uploads) == ["1.wav", "2.wav"]
    uploads.release(paths[1])
    assert files(uploads) == ["2.wav"]


def test_failed_write_leaves_no_file(tmp_path):
    class Full(io.BytesIO):
        def read(self, *_):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        Uploads(tmp_path).add("order.wav", Full())
    assert not os.listdir(tmp_path)
