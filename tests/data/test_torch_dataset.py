from __future__ import annotations

import pytest
import torch
from plain_digits import KINDS, WithTargets, as_vectors, digit_tensors
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from mmcl.data import Selection, class_incremental
from mmcl.data.attributes import attributes_of
from mmcl.data.base import BatchedDataset, Dataset
from mmcl.data.paired import batch_of
from mmcl.data.torch_dataset import TorchDataset, as_dataset, as_splits, same_source
from mmcl.errors import DataError, LabelError


class Unlabelled(torch.utils.data.Dataset):
    """A data set whose labels may not be read."""

    def __len__(self):
        return 3

    @property
    def targets(self):
        raise AssertionError("labels were read")

    def __getitem__(self, row):
        return (torch.full((4,), float(row)),)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_data_set_with_the_same_samples(kind):
    (images, labels), _ = digit_tensors()
    data = as_dataset(KINDS[kind](images, labels))
    assert isinstance(data, Dataset) and isinstance(data, BatchedDataset)
    assert data.labels == labels.tolist() and data.classes == ("0", "1", "2", "3")
    sample, rows = data[7], torch.tensor([7, 2])
    entry = "image" if kind == "targets" else "features"
    assert sample["label"] == labels[7] and sample["text"] == str(int(labels[7]))
    assert torch.equal(sample[entry].flatten(), images[7].flatten())
    batch = batch_of(data, rows)
    assert batch["label"].tolist() == labels[rows].tolist() and batch["text"] == [data.texts[7], data.texts[2]]
    assert torch.equal(batch[entry].flatten(1), images[rows].flatten(1))


def test_shapes_choose_the_entry_and_sequences_have_lengths():
    def entry(shape):
        return batch_of(as_dataset(TensorDataset(torch.zeros(2, *shape), torch.tensor([0, 1]))), torch.tensor([1, 0]))

    assert entry((3, 8, 8))["image"].shape == (2, 3, 8, 8)
    assert entry((5, 4))["features_lengths"].tolist() == [5, 5]
    assert "features_lengths" not in entry((4,)) and entry((4,))["features"].shape == (2, 4)


def test_class_names_are_those_of_the_data_set_or_as_passed():
    pairs = WithTargets(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]))
    pairs.classes = ["low", "high"]
    assert as_dataset(pairs).texts == ["low", "high"]
    assert TorchDataset(pairs, ["a", "b", "c"]).classes == ("a", "b", "c")
    with pytest.raises(LabelError, match="label 1"):
        TorchDataset(pairs, ["a"]).classes  # noqa: B018


def test_splits_share_the_classes_of_all_labels():
    inputs = torch.zeros(2, 4)
    train, test = as_splits(TensorDataset(inputs, torch.tensor([0, 1])), TensorDataset(inputs, torch.tensor([0, 3])))
    assert train.classes == test.classes == ("0", "1", "2", "3")
    own = as_dataset(train)
    assert own is train and as_splits(train, test) == [train, test]


def test_subsets_and_concatenations_keep_their_labels():
    (images, labels), _ = digit_tensors()
    data = as_vectors(images, labels)
    subset = as_dataset(Subset(data, [5, 9]))
    assert isinstance(subset, Selection) and subset.labels == labels[[5, 9]].tolist()
    assert same_source(subset.source, as_dataset(data)) and not same_source(subset.source, as_dataset([data[0]]))
    joined = as_dataset(ConcatDataset([Subset(data, [5, 9]), WithTargets(images[:2], labels[:2])]))
    assert joined.labels == labels[[5, 9, 0, 1]].tolist() and len(joined) == 4


def test_labels_are_read_only_when_they_are_used():
    data = as_dataset(Unlabelled())
    assert torch.equal(data.batch(torch.tensor([2]))["features"], torch.full((1, 4), 2.0))
    assert len(set(data.input_digests())) == 3
    with pytest.raises(AssertionError, match="labels were read"):
        data.labels  # noqa: B018


def test_samples_in_memory_are_identified_by_content():
    (images, labels), _ = digit_tensors()
    assert torch.equal(attributes_of(as_dataset(as_vectors(images, labels))).arrays[0], images.flatten(1))
    assert not attributes_of(as_dataset(WithTargets(images, labels))).arrays


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda x, y: x, DataError, "TensorDataset"),
        (lambda x, y: x.numpy(), DataError, "torch.as_tensor"),
        (lambda x, y: [(row.numpy(), 0) for row in x], DataError, "torch.as_tensor"),
        (lambda x, y: [(row,) for row in x], DataError, "sample 0 has no label"),
        (lambda x, y: list(x), DataError, "TensorDataset"),
        (lambda x, y: ["on", "off"], DataError, "sample 0 is a str"),
        (lambda x, y: TensorDataset(x), DataError, "labels"),
        (lambda x, y: as_vectors(x, y.float()), LabelError, "whole numbers"),
        (lambda x, y: as_vectors(x, y - 1), LabelError, "-1"),
        (lambda x, y: [], DataError, "0 samples"),
        (lambda x, y: {"x": x}, DataError, "dict"),
        (lambda x, y: None, DataError, "NoneType"),
    ],
)
def test_other_values_are_a_typed_error(make, error, words):
    train, test = digit_tensors()
    with pytest.raises(error, match=words):
        data = as_dataset(make(*train))
        assert data.labels and data[0]
    with pytest.raises(error, match=words):
        benchmark = class_incremental(make(*train), make(*test), experiences=2)
        assert benchmark.train_stream[0].dataset[0]
