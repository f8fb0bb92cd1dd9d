"""Slow references of importances: one sample at a time, in float64."""

from copy import deepcopy

import torch

from mmcl.data.avalanche_streams import rows_of


def per_sample_mean(model, data, experience, loss, size):
    """Mean over samples of ``size(gradient)`` by parameter name, with a float64 copy of the model."""
    model, rows = deepcopy(model).double().eval(), rows_of(experience)
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    totals = {name: torch.zeros_like(each) for name, each in trained.items()}
    for row in rows:
        batch = data.batch(torch.tensor([row]))
        batch["features"] = batch["features"].double()
        model.zero_grad()
        loss(model(batch).logits[0], int(batch["label"])).backward()
        for name, each in trained.items():
            if each.grad is not None:
                totals[name] += size(each.grad)
    return {name: total / len(rows) for name, total in totals.items()}


def penalty_of(importance, anchor, parameters):
    """Sum of importance times squared change, in float64; parameters that have grown count up to their former size."""
    total = 0.0
    for name, weights in importance.items():
        value = parameters[name].detach().double()[: len(weights)]
        total += float((weights.double() * (value - anchor[name].double()).square()).sum())
    return total


def values_of(strategy):
    """The trained parameters of a strategy's model by name, as copies."""
    return {name: each.detach().clone() for name, each in strategy.model.named_parameters() if each.requires_grad}


def close(found, expected):
    """Check that two dicts of tensors are equal up to rounding in float32, without names whose values are 0."""
    expected = {name: each for name, each in expected.items() if each.any()}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(float(value.abs().max()) if value.numel() else 0.0, 1e-12)
        torch.testing.assert_close(found[name].double() / scale, value.double() / scale, rtol=1e-3, atol=2e-5)
