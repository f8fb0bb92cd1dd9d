"""Config sections made from signatures."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
from pydantic import ValidationError

from mmcl.config import signature
from mmcl.config.listing import list_settings
from mmcl.config.model import StrictModel
from mmcl.config.numbers import Count
from mmcl.config.signature import arguments_of, section_of

MODULE = '''
from typing import Literal
from mmcl.config.numbers import Count, NonNegative, Positive, Share

Kind = Literal["literal", "proper"]

class Made:
    """Something with settings.

    Args:
        weight: weight of the first term,
            0 to leave it out.
        temperature: softness of both terms.
        kind: ``"literal"``, or as in :class:`~mmcl.objectives.NSPTLoss`.
    """

    def __init__(
        self, model, weight: NonNegative = 0.1, temperature: Positive | None = None, *, kind: Kind = "literal",
        length: Count = 3, share: Share = 0.5, offset: float = -10.0, many: tuple[int, ...] = (1, 2),
    ) -> None: ...
'''


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Path of a module ``mmcl.made`` with the class above."""
    (tmp_path / "__init__.py").touch()
    (tmp_path / "made.py").write_text(MODULE)
    parse = signature._parse
    monkeypatch.setattr(
        signature,
        "_parse",
        lambda name: parse(name) if name != "mmcl.made" else signature.ast.parse((tmp_path / "made.py").read_text()),
    )
    signature.arguments_of.cache_clear()
    yield tmp_path / "made.py"
    signature.arguments_of.cache_clear()


def test_a_section_has_the_types_defaults_and_descriptions_of_the_signature(made):
    @section_of("mmcl.made:Made", without=("model",))
    class Section(StrictModel):
        """A section."""

        share: float = 0.25

    assert Section().model_dump() == {
        "share": 0.25,
        "weight": 0.1,
        "temperature": None,
        "kind": "literal",
        "length": 3,
        "offset": -10.0,
        "many": (1, 2),
    }
    listed = {each.key: each for each in list_settings(Section)}
    assert listed["weight"].description == "weight of the first term, 0 to leave it out"
    assert listed["kind"].type == "literal | proper"
    assert listed["kind"].description == "literal, or as in NSPTLoss"  # without markup
    assert Section.__doc__ == "A section."


@pytest.mark.parametrize(
    "wrong", [{"weight": -1}, {"temperature": 0}, {"kind": "other"}, {"length": 0}, {"length": 1.5}, {"unknown": 1}]
)
def test_values_outside_the_signature_raise(made, wrong):
    @section_of("mmcl.made:Made", without=("model",))
    class Section(StrictModel): ...

    with pytest.raises(ValidationError):
        Section(**wrong)


def test_a_section_follows_a_changed_default(made):
    made.write_text(MODULE.replace("NonNegative = 0.1", "NonNegative = 0.7"))

    @section_of("mmcl.made:Made", without=("model",))
    class Section(StrictModel): ...

    assert Section().model_dump()["weight"] == 0.7
    assert next(each.default for each in list_settings(Section) if each.key == "weight") == "0.7"


def test_arguments_without_annotation_and_unknown_classes_raise(made):
    with pytest.raises(TypeError, match="annotation"):
        arguments_of("mmcl.made:Made")
    with pytest.raises(TypeError, match=r"mmcl\.made:Other"):
        arguments_of("mmcl.made:Other")


def test_parsed_arguments_equal_those_that_inspect_finds():
    from mmcl.models.heads import HeadOptions

    parsed = arguments_of("mmcl.models.heads.projection:HeadOptions")
    assert {name: each.default for name, each in parsed.items()} == {
        name: each.default for name, each in inspect.signature(HeadOptions).parameters.items()
    }
    assert parsed["hidden"].type is Count


def test_arguments_are_read_without_importing_the_module():
    code = (
        "import sys; from mmcl.config.signature import arguments_of; "
        "print(arguments_of('mmcl.strategies.coconut:Coconut')['mm_weight'].default, "
        "{'torch', 'avalanche', 'mmcl.strategies'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "0.1 set()", done.stderr
