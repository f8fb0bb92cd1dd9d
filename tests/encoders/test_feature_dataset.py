from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmcl.batch import collate
from mmcl.data.base import BatchedDataset, Entity
from mmcl.encoders.feature_dataset import FeatureDataset
from mmcl.encoders.feature_store import FeatureStore

SOURCE = SimpleNamespace(classes=("off", "on"), labels=[1, 0, 1], texts=["a", "b", "c"])
ROWS = [np.arange(4, dtype=np.float16).reshape(2, 2), np.full((3, 2), 7, np.float16), np.full((1, 2), -1, np.float16)]


@pytest.fixture
def sequences(tmp_path):
    """Return a data set of three samples; the third has the content of the first."""
    store = FeatureStore(tmp_path)
    with store.writing():
        store.append(zip("xyz", ROWS, strict=True))
    spans = store.spans("xyz")
    return FeatureDataset(SOURCE, ["i", "j", "k"], store.matrix(), [spans[key] for key in "yxy"], pooled=False)


@pytest.fixture
def vectors(tmp_path):
    store = FeatureStore(tmp_path)
    with store.writing():
        store.append((key, np.full((1, 3), number, np.float32)) for number, key in enumerate("xy"))
    spans = store.spans("xy")
    return FeatureDataset(SOURCE, ["i", "j", "k"], store.matrix(), [spans[key] for key in "yxx"], pooled=True)


def test_it_is_a_batched_dataset(vectors):
    assert isinstance(vectors, BatchedDataset)
    assert (len(vectors), vectors.dim, list(vectors.classes), vectors.labels) == (3, 3, ["off", "on"], [1, 0, 1])


def test_batch_of_vectors(vectors):
    batch = vectors.batch(torch.tensor([2, 0]))
    assert batch["features"].tolist() == [[0.0] * 3, [1.0] * 3] and "features_lengths" not in batch
    assert batch["label"].tolist() == [1, 1] and batch["text"] == ["c", "a"] and batch.size == 2


def test_batch_of_sequences(sequences):
    batch = sequences.batch(torch.tensor([1, 0, 2]))
    assert batch["features"].dtype == torch.float32
    assert batch["features"].tolist() == [[[0, 1], [2, 3], [0, 0]], [[7, 7]] * 3, [[7, 7]] * 3]
    assert batch["features_lengths"].tolist() == [2, 3, 3]
    assert batch.mask("features")[0].tolist() == [True, True, False]


def test_targets_are_kept(tmp_path):
    store = FeatureStore(tmp_path)
    with store.writing():
        store.append([("x", np.zeros((1, 3), np.float32))])
    source = SimpleNamespace(classes=("low", "high"), labels=[0, 1], texts=["a", "b"], targets=(0.5, 7.0))
    data = FeatureDataset(source, ["i", "j"], store.matrix(), [store.spans("x")["x"]] * 2, pooled=True)
    assert data.targets == [0.5, 7.0] and data[1]["target"] == 7.0
    assert data.batch(torch.tensor([1, 0]))["target"].tolist() == [7.0, 0.5]


def test_vectors_of_pooled_samples(vectors):
    assert vectors.vectors([2, 0]).tolist() == [[0.0] * 3, [1.0] * 3] and vectors.lengths is None


def test_vectors_of_sequences_are_their_steps_without_padding(sequences, monkeypatch):
    steps = sequences.vectors([1, 0])
    assert steps.tolist() == [[0, 1], [2, 3], [7, 7], [7, 7], [7, 7]] and sequences.lengths.tolist() == [3, 2, 3]
    monkeypatch.setattr("mmcl.encoders.feature_dataset._STATISTICS_SAMPLES", 1)
    assert sequences.vectors([1, 0]).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("kind", ["vectors", "sequences"])
def test_samples_collate_to_the_same_batch(kind, request):
    dataset = request.getfixturevalue(kind)
    by_one = collate([dataset[1], dataset[-1]])
    at_once = dataset.batch(torch.tensor([1, 2]))
    assert dataset[1]["id"] == "j" and dataset[-1]["id"] == "k"
    for name, value in at_once.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(by_one[name], value), name
        else:
            assert by_one[name] == value, name


def test_changing_a_batch_does_not_change_the_data(vectors):
    vectors.batch(torch.tensor([0]))["features"].zero_()
    vectors[0]["features"].zero_()
    assert vectors.batch(torch.tensor([0]))["features"].tolist() == [[1.0] * 3]


def test_indices_out_of_range_raise(vectors):
    with pytest.raises(IndexError):
        vectors[3]
    assert [sample["text"] for sample in vectors] == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["vectors", "sequences"])
def test_entities_and_superclasses_are_optional(kind, request):
    dataset = request.getfixturevalue(kind)
    assert dataset.entities == [()] * 3 and dataset.superclasses == ()
    assert dataset.batch(torch.tensor([1]))["entities"] == [()]


def test_entities_and_superclasses_come_from_the_data_set(tmp_path):
    entities = [(Entity("room", "bath"),), (), (Entity("room", "hall"), Entity("color", "red"))]
    source = SimpleNamespace(**vars(SOURCE), entities=entities, superclasses=["iot", "iot"])
    store = FeatureStore(tmp_path)
    with store.writing():
        store.append(zip("xyz", ROWS, strict=True))
    dataset = FeatureDataset(source, ["i", "j", "k"], store.matrix(), list(store.spans("xyz").values()), pooled=False)
    assert dataset.entities == entities and dataset.superclasses == ("iot", "iot")
    assert dataset.batch(torch.tensor([2, 0]))["entities"] == [entities[2], entities[0]]
    assert dataset[2]["entities"] == entities[2] and collate([dataset[0], dataset[1]])["entities"] == entities[:2]


def test_values_by_sample_are_kept_to_serve_as_domains(tmp_path):
    store = FeatureStore(tmp_path)
    with store.writing():
        store.append([("x", ROWS[0])])
    spans = [store.spans("x")["x"]] * 3

    class Noisy:
        classes, labels, texts = SOURCE.classes, SOURCE.labels, SOURCE.texts
        noise, pair = [5, 0, 5], [(1, 2)] * 3

        def __len__(self):
            return 3

    found = FeatureDataset(Noisy(), ["i", "j", "k"], store.matrix(), spans, pooled=False)
    assert found.noise == [5, 0, 5] and not hasattr(found, "pair")
