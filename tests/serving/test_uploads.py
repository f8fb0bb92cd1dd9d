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
def test_only_the_last_part_of_a_name_is_kept_within_the_folder(tmp_path, name, kept):
    uploads = Uploads(tmp_path)
    path = uploads.add(name, io.BytesIO(b"RIFF"))
    assert path.name == kept and path.read_bytes() == b"RIFF" and path.parent.parent == tmp_path.resolve()
    assert uploads.find(str(path)) == path


def test_a_recording_is_deleted_once_it_was_answered_and_no_page_shows_it(tmp_path):
    uploads = Uploads(tmp_path)
    path = add(uploads)
    assert uploads.claim(path, "page")
    uploads.release(path)
    assert not os.listdir(tmp_path) and uploads.find(path) is None and not uploads.claim(path, "page")
    uploads.release(path)  # again


def test_an_open_page_may_ask_again_until_it_is_closed_or_asks_about_another(tmp_path):
    uploads = Uploads(tmp_path)
    uploads.page_opened("page")
    uploads.page_opened("page")  # as a browser does that reconnects
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


def test_what_was_never_claimed_is_released_and_the_oldest_makes_way(tmp_path):
    uploads = Uploads(tmp_path, most=2)
    paths = [add(uploads, f"{number}.wav") for number in range(3)]
    assert files(uploads) == ["1.wav", "2.wav"]
    uploads.release(paths[1])
    assert files(uploads) == ["2.wav"]


def test_nothing_is_left_of_a_recording_that_cannot_be_written(tmp_path):
    class Full(io.BytesIO):
        def read(self, *_):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        Uploads(tmp_path).add("order.wav", Full())
    assert not os.listdir(tmp_path)
