"""Listing of settings with dotted keys, types, defaults and descriptions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmcl.config.listing import list_settings
from mmcl.config.model import OneOrMore, StrictModel


class Optimizer(StrictModel):
    name: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(1e-3, gt=0, description="step size")


class Config(StrictModel):
    root: str
    optimizer: Optimizer = Optimizer(name="sgd")
    seeds: OneOrMore[int] = (0,)
    class_order: tuple[str, ...] | None = None
    dropout: bool = False


def test_settings_of_sections_are_listed_with_dotted_keys() -> None:
    listed = {setting.key: setting for setting in list_settings(Config)}
    assert list(listed)[:3] == ["root", "optimizer.name", "optimizer.learning_rate"]
    assert listed["optimizer.learning_rate"].description == "step size"
    assert listed["optimizer.name"].type == "adam | sgd"
    assert (listed["seeds"].type, listed["seeds"].default) == ("[int, ...]", "[0]")
    assert (listed["class_order"].type, listed["class_order"].default) == ("[str, ...] | none", "none")
    assert (listed["dropout"].type, listed["dropout"].default) == ("bool", "false")


def test_listed_defaults_are_those_of_the_config() -> None:
    listed = {setting.key: setting.default for setting in list_settings(Config)}
    assert (listed["optimizer.name"], listed["root"]) == ("sgd", "required")
