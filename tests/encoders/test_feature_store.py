import json
import multiprocessing
import os
import resource
import signal
import time

import numpy as np
import pytest
import torch

from mmcl.encoders.feature_store import FeatureStore
from mmcl.errors import DataError

# Python 3.12 warns of forks in a process with threads. A child that only writes files does not need torch's threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def features(number, rows=None, dim=5):
    """Return features that identify their sample."""
    rows = 1 + number % 4 if rows is None else rows
    return (number + np.arange(rows * dim, dtype=np.float32).reshape(rows, dim) / 100).astype(np.float32)


def fill(store, numbers):
    with store.writing():
        for number in numbers:
            store.append([(f"key{number}", features(number))])


def check(store, numbers):
    """Check that all numbers are stored with the features that were written."""
    spans = store.spans(f"key{number}" for number in numbers)
    matrix = store.matrix()
    for number in numbers:
        row, rows, _ = spans[f"key{number}"]
        assert torch.equal(matrix[row : row + rows], torch.from_numpy(features(number)))


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(tmp_path / "store", "a test")
    fill(store, range(10))
    return store


def test_features_are_read_as_written(store):
    check(store, range(10))
    assert store.spans(["key3", "nothing"]).keys() == {"key3"}
    assert json.loads((store.folder / "meta.json").read_text()) == {
        "format": 1, "dim": 5, "dtype": "float32", "description": "a test",
    }  # fmt: skip
    check(FeatureStore(store.folder), range(10))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32])
def test_data_types(tmp_path, dtype):
    store = FeatureStore(tmp_path)
    with store.writing():
        store.append([("a", np.arange(6).reshape(2, 3).astype(dtype))])
    assert store.matrix().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert str(store.matrix().dtype) == f"torch.{np.dtype(dtype)}"


def test_a_missing_folder_has_no_features(tmp_path):
    store = FeatureStore(tmp_path / "nothing")
    assert store.spans(["a"]) == {} and not store.folder.exists()
    with pytest.raises(DataError, match="meta.json"):
        store.matrix()


def test_reading_needs_no_write_permission_and_changes_to_the_map_are_private(store):
    before = (store.folder / "features.bin").read_bytes()
    for path in (*store.folder.iterdir(), store.folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    check(store, range(10))
    matrix = store.matrix()
    matrix.fill_(0)
    assert (store.folder / "features.bin").read_bytes() == before
    store.folder.chmod(0o755)


@pytest.mark.parametrize("cut", [2, 15, 40])
def test_an_index_truncated_within_a_line(store, cut):
    index = store.folder / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-cut])
    assert store.spans(f"key{n}" for n in range(10)).keys() == {f"key{n}" for n in range(9)}
    fill(store, [9, 10])
    check(store, range(11))
    assert len(index.read_text().splitlines()) == 11
    assert (store.folder / "features.bin").stat().st_size == 4 * 5 * sum(1 + n % 4 for n in range(11)), "no unused rows"


def test_an_index_truncated_before_the_newline(store):
    index = store.folder / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-1])
    check(store, range(10))
    fill(store, [10])
    check(store, range(11))


def test_features_truncated_within_a_row(store):
    path = store.folder / "features.bin"
    os.truncate(path, path.stat().st_size - 7)
    assert store.spans(f"key{n}" for n in range(10)).keys() == {f"key{n}" for n in range(9)}
    fill(store, [9])
    check(store, range(10))


def test_features_without_index_lines_are_removed(store):
    with (store.folder / "features.bin").open("ab") as file:
        file.write(b"half a row")
    fill(store, [10])
    check(store, range(11))


def test_a_flipped_byte_is_detected(store):
    path = store.folder / "features.bin"
    content = bytearray(path.read_bytes())
    row = store.spans(["key5"])["key5"].row
    content[row * 5 * 4 + 2] ^= 1
    path.write_bytes(content)
    assert store.spans(f"key{n}" for n in range(10)).keys() == {f"key{n}" for n in range(10) if n != 5}
    fill(store, [5])
    check(store, range(10))


@pytest.mark.parametrize(
    "line", ["nonsense", "[1]", '{"key": "key3"}', '{"key": "x", "row": -1, "rows": 1, "crc32": 0}', "\x00"]
)
def test_a_damaged_line_is_skipped(store, line):
    index = store.folder / "index.jsonl"
    lines = index.read_text().splitlines()
    lines[3] = line
    index.write_text("\n".join(lines) + "\n")
    assert store.spans(f"key{n}" for n in range(10)).keys() == {f"key{n}" for n in range(10) if n != 3}
    fill(store, [3])
    check(store, range(10))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 99, "dim": 5, "dtype": "float32"}', '{"format": 1}'])
def test_a_damaged_description_clears_the_store(store, content):
    mapped = store.matrix()
    first = mapped[0].clone()
    (store.folder / "meta.json").write_text(content)
    assert store.spans(["key1"]) == {}
    fill(store, [1])
    check(store, [1])
    assert torch.equal(mapped[0], first), "a run that has mapped the old features keeps them"


def test_missing_features_or_index_clear_the_store(store):
    (store.folder / "features.bin").unlink()
    assert store.spans(["key1"]) == {}
    fill(store, [1])
    (store.folder / "index.jsonl").unlink()
    assert store.spans(["key1"]) == {}
    fill(store, [1, 2])
    check(store, [1, 2])


def test_features_of_another_shape_raise(store):
    with store.writing(), pytest.raises(DataError, match=r"x .*float32.*\(2, 3\)"):
        store.append([("x", features(1, rows=2, dim=3))])
    check(store, range(10))


def test_a_full_disk_raises(store):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (store.folder / "features.bin").stat().st_size
    many = [(f"key{n}", features(n)) for n in range(10, 400)]
    message = "store .*MMCL_CACHE"
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4000, limits[1]))
    try:
        with pytest.raises(DataError, match=message), store.writing():
            store.append(many[:20])
            store.append(many[20:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    check(store, range(30))
    assert store.spans(["key30"]) == {}
    fill(store, range(30, 60))
    check(store, range(60))


def test_a_folder_that_cannot_be_created_raises(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="/file/store .*MMCL_CACHE"):
        fill(FeatureStore(tmp_path / "file" / "store"), [1])


def write_slowly(folder, numbers):
    store = FeatureStore(folder)
    for number in numbers:
        with store.writing():
            if f"key{number}" not in store.spans([f"key{number}"]):
                store.append([(f"key{number}", features(number))])


def test_two_processes_write_overlapping_sets(tmp_path):
    context = multiprocessing.get_context("fork")
    sets = [range(0, 60), range(30, 90), range(89, 20, -1)]
    writers = [context.Process(target=write_slowly, args=(tmp_path, numbers)) for numbers in sets]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    store = FeatureStore(tmp_path)
    check(store, range(90))
    assert len((tmp_path / "index.jsonl").read_text().splitlines()) == 90, "each sample once"


def write_for_ever(folder):
    store = FeatureStore(folder)
    with store.writing():
        number = len(store.spans(f"key{n}" for n in range(100_000)))
        while True:
            store.append([(f"key{n}", features(n)) for n in range(number, number + 8)])
            number += 8


def test_a_killed_writer_leaves_a_readable_store(tmp_path):
    context = multiprocessing.get_context("fork")
    done = 0
    for _ in range(3):
        writer = context.Process(target=write_for_ever, args=(tmp_path,))
        writer.start()
        index = tmp_path / "index.jsonl"
        before = index.stat().st_size if index.exists() else 0
        while not index.exists() or index.stat().st_size < before + 1000:
            time.sleep(0.001)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        now = len(FeatureStore(tmp_path).spans(f"key{n}" for n in range(100_000)))
        assert now > done
        check(FeatureStore(tmp_path), range(now))
        done = now
    fill(FeatureStore(tmp_path), range(done, done + 5))
    check(FeatureStore(tmp_path), range(done + 5))


def test_waiting_for_a_writer_is_logged(store, caplog):
    context = multiprocessing.get_context("fork")
    holding, release = context.Event(), context.Event()

    def hold():
        with store.writing():
            holding.set()
            release.wait()

    holder = context.Process(target=hold)
    holder.start()
    holding.wait()
    context.Process(target=lambda: (time.sleep(1.5), release.set())).start()
    fill(store, [10])
    holder.join()
    assert "another run is encoding into" in caplog.text
    check(store, range(11))
