"""Arrays and lists in place of tensors are one typed error, in every objective, metric, encoder and model."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import torch
from torch import nn

import mmcl.metrics
import mmcl.objectives
from mmcl.arguments import require_batch, takes_tensors
from mmcl.batch import Batch, collate
from mmcl.encoders import build_encoder
from mmcl.errors import InputError, ShapeError
from mmcl.models import ImageClassifier, MultimodalClassifier, SLUClassifier, TensorClassifier, TwoTower
from mmcl.models.heads.growing import GrowingHead
from mmcl.models.vae import RepresentationVAE
from mmcl.objectives import Objective
from mmcl.rationales import distill_rationales  # noqa: F401  # the folder's modules must be importable

WRONG = {"array": lambda tensor: tensor.numpy(), "list": lambda tensor: tensor.tolist()}
every_form = pytest.mark.parametrize("form", WRONG)


def tensor_arguments(function):
    """Names of the arguments that are annotated as tensors, and are not labels, flags or indices."""
    names = ("labels", "is_anchor", "is_rehearsal", "is_support", "is_target", "permutation", "rows")
    return [
        name
        for name, argument in inspect.signature(function).parameters.items()
        if "Tensor" in str(argument.annotation) and name not in (*names, "self")
    ]


def functions_of(package):
    """Public functions of a package's modules that take tensors."""
    names = [f"{package.__name__}.{each.name}" for each in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(name) for name in names]
    found = {}
    for module in modules:
        for name, value in vars(module).items():
            own = inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
            if own and tensor_arguments(value):
                found[f"{module.__name__}.{name}"] = value
    return found


OBJECTIVES = {
    name: getattr(mmcl.objectives, name)
    for name in mmcl.objectives.__all__
    if inspect.isclass(getattr(mmcl.objectives, name)) and issubclass(getattr(mmcl.objectives, name), Objective)
}
OBJECTIVES.pop("Objective")
# Temperatures may be numbers; gradients and kernels check what their callers pass.
EXPORTED = {name: getattr(mmcl.objectives, name) for name in mmcl.objectives.__all__}
FUNCTIONS = {
    name: function
    for name, function in {
        **functions_of(mmcl.metrics),
        **functions_of(mmcl.objectives),
        **{name: value for name, value in EXPORTED.items() if inspect.isfunction(value)},
    }.items()
    if ".temperature." not in name
}


def call_with_wrong(function, wrong, convert):
    """Call a function with tensors, except for one argument."""
    arguments = {}
    for name, argument in inspect.signature(function).parameters.items():
        if name == "self":
            continue
        if "Tensor" in str(argument.annotation) and name not in ("labels", "temperature"):
            arguments[name] = torch.ones(3, 4)
        elif argument.default is inspect.Parameter.empty:
            arguments[name] = [0, 1, 0]
    arguments[wrong] = convert(torch.ones(3, 4))
    return function(**arguments)


@every_form
@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_refuse_what_is_no_tensor(name, form):
    objective = OBJECTIVES[name]()
    arguments = tensor_arguments(objective.forward)
    assert arguments
    for argument in arguments:
        with pytest.raises(InputError, match=rf"{argument}.*torch\.as_tensor\({argument}"):
            call_with_wrong(objective, argument, WRONG[form]) if argument != "views" else objective(
                [WRONG[form](torch.ones(3, 4))] * 2
            )


@every_form
@pytest.mark.parametrize("name", FUNCTIONS)
def test_metrics_and_losses_refuse_what_is_no_tensor(name, form):
    for argument in tensor_arguments(FUNCTIONS[name]):
        if argument in ("temperature",):
            continue
        with pytest.raises(InputError, match=rf"{argument}.*torch\.as_tensor"):
            call_with_wrong(FUNCTIONS[name], argument, WRONG[form])


def test_every_metric_of_tensors_is_covered():
    assert len([name for name in FUNCTIONS if name.startswith("mmcl.metrics")]) >= 13
    assert len(OBJECTIVES) >= 12


ENCODERS = {
    "audio": ("cnn", {}, torch.zeros(2, 1600)),
    "image": ("cnn", {"dim": 8}, torch.rand(2, 1, 8, 8)),
    "tabular": ("mlp", {"features": 3, "dim": 4}, torch.rand(2, 3)),
}


@every_form
@pytest.mark.parametrize("modality", ENCODERS)
def test_encoders_refuse_what_is_no_tensor(modality, form):
    name, settings, inputs = ENCODERS[modality]
    encoder = build_encoder(modality, name, **settings)
    with pytest.raises(InputError, match=r"inputs .*torch\.as_tensor\(inputs\)"):
        encoder(WRONG[form](inputs))
    with pytest.raises(InputError, match=rf"batch\['{modality}'\].*torch\.as_tensor"):
        encoder.view_features(Batch({modality: WRONG[form](inputs)}), modality)
    if modality == "audio":
        with pytest.raises(InputError, match=r"lengths .*torch\.as_tensor\(lengths\)"):
            encoder(inputs, WRONG[form](torch.tensor([1600, 800])))


@pytest.mark.parametrize("texts", ["lights on", np.zeros(2), 3])
def test_text_encoders_refuse_what_is_no_list_of_texts(texts):
    with pytest.raises(ShapeError, match="list of str"):
        build_encoder("text", "words", dim=8)(texts)


def models():
    audio, text = build_encoder("audio", "cnn"), build_encoder("text", "words", dim=8)
    classifier = SLUClassifier(audio, hidden=4)
    classifier.grow([0, 1])
    views = MultimodalClassifier({"mrna": build_encoder("tabular", "mlp", features=3, dim=4)}, hidden=4)
    views.grow([0, 1])
    towers = TwoTower(audio, text, dim=8)
    return {
        "SLUClassifier": (classifier, "audio", torch.zeros(2, 1600)),
        "ImageClassifier": (ImageClassifier(), "image", torch.rand(2, 1, 28, 28)),
        "MultimodalClassifier": (views, "mrna", torch.rand(2, 3)),
        "TensorClassifier": (TensorClassifier(nn.Linear(4, 2)), "features", torch.rand(2, 4)),
        "TwoTower": (lambda batch: towers(batch, Batch(text=["on", "off"])), "audio", torch.zeros(2, 1600)),
        "Tower": (towers.first, "audio", torch.zeros(2, 1600)),
    }


@every_form
@pytest.mark.parametrize("name", models())
def test_models_refuse_what_is_no_batch_of_tensors(name, form):
    model, entry, inputs = models()[name]
    with pytest.raises(InputError, match=rf"\['{entry}'\].*torch\.as_tensor"):
        model(Batch({entry: WRONG[form](inputs)}))
    for wrong in (WRONG[form](inputs), inputs):
        with pytest.raises(InputError, match=r"expected a Batch.*torch\.as_tensor"):
            model(wrong)


@every_form
def test_parts_of_models_refuse_what_is_no_tensor(form):
    head = GrowingHead(4)
    head.grow([0, 1])
    with pytest.raises(InputError, match="embedding.*torch.as_tensor"):
        head(WRONG[form](torch.ones(2, 4)))
    with pytest.raises(InputError, match="representation.*torch.as_tensor"):
        RepresentationVAE(4)(WRONG[form](torch.ones(2, 4)))
    with pytest.raises(InputError, match="pooled.*torch.as_tensor"):
        SLUClassifier(build_encoder("audio", "cnn")).standardize(WRONG[form](torch.ones(2, 64)))


def test_samples_of_arrays_are_not_collated():
    with pytest.raises(InputError, match="audio of a sample is a numpy ndarray"):
        collate([{"audio": np.zeros(4)}])
    assert collate([{"label": np.int64(1), "text": "on"}]).size == 1


def test_lists_of_words_are_valid_entries():
    require_batch({"text": ["on"], "entities": [()], "id": ["a"]})


def test_a_decorated_function_keeps_its_signature():
    def example(values: torch.Tensor, other: int = 3) -> None:
        """Return nothing."""

    assert inspect.signature(takes_tensors(example)) == inspect.signature(example)
    assert takes_tensors(example).__doc__ == "Return nothing."
