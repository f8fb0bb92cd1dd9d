"""Reader of idx files (MNIST's format), plain or gzipped, that checks the header before it reads the content."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcl.errors import DataError, MissingDataError

MAX_IDX_BYTES = 1_000_000_000  #: largest content that is read; MNIST's has 47 million bytes


def read_idx(root: Path, name: str, dimensions: int, offer: str) -> NDArray[np.uint8]:
    """Read an idx file: two zeros, the type (8 for bytes), the number of dimensions, their sizes, the values.

    Args:
        root: folder of the file, or parent folder of ``raw`` with the file.
        name: file name; ``name.gz`` is accepted too.
        dimensions: expected number of dimensions.
        offer: advice on how to get the file, for errors.

    Raises:
        MissingDataError: the file does not exist.
        DataError: the header is invalid, promises more than ``MAX_IDX_BYTES``, or does not match the content.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "labels").write_bytes(bytes((0, 0, 8, 1, 0, 0, 0, 2, 7, 9)))
    >>> read_idx(folder, "labels", 1, "copy it again").tolist()
    [7, 9]
    """
    places = [folder / each for folder in (root / "raw", root) for each in (name, f"{name}.gz")]
    path = next((place for place in places if place.exists()), None)
    if path is None:
        raise MissingDataError(f"there is no {places[0]}, plain or with .gz: {offer}")
    if not path.is_file():
        raise DataError(f"{path} is not a regular file, expected an idx file: copy it again from its source")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            sizes = [int.from_bytes(head[start : start + 4], "big") for start in range(4, len(head), 4)]
            promised = math.prod(sizes)  # Python integers do not overflow
            if len(head) < 4 + 4 * dimensions or head[:4] != bytes((0, 0, 8, dimensions)) or promised > MAX_IDX_BYTES:
                raise ValueError(f"head {head[:4].hex()} and sizes {sizes}, at most {MAX_IDX_BYTES:,} bytes are read")
            if path.suffix != ".gz" and os.fstat(file.fileno()).st_size != len(head) + promised:
                raise ValueError(f"sizes {sizes} and {os.fstat(file.fileno()).st_size - len(head):,} bytes of content")
            content = file.read(promised + 1)  # one byte more detects longer content without unpacking all of it
            if len(content) != promised:
                there = "more" if len(content) > promised else f"{len(content):,}"
                raise ValueError(f"sizes {sizes}, and {there} bytes of content")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} is not an idx file of bytes ({error}): copy it again from its source") from None
    return np.frombuffer(content, np.uint8).reshape(sizes)
