"""Types of options, against the annotations of the function that takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mmcl.config.numbers import Count
from mmcl.config.option_types import check_option_types
from mmcl.errors import ConfigError


def build(dim: Count, share: float = 0.5, names: Sequence[str] = (), other: Any = None, plain=1) -> None: ...


class Built:
    def __init__(self, size: int | None = None) -> None: ...


@pytest.mark.parametrize(
    "options", [{"dim": 3}, {"dim": 3.0, "share": 1}, {"names": ["a"]}, {"other": object(), "plain": "x"}, {"new": 1}]
)
def test_valid_options_pass(options):
    check_option_types(build, options, "encoder cnn")


@pytest.mark.parametrize("options", [{"dim": "wide"}, {"dim": 0}, {"dim": 2.5}, {"share": None}, {"names": 3}])
def test_other_types_and_ranges_are_refused(options):
    ((name, value),) = options.items()
    with pytest.raises(ConfigError) as error:
        check_option_types(build, options, "encoder cnn")
    assert all(word in str(error.value) for word in (name, repr(value), "encoder cnn"))


def test_the_options_of_a_class_are_those_of_its_constructor():
    check_option_types(Built, {"size": None}, "set")
    with pytest.raises(ConfigError, match="size.*'x'"):
        check_option_types(Built, {"size": "x"}, "set")
