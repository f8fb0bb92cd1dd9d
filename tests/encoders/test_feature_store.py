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

# Python from 3.12 on warns of forks beside threads; those of torch do not matter to a child that only writes files.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def features(number, rows=None, dim=5):
    """Features that tell which sample they are of."""
    rows = 1 + number % 4 if rows is None else rows
    return (number + np.arange(rows * dim, dtype=np.float32).reshape(rows, dim) / 100).astype(np.float32)


def fill(store, numbers):
    with store.writing():
        for number in numbers:
            store.append([(f"key{number}", features(number))])


def check(store, numbers):
    """Every number is there, and is what was written."""
    entries = store.spans(f"key{number}" for number in numbers)
    matrix = store.matrix()
    for number in numbers:
        row, rows, _ = entries[f"key{number}"]
        assert torch.equal(matrix[row : row + rows], torch.from_numpy(features(number)))


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(tmp_path / "store", "a test")
    fill(store, range(10))
    return store


def test_what_is_written_is_read(store):
    check(store, range(10))
    assert store.spans(["key3", "nothing"]).keys() == {"key3"}
    assert json.loads((store.folder / "meta.json").read_text()) == {
        "format": 1, "dim": 5, "dtype": "float32", "description": "a test",
    }  # fmt: skip
    check(FeatureStore(store.folder), range(10))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32])
def test_types(tmp_path, dtype):
    store = FeatureStore(tmp_path)
    with store.writing():
        store.append([("a", np.arange(6).reshape(2, 3).astype(dtype))])
    assert store.matrix().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert str(store.matrix().dtype) == f"torch.{np.dtype(dtype)}"


def test_an_empty_folder_has_nothing(tmp_path):
    store = FeatureStore(tmp_path / "nothing")
    assert store.spans(["a"]) == {} and not store.folder.exists()
    with pytest.raises(DataError, match="no readable meta.json: delete the folder"):
        store.matrix()


def test_reading_needs_no_right_to_write_and_writing_to_the_map_changes_no_file(store):
    before = (store.folder / "features.bin").read_bytes()
    for path in (*store.folder.iterdir(), store.folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    check(store, range(10))
    matrix = store.matrix()
    matrix.fill_(0)
    assert (store.folder / "features.bin").read_bytes() == before
    store.folder.chmod(0o755)


@pytest.mark.parametrize("cut", [2, 15, 40])
def test_an_index_cut_off_in_a_line(store, cut):
    index = store.folder / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-cut])
    assert store.spans(f"key{n}" for n in range(10)).keys() == {f"key{n}" for n in range(9)}
    fill(store, [9, 10])
    check(store, range(11))
    assert len(index.read_text().splitlines()) == 11
    assert (store.folder / "features.bin").stat().st_size == 4 * 5 * sum(1 + n % 4 for n in range(11)), "no dead rows"


def test_an_index_cut_off_before_the_end_of_its_line(store):
    index = store.folder / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-1])
    check(store, range(10))
    fill(store, [10])
    check(store, range(11))


def test_features_cut_off_in_a_row(store):
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


def test_a_flipped_byte_is_noticed(store):
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
def test_a_damaged_line_is_left_out(store, line):
    index = store.folder / "index.jsonl"
    lines = index.read_text().splitlines()
    lines[3] = line
    index.write_text("\n".join(lines) + "\n")
    assert store.spans(f"key{n}" for n in range(10)).keys() == {f"key{n}" for n in range(10) if n != 3}
    fill(store, [3])
    check(store, range(10))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 99, "dim": 5, "dtype": "float32"}', '{"format": 1}'])
def test_a_damaged_description_starts_afresh(store, content):
    mapped = store.matrix()
    first = mapped[0].clone()
    (store.folder / "meta.json").write_text(content)
    assert store.spans(["key1"]) == {}
    fill(store, [1])
    check(store, [1])
    assert torch.equal(mapped[0], first), "a run that has the old features mapped keeps them"


def test_missing_features_or_index_start_afresh(store):
    (store.folder / "features.bin").unlink()
    assert store.spans(["key1"]) == {}
    fill(store, [1])
    (store.folder / "index.jsonl").unlink()
    assert store.spans(["key1"]) == {}
    fill(store, [1, 2])
    check(store, [1, 2])


def test_features_of_another_shape(store):
    with store.writing(), pytest.raises(DataError, match=r"features of x are float32 of shape \(2, 3\), but .* holds"):
        store.append([("x", features(1, rows=2, dim=3))])
    check(store, range(10))


def test_a_full_disk(store):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (store.folder / "features.bin").stat().st_size
    many = [(f"key{n}", features(n)) for n in range(10, 400)]
    message = r"cannot write features to .*store \(.*\): free space there, or set MMCL_CACHE"
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


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DataError, match="cannot write features to .*/file/store .*: free space there, or set MMCL_CACHE"
    ):
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
    assert len((tmp_path / "index.jsonl").read_text().splitlines()) == 90, "each once"


def write_for_ever(folder):
    store = FeatureStore(folder)
    with store.writing():
        number = len(store.spans(f"key{n}" for n in range(100_000)))
        while True:
            store.append([(f"key{n}", features(n)) for n in range(number, number + 8)])
            number += 8


def test_a_writer_that_is_killed(tmp_path):
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


def test_a_waiting_writer_says_so(store, caplog):
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
