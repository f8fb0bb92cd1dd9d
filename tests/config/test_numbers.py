"""Types of bounded numbers."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from mmcl.config import numbers

BOUNDS = {
    "Positive": ([1e-9, 3.0], [0.0, -1.0]),
    "NonNegative": ([0.0, 2.5], [-1e-9]),
    "Share": ([0.0, 1.0], [-0.1, 1.1]),
    "Probability": ([0.0, 0.99], [1.0, -0.1]),
    "Count": ([1, 10], [0, -1, 1.5]),
    "Size": ([0, 10], [-1, 0.5]),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_values_outside_the_bounds_raise(name):
    adapter, (inside, outside) = TypeAdapter(getattr(numbers, name)), BOUNDS[name]
    assert [adapter.validate_python(value) for value in inside] == inside
    for value in outside:
        with pytest.raises(ValidationError):
            adapter.validate_python(value)
