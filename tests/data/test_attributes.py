import re
from dataclasses import fields
from pathlib import Path

from mmcl.data.attributes import DatasetAttributes, attributes_of


def test_attributes_have_defaults_and_are_read_from_any_data_set():
    class Bare:
        classes, labels, texts, lengths = ("a",), [0], ["x"], None

    class Spoken(Bare):
        superclasses, speakers = ("home",), ["ann"]

    bare, spoken = attributes_of(Bare()), attributes_of(Spoken())
    assert bare == DatasetAttributes()
    assert (bare.superclasses, bare.speakers, bare.entities, bare.lengths, bare.texts_apart) == (
        (),
        None,
        None,
        None,
        False,
    )
    assert (spoken.superclasses, spoken.speakers) == (("home",), ["ann"])


def test_only_one_function_probes_data_sets_for_attributes():
    names = "|".join(field.name for field in fields(DatasetAttributes))
    probe = re.compile(rf"""(getattr|hasattr)\([\w.]+, ["']({names})["']""")
    source = Path(__file__).parents[2] / "mmcl"
    assert not [path for path in source.rglob("*.py") if probe.search(path.read_text())]
