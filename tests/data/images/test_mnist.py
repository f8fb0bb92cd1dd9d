import gzip

import numpy as np
import pytest
import torch

from mmcl.data import Mnist, open_dataset
from mmcl.errors import DataError, LabelError, MissingDataError


@pytest.fixture(scope="module")
def root(data_dir):
    if not (data_dir / "MNIST").is_dir():
        pytest.skip("MMCL_DATA has no MNIST")
    return data_dir / "MNIST"


def write(folder, name, array, kind=8):
    head = bytes((0, 0, kind, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(head + array.astype(np.uint8).tobytes())


def write_small(folder, count=12):
    random = np.random.default_rng(0)
    for name in ("train", "t10k"):
        write(folder, f"{name}-images-idx3-ubyte", random.integers(0, 256, (count, 28, 28)))
        write(folder, f"{name}-labels-idx1-ubyte", np.arange(count) % 10)
    return folder


def test_the_real_files_are_read(root):
    sizes = {split: len(Mnist(root, split)) for split in Mnist.splits}
    assert sizes == {"train": 55000, "valid": 5000, "test": 10000}
    test = Mnist(root, "test")
    assert test.labels[:10] == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9] and test.texts[0] == "seven"
    image = test[0]["image"]
    assert image.shape == (1, 28, 28) and image.min() == 0 and image.max() > 0.99
    assert abs(float(torch.stack([test[row]["image"].mean() for row in range(200)]).mean()) - 0.13) < 0.02


def test_train_and_valid_partition_the_official_training_set(root):
    whole = np.frombuffer(gzip.decompress((root / "raw/train-labels-idx1-ubyte.gz").read_bytes())[8:], np.uint8)
    assert Mnist(root, "train").labels + Mnist(root, "valid").labels == whole.tolist()


def test_batch_equals_samples(tmp_path):
    data = Mnist(write_small(tmp_path / "raw").parent, "test")
    rows = torch.tensor([3, 0, 11])
    batch = data.batch(rows)
    for place, row in enumerate(rows.tolist()):
        assert torch.equal(batch["image"][place], data[row]["image"])
        assert batch["label"][place] == data[row]["label"] and batch["text"][place] == data[row]["text"]


def test_digits_selects_classes(tmp_path):
    data = Mnist(write_small(tmp_path / "raw").parent, "test", digits=[1, 7])
    assert Mnist(tmp_path, "test", digits=[1, 7], size=1).labels == data.labels[:1]
    assert Mnist(tmp_path, "test", size=10**6).labels == Mnist(tmp_path, "test").labels
    assert data.labels == [1, 7, 1] and len(data.classes) == 10
    assert torch.equal(data[1]["image"], Mnist(tmp_path, "test")[7]["image"])


def test_files_may_be_in_the_root_folder(tmp_path):
    assert len(Mnist(write_small(tmp_path), "test")) == 12


def test_the_catalog_opens_it(root):
    assert len(open_dataset("mnist", "test", digits=[3])) == 1010


def test_invalid_files_and_arguments_raise(tmp_path):
    with pytest.raises(MissingDataError, match="Mnist is missing: there is no folder"):
        Mnist(tmp_path / "nowhere")
    write_small(tmp_path / "raw")
    with pytest.raises(DataError, match="no split 'tset'.*did you mean 'test'"):
        Mnist(tmp_path, "tset")
    with pytest.raises(LabelError, match="digits has 10"):
        Mnist(tmp_path, "test", digits=[10])
    images = tmp_path / "raw" / "t10k-images-idx3-ubyte"
    whole = images.read_bytes()
    images.write_bytes(whole[:-1])
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte is not an idx file"):
        Mnist(tmp_path, "test")
    images.write_bytes(b"\0\0\x0d\3" + whole[4:])
    with pytest.raises(DataError, match="head 00000d03"):
        Mnist(tmp_path, "test")
    images.unlink()
    with pytest.raises(MissingDataError, match="no .*t10k-images-idx3-ubyte, plain or with .gz"):
        Mnist(tmp_path, "test")
    (tmp_path / "raw" / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(whole)[:50])
    with pytest.raises(DataError, match="not an idx file"):
        Mnist(tmp_path, "test")
    write(tmp_path / "raw", "t10k-images-idx3-ubyte", np.zeros((5, 28, 28)))
    with pytest.raises(DataError, match="5 images of .* and 12 labels"):
        Mnist(tmp_path, "test")
