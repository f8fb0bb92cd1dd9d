"""Each kind of mistake gives one message with the key as written, the value, and the nearest valid name."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from mmcl.config.faults import fault_messages
from mmcl.config.model import OneOrMore, StrictModel


class Split(Enum):
    TRAIN = "train"
    TEST = "test"


class Cnn(StrictModel):
    name: Literal["cnn"] = "cnn"
    channels: int = Field(64, gt=0)


class Hub(StrictModel):
    name: Literal["hub"] = "hub"
    folder: str = "weights"


class Config(StrictModel):
    encoder: Annotated[Cnn | Hub, Field(discriminator="name")] = Cnn()
    encoders: tuple[Cnn, ...] = ()
    either: Cnn | Hub = Cnn()
    strategy: OneOrMore[Literal["naive", "replay", "coconut"]] = ("naive",)
    mode: Literal["literal", "proper"] | None = None
    layers: Literal[1, 2] = 1
    split: Split = Split.TRAIN
    order: tuple[str, ...] = Field((), max_length=2)
    sizes: dict[str, int] = {}
    experiences: int = Field(5, ge=1, le=10)
    rate: float = 1.0
    root: str


@pytest.mark.parametrize(
    ("data", "key", "message"),
    [
        ({"experience": 5}, "experience", "unknown key, did you mean 'experiences'?"),
        ({"Rate": 1}, "Rate", "unknown key, did you mean 'rate'?"),
        ({"channels": 5}, "channels", "unknown key, did you mean 'encoder.channels'?"),
        ({"encoder": {"name": "cnn", "chanels": 1}}, "encoder.chanels", "unknown key, did you mean 'channels'?"),
        ({"encoder": {"name": "cnn", "zzz": 1}}, "encoder.zzz", "unknown key, expected one of name, channels"),
        ({"encoder": {"name": "hub", "fodler": 1}}, "encoder.fodler", "unknown key, did you mean 'folder'?"),
        ({"encoder": {"name": "cnnn"}}, "encoder.name", "'cnnn' is not one of cnn, hub; did you mean 'cnn'?"),
        ({"encoder": {"channels": 3}}, "encoder.name", "missing, expected a value"),
        ({"encoder": "cnn"}, "encoder", "'cnn' should be a valid section"),
        ({"encoders": [{"channels": 1}, {"channels": 0}]}, "encoders[1].channels", "0 should be greater than 0"),
        ({"encoders": [{"channel": 1}]}, "encoders[0].channel", "unknown key, did you mean 'channels'?"),
        (
            {"strategy": "coconutt"},
            "strategy",
            "'coconutt' is not one of naive, replay, coconut; did you mean 'coconut'?",
        ),
        ({"strategy": ["naive", "x"]}, "strategy[1]", "'x' is not one of naive, replay, coconut"),
        ({"mode": "porper"}, "mode", "'porper' is not one of literal, proper; did you mean 'proper'?"),
        ({"layers": 3}, "layers", "3 is not one of 1, 2"),
        ({"split": "tset"}, "split", "'tset' is not one of train, test; did you mean 'test'?"),
        ({"order": "abc"}, "order", "'abc' should be a valid list"),
        ({"order": ["a", 1]}, "order[1]", "1 should be a valid string"),
        (
            {"order": ["a", "b", "c"]},
            "order",
            "['a', 'b', 'c']: list should have at most 2 items, has 3",
        ),
        ({"sizes": {"a": "b"}}, "sizes.a", "'b' should be a valid integer"),
        ({"experiences": 11}, "experiences", "11 should be less than or equal to 10"),
        ({"experiences": 2.5}, "experiences", "2.5 should be a valid integer"),
        ({"experiences": True}, "experiences", "'true' should be a valid integer"),
        ({"rate": "fast"}, "rate", "'fast' should be a valid number"),
        ({"rate": "f" * 100}, "rate", f"'{'f' * 56}... should be a valid number"),
    ],
)
def test_one_mistake_gives_one_message(data: dict[str, Any], key: str, message: str) -> None:
    assert messages_for(data | {"root": "x"}) == {key: message}


def messages_for(data: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationError) as error:
        Config.model_validate(data)
    return fault_messages(Config, data, error.value.errors())


def test_a_missing_key_is_named() -> None:
    assert messages_for({}) == {"root": "missing, expected a value"}


def test_messages_of_union_branches_are_merged() -> None:
    messages = messages_for({"either": {"name": "cnn", "channels": 0}, "root": "x"})
    assert messages["either.channels"].startswith("0 should be greater than 0, or unknown key")
