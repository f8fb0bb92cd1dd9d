"""Tests of casting, normalization and temperature scaling."""

import pytest
import torch
from torch.nn.functional import normalize

from mmcl.errors import ShapeError
from mmcl.objectives.kernel.factors import similarity_factors


def rows(count, seed):
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.2, torch.tensor(0.2)])
def test_the_products_are_cosines_over_the_temperature(temperature):
    queries, keys = rows(3, 0), rows(4, 1)
    q, k, _ = similarity_factors(queries, keys, temperature)
    torch.testing.assert_close(q @ k.T, normalize(queries) @ normalize(keys).T / float(temperature))


def test_without_normalization_the_products_are_dot_products():
    queries, keys = rows(3, 0), rows(4, 1)
    q, k, _ = similarity_factors(queries, keys, 0.5, normalize=False)
    torch.testing.assert_close(q @ k.T, queries @ keys.T / 0.5)


@pytest.mark.parametrize("normalized", [True, False])
def test_equal_sides_share_one_tensor(normalized):
    features = rows(3, 0)
    q, k, _ = similarity_factors(features, features, 0.5, normalize=normalized, alike=True)
    expected = normalize(features) if normalized else features
    assert q is k
    torch.testing.assert_close(q @ k.T, expected @ expected.T / 0.5)


def test_one_temperature_per_query_is_allowed_only_on_request():
    features, temperature = rows(3, 0), torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64)
    q, k, _ = similarity_factors(features, features, temperature, alike=True, per_query=True)
    assert q is not k
    torch.testing.assert_close(q @ k.T, normalize(features) @ normalize(features).T / temperature[:, None])
    with pytest.raises(ShapeError, match="temperature"):
        similarity_factors(features, features, temperature)


def test_half_precision_is_cast_to_float32():
    q, k, _ = similarity_factors(rows(2, 0).half(), rows(2, 1).bfloat16(), 0.5)
    assert q.dtype == k.dtype == torch.float32
