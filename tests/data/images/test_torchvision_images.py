"""Base class tests on small copies of its three data sets."""

import pickle

import numpy as np
import pytest
import torch

from mmcl.data import Cifar10, FashionMnist, Svhn, open_dataset
from mmcl.data.images.torchvision_images import TorchvisionImages
from mmcl.errors import DataError, MissingDataError


@pytest.fixture
def images():
    """Random images ``(count, channels, height, width)`` and labels."""

    def make(count, channels, size, seed=0):
        random = np.random.default_rng(seed)
        return random.integers(0, 256, (count, channels, size, size), np.uint8), random.permutation(count) % 10

    return make


@pytest.fixture(params=["fashion_mnist", "cifar10", "svhn"])
def copy(request, images, tmp_path, monkeypatch):
    """A small copy: the class, its folder, and the content of its training and test files."""
    parts = {}
    if request.param == "fashion_mnist":
        folder = tmp_path / "FashionMNIST"
        (folder / "raw").mkdir(parents=True)
        for name, count in (("train", 40), ("t10k", 20)):
            pixels, labels = parts[name] = images(count, 1, 28)
            for kind, array in (("images-idx3", pixels[:, 0]), ("labels-idx1", labels)):
                head = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
                (folder / "raw" / f"{name}-{kind}-ubyte").write_bytes(head + array.astype(np.uint8).tobytes())
        return FashionMnist, folder, *parts.values()
    if request.param == "svhn":
        from scipy.io import savemat

        monkeypatch.setattr("torchvision.datasets.SVHN._check_integrity", lambda self: True)
        folder = tmp_path / "SVHN"
        folder.mkdir()
        for name, count in (("train", 40), ("test", 20)):
            pixels, labels = parts[name] = images(count, 3, 32)
            stored = {"X": pixels.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None]}
            savemat(folder / f"{name}_32x32.mat", stored)
        return Svhn, folder, *parts.values()
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *arguments: True)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels, labels = parts["train"] = images(50, 3, 32)
    parts["test"] = images(20, 3, 32)
    stored = {f"data_batch_{n + 1}": (pixels[10 * n :][:10], labels[10 * n :][:10]) for n in range(5)}
    for name, (data, own) in {**stored, "test_batch": parts["test"]}.items():
        (folder / name).write_bytes(pickle.dumps({"data": data.reshape(len(data), -1), "labels": own.tolist()}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(Cifar10.classes)}))
    return Cifar10, folder, *parts.values()


def test_images_match_the_files(copy, monkeypatch):
    dataset, folder, (pixels, labels), (test_pixels, test_labels) = copy
    monkeypatch.setattr("mmcl.data.images.torchvision_images._VALID", 8)
    train, valid, test = (dataset(folder, split) for split in TorchvisionImages.splits)
    assert train.labels + valid.labels == labels.tolist() and len(valid) == 8
    assert test.labels == test_labels.tolist() and test.texts[3] == dataset.classes[test_labels[3]]
    assert torch.equal(test[5]["image"], torch.from_numpy(test_pixels[5]).float() / 255)
    assert torch.equal(valid[7]["image"], torch.from_numpy(pixels[-1]).float() / 255)
    batch = test.batch(torch.tensor([4, 0]))
    for place, row in enumerate((4, 0)):
        assert torch.equal(batch["image"][place], test[row]["image"]) and batch["text"][place] == test[row]["text"]
        assert batch["label"][place] == test[row]["label"] and test[row]["id"] == f"test-{row}"
    assert open_dataset(dataset.source.name, "test", folder).labels == test.labels


def test_invalid_folders_raise(copy):
    dataset, folder, *_ = copy
    with pytest.raises(DataError, match="has no split 'tset'.*'test'"):
        dataset(folder, "tset")
    with pytest.raises(MissingDataError, match=f"{dataset.__name__} is missing"):
        dataset(folder.parent / "nowhere")


def test_modified_files_raise_before_unpickling(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(pickle.dumps(_Harm()))
    with pytest.raises(DataError, match="cannot be read .Dataset not found or corrupted.*torchvision.datasets.CIFAR10"):
        Cifar10(folder)
    (tmp_path / "SVHN").mkdir()
    (tmp_path / "SVHN" / "train_32x32.mat").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read .Dataset not found or corrupted"):
        Svhn(tmp_path / "SVHN")


class _Harm:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))
