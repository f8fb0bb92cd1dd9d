"""Sequences of integers, in every argument that takes one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmcl.config.whole_numbers import class_labels, whole_numbers
from mmcl.data import Mnist, Selection, class_incremental
from mmcl.data.class_groups import arrival_groups
from mmcl.errors import InputError, LabelError, MMCLError
from mmcl.metrics.classification import classification_scores
from mmcl.metrics.embedding_map import embedding_map
from mmcl.metrics.linear_probe import linear_probe
from mmcl.metrics.retrieval import retrieval
from mmcl.metrics.unlearning import per_sample_loss
from mmcl.metrics.zero_shot import class_embeddings, zero_shot
from mmcl.models.classifier import GrowingHead
from mmcl.strategies.rehearsal import Rehearsal
from mmcl.unlearning.removal import choose_removal

FORMS = {
    "list": list,
    "tuple": tuple,
    "tensor": torch.tensor,
    "int32 tensor": lambda values: torch.tensor(values, dtype=torch.int32),
    "array": np.array,
    "uint8 array": lambda values: np.array(values, dtype=np.uint8),
    "numpy numbers": lambda values: [np.int64(value) for value in values],
    "tensors": lambda values: [torch.tensor(value) for value in values],
}
WRONG = {
    "floats": lambda values: [float(value) for value in values],
    "float tensor": lambda values: torch.tensor(values).float(),
    "float array": lambda values: np.array(values, dtype=float),
    "bools": lambda values: [bool(value) for value in values],
    "bool tensor": lambda values: torch.tensor(values).bool(),
    "bool array": lambda values: np.array(values, dtype=bool),
    "two dimensions": lambda values: torch.tensor(values)[None],
    "nested": lambda values: [list(values)],
    "None within": lambda values: [None, *values[1:]],
}


class Said:
    classes = ("a", "b", "c", "d")

    def __init__(self, form=list):
        self.labels, self.texts = form([0, 1, 2, 3] * 2), ["a", "b", "c", "d"] * 2

    def __len__(self):
        return 8

    def __getitem__(self, row):
        return {"id": f"u{row}", "label": int(self.labels[row]), "text": self.texts[row]}


def _purged(rows):
    memory = Rehearsal(10)
    memory.memory = {0: [0, 3, 5], 1: [1, 2]}
    return memory.purge(rows)


def _grown(labels):
    head = GrowingHead(2)
    head.grow(labels)
    return head.seen.tolist()


def _stream(**options):
    return class_incremental(Said(), Said(), 2, **options).description


SCORES = torch.eye(4)[[3, 1, 0, 2]]
PLACES = {  # name of each argument in errors, and a function of its value
    "class_order": lambda values: _stream(class_order=values)["class_order"],
    "without": lambda values: _stream(class_order=[0, 1, 2, 3], without=values[:1])["class_order"],
    "order": lambda values: arrival_groups(values, 2),
    "rows": lambda values: Selection(Said(), values).rows,
    "labels": lambda values: Selection(Said(), [0, 1, 2, 3], labels=values).labels,
    "classes": lambda values: choose_removal("class", Said(), Said(), classes=values[:1]).forget.rows,
    "purged rows": _purged,
    "grown labels": _grown,
    "labels of per_sample_loss": lambda values: per_sample_loss(SCORES, values).tolist(),
    "labels of zero_shot": lambda values: zero_shot(SCORES, values).top1,
    "labels of classification_scores": lambda values: classification_scores(SCORES, values)["accuracy"],
    "train_labels": lambda values: linear_probe(SCORES, values, SCORES, [3, 1, 0, 2]),
    "test_labels": lambda values: linear_probe(SCORES, [3, 1, 0, 2], SCORES, values),
    "labels of embedding_map": lambda values: embedding_map(torch.eye(4), values)["labels"],
    "at": lambda values: sorted(retrieval(SCORES, SCORES, at=values).recall),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_form_of_integers_is_accepted(place):
    expected = PLACES[place]([3, 1, 0, 2])
    for name, form in FORMS.items():
        assert PLACES[place](form([3, 1, 0, 2])) == expected, name


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("wrong", WRONG)
def test_values_that_are_not_integers_raise_with_the_name_of_the_argument(place, wrong):
    values = WRONG[wrong]([3, 1, 0, 2])
    with pytest.raises(MMCLError) as caught:
        PLACES[place](values)
    name = place.split()[-1] if place in ("purged rows", "grown labels") else place.split()[0]
    assert name in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_labels_of_a_data_set_may_be_a_tensor(form):
    made = class_incremental(Said(FORMS[form]), Said(FORMS[form]), 2, class_order=[3, 1, 0, 2])
    assert made.description["train_sizes"] == [4, 4]
    assert class_embeddings(torch.eye(3), FORMS[form]([1, 2])).shape == (2, 3)


def test_names_are_kept_and_ranges_are_sequences():
    assert _stream(class_order=["d", 1, np.int64(0), torch.tensor(2)])["class_order"] == [3, 1, 0, 2]
    assert _stream(class_order=np.array(["d", "b", "a", "c"]))["class_order"] == [3, 1, 0, 2]
    assert Selection(Said(), range(2, 4)).rows == [2, 3]


@pytest.mark.parametrize("values", [3, 2.5, None, "012", b"12", {1: 2}, torch.tensor(3), object()])
def test_values_that_are_not_sequences_raise(values):
    with pytest.raises(InputError, match="digits "):
        whole_numbers(values, "digits")


def test_digits_of_mnist(data_dir):
    expected = Mnist(data_dir / "MNIST", "test", digits=[3, 5]).labels
    for form in FORMS.values():
        assert Mnist(data_dir / "MNIST", "test", digits=form([3, 5])).labels == expected
    with pytest.raises(MMCLError, match="digits.*3.0"):
        Mnist(data_dir / "MNIST", "test", digits=[3.0])


@pytest.mark.parametrize(("labels", "value"), [([0, -2], "-2"), ([0.5], "0.5"), (["a"], "'a'")])
def test_a_label_that_is_no_class_raises(labels, value):
    with pytest.raises(LabelError, match=value):
        class_labels(labels)
    assert class_labels(torch.tensor([2, 0])) == [2, 0] and class_labels([]) == []
