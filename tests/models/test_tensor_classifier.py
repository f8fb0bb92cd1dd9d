from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from plain_digits import sequential
from torch import nn

from mmcl.batch import Batch
from mmcl.errors import ConfigError, LabelError, ShapeError
from mmcl.freeze import frozen_copy
from mmcl.models import ImageClassifier, TensorClassifier
from mmcl.models.tensor_classifier import as_batch_model, input_of, logits_of, run_on_batch, takes_batches


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return Batch(features=torch.randn(5, 64), label=torch.tensor([0, 1, 2, 3, 0]))


def test_output_and_embedding_are_those_of_the_model(batch):
    plain = sequential()
    model = TensorClassifier(plain)
    output = model(batch)
    assert torch.equal(output.logits, plain(batch["features"]))
    assert torch.equal(output.embedding, plain[:3](batch["features"]))
    assert torch.equal(model.embed(batch), output.embedding)
    assert torch.equal(TensorClassifier(plain, classifier="1").embed(batch), batch["features"])


def test_classes_that_have_not_arrived_have_a_logit_of_minus_infinity(batch):
    model = TensorClassifier(sequential())
    assert model(batch).logits.isfinite().all()
    model.grow([2])
    assert model(batch).logits.isneginf().any(0).tolist() == [True, True, False, True]
    model.grow([0, 1, 3])
    assert model(batch).logits.isfinite().all()
    with pytest.raises(LabelError, match="-1"):
        model.grow([-1])


def test_a_state_restores_the_classes_that_have_arrived(batch):
    model, other = TensorClassifier(sequential()), TensorClassifier(sequential(seed=1))
    model.grow([0, 2])
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(batch).logits, model(batch).logits)


def test_a_frozen_copy_gives_the_same_embeddings(batch):
    model = TensorClassifier(sequential())
    assert torch.equal(frozen_copy(model).embed(batch), model.embed(batch))


def test_the_text_side_is_the_weight_of_the_class(batch):
    model = TensorClassifier(sequential())
    assert torch.equal(model.project_text(batch), model.model[3].weight[batch["label"]])
    embedding = model.embed(batch)
    assert model.project_audio(embedding) is embedding


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Unflatten(1, (64, 1)), nn.Conv1d(64, 4, 1), nn.Flatten()), "no nn.Linear"),
        (nn.Sequential(nn.Unflatten(1, (8, 8)), nn.Linear(8, 2), nn.Flatten()), r"input \(5, 8, 8\)"),
    ],
)
def test_embeddings_that_are_not_known_are_an_error_when_they_are_used(model, words, batch):
    output = TensorClassifier(model)(batch)
    assert output.logits.dim() == 2
    with pytest.raises(ConfigError, match=f"{words}.*classifier="):
        output.embedding  # noqa: B018


def test_wrong_outputs_and_names_are_typed_errors(batch):
    with pytest.raises(ShapeError, match=r"\(5, 8, 8\).*\(batch, classes\)"):
        TensorClassifier(nn.Unflatten(1, (8, 8)))(batch)
    with pytest.raises(ConfigError, match="'three'"):
        TensorClassifier(sequential(), classifier="three")
    with pytest.raises(ConfigError, match="'3'.*nn.Linear|classifier="):
        TensorClassifier(sequential(), classifier="2").project_text(batch)
    with pytest.raises(ConfigError, match="int"):
        logits_of(3)


def test_the_input_is_chosen_by_name_or_in_order():
    batch = Batch(image=torch.zeros(1, 2), audio=torch.ones(1, 2), text=["a"])
    assert input_of(batch) is batch["image"] and input_of(batch, "audio") is batch["audio"]
    for name in ("text", "video"):
        with pytest.raises(ConfigError, match=f"'{name}'.*input="):
            input_of(batch, name)
    with pytest.raises(ConfigError, match="features, image, audio"):
        input_of(Batch(text=["a"]))


class Annotated(nn.Module):
    def forward(self, given: Batch) -> object:
        return SimpleNamespace(logits=given["features"])


class Named(nn.Module):
    def forward(self, batch):
        return batch["features"]


class OfTensor(nn.Module):
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return batch


def test_models_of_batches_are_told_from_models_of_tensors(batch):
    for model in (Annotated(), Named(), ImageClassifier(), torch.compile(Named(), backend="eager")):
        assert takes_batches(model) and as_batch_model(model) is model
    for model in (OfTensor(), sequential(), torch.compile(sequential(), backend="eager")):
        assert not takes_batches(model) and isinstance(as_batch_model(model), TensorClassifier)
    assert torch.equal(logits_of(run_on_batch(Annotated(), batch)), batch["features"])
    assert torch.equal(run_on_batch(OfTensor(), batch), batch["features"])
