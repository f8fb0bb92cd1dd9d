"""Plain torch classifiers and data sets in every unlearning method."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from plain_digits import KINDS, as_vectors, digit_tensors, sequential
from torch.utils.data import Subset, TensorDataset

from mmcl.errors import ConfigError, DataError
from mmcl.unlearning import METHODS, train_classifier, train_sharded, unlearn
from mmcl.unlearning.measures import unlearning_measures
from mmcl.unlearning.removal import choose_removal

FAST = {"laf": {"epochs": 4, "vae_epochs": 2, "unlearning_learning_rate": 1e-3}, "retrain": {"epochs": 2}}
FAST["laf+r"] = FAST["laf"]


@pytest.fixture(scope="module")
def learned():
    """A plain model that was trained on four digits."""
    train, _ = digit_tensors()
    return train_classifier(sequential(), as_vectors(*train), epochs=10, learning_rate=5e-3)


def split(kind):
    """The samples of digit 3 to forget, and the others."""
    (images, labels), _ = digit_tensors()
    make, gone = KINDS[kind], labels == 3
    return make(images[~gone], labels[~gone]), make(images[gone], labels[gone])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", sorted(set(METHODS) - {"sisa"}))
def test_a_sequential_model_forgets_by_every_method(method, kind, learned):
    remain, forget = split(kind)
    before = deepcopy(learned.state_dict())
    unlearned = unlearn(learned, remain, forget, method=method, **FAST.get(method, {}))
    assert type(unlearned) is type(learned) and not unlearned.training
    assert all(torch.equal(value, learned.state_dict()[name]) for name, value in before.items())
    assert any(not torch.equal(value, unlearned.state_dict()[name]) for name, value in before.items())
    assert unlearned(torch.rand(2, 64)).shape == (2, 4)


def test_sisa_of_plain_models():
    (images, labels), _ = digit_tensors()
    data = as_vectors(images, labels)
    ensemble = train_sharded(sequential, data, shards=2, epochs=1)
    unlearned = unlearn(ensemble, Subset(data, range(10, 320)), Subset(data, range(10)), method="sisa")
    assert sum(map(len, unlearned.shards)) == 310


def test_laf_reads_no_labels(learned):
    remain, forget = (TensorDataset(data.tensors[0]) for data in split("tensors"))
    unlearned = unlearn(learned, remain, forget, **FAST["laf"])
    moved = (unlearned(forget.tensors[0]) - learned(forget.tensors[0])).norm(dim=1).mean()
    kept = (unlearned(remain.tensors[0]) - learned(remain.tensors[0])).norm(dim=1).mean()
    assert moved > kept


@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_sample_is_named(kind, learned):
    (images, labels), _ = digit_tensors()
    make = KINDS[kind]
    with pytest.raises(DataError, match=r"2 samples are both .* first 4, 5,"):
        unlearn(learned, make(images[:6], labels[:6]), make(images[4:9], labels[4:9]))
    data = make(images, labels)
    with pytest.raises(DataError, match="1 samples are both .* first 5,"):
        unlearn(learned, Subset(data, range(6)), Subset(data, range(5, 9)))


def test_measures_and_removals_take_plain_data(learned):
    train, test = digit_tensors()
    removal = choose_removal("class", as_vectors(*train), as_vectors(*test), classes=[3])
    found = unlearning_measures(learned, removal)
    assert found["Train_r"] > 0.9 and found["Test"] > 0.8


def test_a_classifier_layer_that_is_missing_is_an_error():
    with pytest.raises(ConfigError, match="classifier"):
        unlearn(torch.nn.Sequential(torch.nn.Conv1d(64, 4, 1)), *split("tensors"))
