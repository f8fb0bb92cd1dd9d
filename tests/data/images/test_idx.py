"""idx files."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pytest

from mmcl.data.images import idx
from mmcl.data.images.idx import read_idx
from mmcl.errors import DataError, MissingDataError


def _head(*sizes, kind=8):
    return bytes((0, 0, kind, len(sizes))) + b"".join((size % 2**32).to_bytes(4, "big") for size in sizes)


def _read(root, dimensions=3):
    return read_idx(root, "images", dimensions, "get it from its owner")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("folder", ["", "raw"])
def test_reads_what_was_written(tmp_path, packed, folder):
    values = np.random.default_rng(0).integers(0, 256, (4, 3, 2), np.uint8)
    content = _head(4, 3, 2) + values.tobytes()
    path = tmp_path / folder / f"images{'.gz' if packed else ''}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(content) if packed else content)
    assert np.array_equal(_read(tmp_path), values)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        _head(2**16, 2**16, 2**32) + b"x",  # the product is 0 in 64 bits
        _head(2**31, 2**31, 8),  # and here
        _head(2**32 - 1, 2**32 - 1, 2**32 - 1),  # and here negative
        _head(0, 28, 28) + b"x",
        _head(2, 2, 2) + bytes(7),
        _head(2, 2, 2) + bytes(9),
        _head(60_000, 1_000, 1_000) + bytes(100),
        _head(2, 2) + bytes(4),
        _head(2, 2, 2, kind=13) + bytes(8),
        _head(2, 2, 2)[:7],
        b"",
        b"\xff" * 40,
    ],
)
def test_sizes_that_do_not_match_the_content_raise(tmp_path, content, packed):
    (tmp_path / f"images{'.gz' if packed else ''}").write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=r"images.* is not an idx file of bytes .*: copy it again"):
        _read(tmp_path)


def test_unpacks_no_more_than_the_header_promises(tmp_path):
    (tmp_path / "images.gz").write_bytes(gzip.compress(_head(1, 28, 28) + bytes(200_000_000), 1))
    tracemalloc.start()
    with pytest.raises(DataError, match="and more bytes of content"):
        _read(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_too_large_header_raises_before_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "MAX_IDX_BYTES", 100)
    (tmp_path / "images.gz").write_bytes(gzip.compress(_head(1, 11, 11) + bytes(121)))
    with pytest.raises(DataError, match="at most 100 bytes are read"):
        _read(tmp_path)


def test_special_files_and_invalid_gzip_raise(tmp_path):
    with pytest.raises(MissingDataError, match=r"there is no .*images, plain or with .gz: get it from its owner"):
        _read(tmp_path)
    (tmp_path / "images.gz").write_bytes(gzip.compress(_head(2, 2, 2) + bytes(8))[:-6])
    with pytest.raises(DataError, match="is not an idx file"):
        _read(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="is not a regular file"):
        _read(tmp_path)
