"""Image files, including damaged and oversized ones."""

from __future__ import annotations

import io
import random
import struct
import zlib

import pytest
import torch
from PIL import Image

from mmcl.data import Captions
from mmcl.data.images import image_file as images
from mmcl.data.images.image_file import image_size, load_image
from mmcl.errors import DataError, MissingDataError, MMCLError

FORMATS = {
    "png": {"format": "PNG"},
    "jpeg": {"format": "JPEG"},
    "progressive jpeg": {"format": "JPEG", "progressive": True, "comment": b"x" * 3000},
    "jpeg with exif": {"format": "JPEG", "exif": b"Exif\0\0" + bytes(500)},
    "gif": {"format": "GIF"},
    "webp": {"format": "WEBP"},
    "lossless webp": {"format": "WEBP", "lossless": True},
    "webp with profile": {"format": "WEBP", "icc_profile": bytes(200)},
}


def _encoded(size=(30, 20), **options):
    content = io.BytesIO()
    picture = Image.new("RGB", size, (255, 0, 0))
    picture.putpixel((1, 1), (0, 255, 0))
    picture.save(content, **options)
    return content.getvalue()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [(30, 20), (1, 2), (700, 300)])
def test_image_size_matches_the_image(tmp_path, name, size):
    path = tmp_path / "a"
    picture = Image.new("RGB", size, (255, 0, 0))
    picture.save(path, **FORMATS[name])
    assert image_size(path) == size
    assert load_image(path, 8).shape == (3, 8, 8)
    assert load_image(path, 8)[0].mean() > 0.9 and load_image(path, 8, grey=True).shape == (1, 8, 8)


def _bomb(width, height):
    """A tiny PNG with a valid header that would decode to gigabytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packed = zlib.compressobj(9)
    rows = b"".join(packed.compress(bytes(min(width, 60_000) + 1)) for _ in range(8)) + packed.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (0, 5)])
def test_too_many_pixels_raise_before_decoding(tmp_path, size):
    path = tmp_path / "a.png"
    path.write_bytes(_bomb(*size))
    (tmp_path / "a.txt").write_text("a bomb")
    with pytest.raises(
        DataError, match=rf"a\.png is an image of {size[0]} x {size[1]} pixels, expected 1 to 89,478,485"
    ):
        Captions(tmp_path)[0]


@pytest.mark.parametrize("name", FORMATS)
def test_pixel_limit_applies_to_every_format(tmp_path, name, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 599)
    path = tmp_path / "a"
    path.write_bytes(_encoded(**FORMATS[name]))
    with pytest.raises(DataError, match="a is an image of 30 x 20 pixels, expected 1 to 599"):
        load_image(path, 8)


def test_animated_gif_raises(tmp_path):
    frames = [Image.new("RGB", (30, 20), (shade, 0, 0)) for shade in (0, 99, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"a\.gif holds several pictures, expected one"):
        load_image(tmp_path / "a.gif", 8)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_raise_or_decode(tmp_path, name):
    whole, draw, path = _encoded(**FORMATS[name]), random.Random(0), tmp_path / "a"
    for _ in range(60):
        place = draw.randrange(len(whole))
        cut = (
            whole[:place] if draw.random() < 0.3 else whole[:place] + bytes([draw.randrange(256)]) + whole[place + 1 :]
        )
        path.write_bytes(cut)
        try:
            assert torch.isfinite(load_image(path, 8)).all()
        except MMCLError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8 ", b"GIF89a"]
)
def test_file_without_header_raises(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match="a is not an image that can be read"):
        load_image(tmp_path / "a", 8)


def test_missing_and_special_files_raise(tmp_path):
    with pytest.raises(MissingDataError, match="there is no file"):
        load_image(tmp_path / "a.png", 8)
    with pytest.raises(DataError, match="is not a regular file"):
        load_image(tmp_path, 8)
