import re
from dataclasses import fields
from pathlib import Path

import torch

from mmcl.data.attributes import DatasetAttributes, attributes_of, values_by_sample
from mmcl.data.torch_dataset import TorchDataset


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
    probe = re.compile(rf"""(getattr|hasattr)\((?!self\.output)[\w.]+, ["']({names})["']""")
    source = Path(__file__).parents[2] / "mmcl"
    assert not [path for path in source.rglob("*.py") if probe.search(path.read_text())]


def test_values_by_sample_are_strings_or_numbers_for_each_sample():
    class Data:
        labels, classes, splits = [0, 1, 0], ("a", "b", "c"), ("train", "test")
        speakers, entities, unknown = ["x", "y", "x"], [(), (), ()], ["", "", ""]
        level, features = torch.tensor([1, 2, 3]), torch.ones(3, 4)

        def __len__(self):
            return 3

    assert values_by_sample(Data()) == {"speakers": ["x", "y", "x"], "level": [1, 2, 3]}


def test_values_of_a_torch_data_set_within_its_adapter_count():
    class Rooms(torch.utils.data.Dataset):
        rooms, targets = ["hall", "car"], [0, 1]

        def __len__(self):
            return 2

        def __getitem__(self, row):
            return torch.ones(3), self.targets[row]

    assert values_by_sample(TorchDataset(Rooms())) == {"rooms": ["hall", "car"], "texts": ["0", "1"]}
