"""Groups of runs with comparable results."""

from __future__ import annotations

from typing import Any

import pytest

from mmcl.config.model import StrictModel
from mmcl.reports.groups import comparable_groups
from mmcl.runs.run import Run


class Data(StrictModel):
    name: str = "fsdd"
    root: str | None = None
    options: dict[str, Any] = {}


class Config(StrictModel):
    data: Data = Data()
    experiences: int = 5
    epochs: int = 1
    stream: dict[str, Any] | None = None


class Samples:
    classes, texts = ("a", "b"), ["a", "b"]

    def __init__(self, labels):
        self.labels, self.arrays = labels, [labels]

    def __len__(self):
        return len(self.labels)


@pytest.fixture
def make(tmp_path):
    def create(name, task="slu", samples=None, **settings):
        with Run.create(task, Config(**settings), tmp_path / name) as run:
            if samples is not None:
                run._data.note("train", Samples(samples))
        return run

    return create


def headings(*runs):
    return [(group.heading, [run.folder.name for run in group.runs]) for group in comparable_groups(runs)]


def test_runs_of_other_methods_are_one_group(make):
    assert headings(make("a"), make("b", epochs=9), make("c", data={"root": "/elsewhere"})) == [("", ["a", "b", "c"])]
    assert headings() == []


@pytest.mark.parametrize(
    ("other", "own", "differs"),
    [
        ({"data": {"name": "barista"}}, "data.name=fsdd", "data.name=barista"),
        ({"data": {"options": {"size": 8}}}, "data.options.size=none", "data.options.size=8"),
        ({"experiences": 2}, "experiences=5", "experiences=2"),
        ({"task": "text"}, "task=slu", "task=text"),
        ({"stream": {"experiences": 2, "epochs": 3}}, "stream.experiences=none", "stream.experiences=2"),
    ],
)
def test_groups_are_named_by_what_differs(make, other, own, differs):
    assert headings(make("a"), make("b", **other), make("c")) == [(own, ["a", "c"]), (differs, ["b"])]


def test_files_of_the_user_are_told_apart_by_path(make):
    first, second = (make(name, data={"name": "table", "root": f"{name}.csv"}) for name in "ab")
    assert headings(first, second) == [("data.root=a.csv", ["a"]), ("data.root=b.csv", ["b"])]


def test_changed_samples_are_other_data(make):
    runs = [make("a", samples=[0, 1]), make("old"), make("b", samples=[1, 1]), make("c", samples=[0, 1])]
    (first, others), (second, changed) = headings(*runs)
    assert others == ["a", "old", "c"] and changed == ["b"]
    assert first.startswith("data, content ") and second.startswith("data, content ") and first != second
