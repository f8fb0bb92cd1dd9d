"""Decoding of image files to square crops; the size is read from the header before anything is decoded."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mmcl.errors import DataError, MissingDataError

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 89_478_485  #: largest image that is decoded, Pillow's limit; small files can hold far more pixels
_NO_SIZE = {*range(0xD0, 0xD9), 0x01}  # JPEG markers without a segment
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG markers of segments with the image size


def load_image(path: Path, size: int, *, grey: bool = False, over_black: bool = False) -> Tensor:
    """Return the center crop of an image in [0, 1], ``(3, size, size)``, or ``(1, size, size)`` if ``grey``.

    With ``over_black``, transparent parts of a colour image show black. Otherwise they show the file's hidden colours.

    Raises:
        MissingDataError: the file does not exist.
        DataError: the file is not a JPEG, PNG, WebP or GIF, cannot be decoded, or has too many pixels.
    """
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms.functional import center_crop, resize, rgb_to_grayscale

    width, height = image_size(path)
    if not 0 < width * height <= MAX_PIXELS:
        raise DataError(
            f"{path} is an image of {width} x {height} pixels, expected 1 to {MAX_PIXELS:,}: make it smaller"
        )
    try:
        if _start(path).startswith(b"GIF"):
            image = _gif(path)
        else:
            colours = ImageReadMode.RGB_ALPHA if over_black else ImageReadMode.RGB
            image = decode_image(str(path), ImageReadMode.GRAY if grey else colours)
    except (RuntimeError, MemoryError, OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise DataError(f"{path} is not an image that can be read ({error}): copy it again from its source") from None
    if len(image) == 4:
        image = image[:3] * (image[3] / 255)
    if grey and len(image) == 3:  # the decoders of GIF and WebP always return colours
        image = rgb_to_grayscale(image)
    cropped: Tensor = center_crop(resize(image, [size], antialias=True), [size, size])
    return cropped.float() / 255


def image_size(path: str | Path) -> tuple[int, int]:
    """Return width and height in pixels from the header of a file; raises as :func:`load_image`.

    >>> import tempfile, torch
    >>> from torchvision.io import write_png
    >>> path = Path(tempfile.mkdtemp(), "a.png")
    >>> write_png(torch.zeros(3, 20, 30, dtype=torch.uint8), str(path))
    >>> image_size(path)
    (30, 20)
    """
    path = Path(path)
    if not path.exists():
        raise MissingDataError(f"there is no file {path}: check the path, or copy the data set again from its source")
    if not path.is_file():
        raise DataError(f"{path} is not a regular file, expected an image")
    try:
        with path.open("rb") as file:
            found = _gif_size(file, path) if _start(path).startswith(b"GIF") else _size(file)
    except struct.error:
        found = None  # the file ends inside its header
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}): check its permissions") from None
    if found is None:
        raise DataError(
            f"{path} is not an image that can be read (no header of JPEG, PNG, WebP or GIF): copy it again from its "
            "source"
        )
    return found


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(6)


def _gif(path: Path) -> Tensor:
    """Decode a GIF with Pillow: torchvision's decoder reads out of bounds if the file is damaged."""
    import numpy as np
    import torch
    from PIL import Image

    try:
        with Image.open(path, formats=["GIF"]) as picture:
            return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(str(error)) from None


def _size(file: BinaryIO) -> tuple[int, int] | None:
    head = file.read(30)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _webp(head)
    if head.startswith(b"\xff\xd8"):
        return _jpeg(file)
    return None


def _gif_size(file: BinaryIO, path: Path) -> tuple[int, int]:
    """Return the decoded width and height of a GIF with one frame: its screen, or its frame if that is larger."""
    file.seek(6)
    width, height, flags = struct.unpack("<HHBxx", file.read(7))
    file.seek(_palette(flags), 1)
    pictures = 0
    while (kind := file.read(1)) in (b"!", b","):
        if kind == b",":
            pictures += 1
            if pictures > 1:
                raise DataError(f"{path} holds several pictures, expected one: save the one that is meant")
            left, top, across, down, flags = struct.unpack("<HHHHB", file.read(9))
            width, height = max(width, left + across), max(height, top + down)
            file.seek(_palette(flags), 1)
        file.seek(1, 1)  # label of the extension, or code size
        while size := file.read(1):
            if size == b"\0":
                break
            file.seek(size[0], 1)
    return width, height


def _palette(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", head[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(head) == 30:
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None


def _jpeg(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(2)
    while byte := file.read(1):
        if byte != b"\xff":
            continue
        while (marker := file.read(1)) == b"\xff":
            pass
        if not marker or marker[0] in _NO_SIZE or marker[0] == 0:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if marker[0] in _FRAMES:
            height, width = struct.unpack(">xHH", file.read(5))
            return width, height
        file.seek(length - 2, 1)
    return None
