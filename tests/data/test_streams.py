import logging

import pytest

from mmcl.data import Barista, class_incremental
from mmcl.errors import StreamError


@pytest.fixture(scope="module")
def orders(data_dir):
    return Barista(data_dir / "barista", "train"), Barista(data_dir / "barista", "test")


def test_classes_and_their_samples_arrive_once(orders):
    benchmark = class_incremental(*orders, experiences=4, seed=3)
    for name, dataset in zip(("train", "test"), orders, strict=True):
        rows, arrived = [], []
        for experience in benchmark.streams[name]:
            assert {dataset.labels[row] for row in experience.dataset.rows} == set(experience.group)
            assert list(experience.dataset.targets) == [dataset.labels[row] for row in experience.dataset.rows]
            assert experience.classes_in_this_experience == set(experience.group)
            assert experience.previous_classes == set(arrived)
            rows += list(experience.dataset.rows)
            arrived += experience.group
        assert sorted(rows) == list(range(len(dataset)))
        assert sorted(arrived) == list(range(10))
    assert [len(experience.group) for experience in benchmark.train_stream] == [3, 3, 2, 2]


def test_classes_can_be_ordered_by_name(orders):
    names = sorted(orders[0].classes, reverse=True)
    record = class_incremental(*orders, class_order=names).description
    assert [name for group in record["experiences"] for name in group] == names
    assert record["class_order"] == [orders[0].classes.index(name) for name in names]
    mixed = [orders[0].classes.index(name) if place % 2 else name for place, name in enumerate(names)]
    assert class_incremental(*orders, class_order=mixed).description == record


def test_order_depends_on_seed_only(orders):
    first, same, other = (class_incremental(*orders, seed=seed).description for seed in (0, 0, 1))
    assert first == same and first["class_order"] != other["class_order"]


def test_description_records_the_stream(orders):
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    record = class_incremental(*orders, experiences=5, class_order=order).description
    assert record["class_order"] == order
    assert record["experiences"][0] == [orders[0].classes[3], orders[0].classes[1]]
    assert sum(record["train_sizes"]) == len(orders[0]) and sum(record["test_sizes"]) == len(orders[1])


def test_stream_returns_samples_of_the_data_set(orders):
    experience = class_incremental(*orders).train_stream[1]
    sample = experience.dataset[2]
    assert sample["id"] == orders[0].utterances[experience.dataset.rows[2]].id


def test_excluding_classes_keeps_the_other_experiences(orders):
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    benchmark = class_incremental(*orders, experiences=5, class_order=order, without=[1, 9])
    assert [experience.group for experience in benchmark.train_stream] == [[3], [4, 0], [5], [2, 6], [8, 7]]
    for stream in (benchmark.train_stream, benchmark.test_stream):
        labels = {label for experience in stream for label in experience.dataset.targets}
        assert labels == set(range(10)) - {1, 9}
    with pytest.raises(StreamError, match="experience 0 has no classes"):
        class_incremental(*orders, experiences=5, class_order=order, without=[3, 1])
    with pytest.raises(StreamError, match="without has label 10, expected some of 0 to 9"):
        class_incremental(*orders, without=[10])


class Commands:
    """Nine samples with five classes in three superclasses."""

    classes = ("alarm set", "alarm stop", "music play", "news read", "music stop")
    superclasses = ("alarm", "alarm", "music", "news", "music")

    def __init__(self, labels=(0, 1, 2, 3, 4, 0, 4, 2, 2)):
        self.labels = list(labels)
        self.texts = [self.classes[label] for label in labels]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"label": self.labels[index], "text": self.texts[index]}


def test_superclasses_arrive_completely():
    record = class_incremental(
        Commands(), Commands(), 3, class_order=["music", "alarm", "news"], by_superclass=True
    ).description
    assert record["experiences"] == [["music play", "music stop"], ["alarm set", "alarm stop"], ["news read"]]
    assert record["class_order"] == [2, 4, 0, 1, 3] and record["train_sizes"] == [5, 3, 1]

    benchmark = class_incremental(Commands(), Commands(), 2, seed=1, by_superclass=True)
    for name in ("train", "test"):
        for experience in benchmark.streams[name]:
            arrived = {Commands.superclasses[label] for label in experience.group}
            whole = [label for label in range(5) if Commands.superclasses[label] in arrived]
            assert (
                sorted(experience.group)
                == whole
                == sorted({experience.source.labels[r] for r in experience.dataset.rows})
            )
    orders = {
        tuple(class_incremental(Commands(), Commands(), 3, seed=seed, by_superclass=True).description["class_order"])
        for seed in range(20)
    }
    assert len(orders) == 6


def test_superclasses_are_numbered_alphabetically():
    record = class_incremental(Commands(), Commands(), 2, [2, 0, 1], initial=1, by_superclass=True).description
    assert record["experiences"] == [["news read"], ["alarm set", "alarm stop", "music play", "music stop"]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"experiences": 4}, "experiences is 4 for 3 classes, expected 1 to 3"),
        ({"class_order": ["alarm", "musik", "news"]}, r"class_order has 'musik' \(did you mean 'music'\?\)"),
        ({"class_order": ["alarm set", "music", "news"]}, "class_order has 'alarm set'"),
        ({"class_order": ["alarm", "music"]}, r"3 classes: missing \[2\]"),
    ],
)
def test_invalid_superclass_streams_raise(settings, message):
    with pytest.raises(StreamError, match=message):
        class_incremental(Commands(), Commands(), **{"experiences": 3, **settings}, by_superclass=True)


def test_classes_without_samples_in_a_superclass_are_counted(caplog):
    caplog.set_level(logging.WARNING, logger="mmcl")
    without_stop = Commands([0, 2, 3, 4])
    benchmark = class_incremental(without_stop, Commands([0, 1, 1, 2, 3, 4]), 3, by_superclass=True)
    (record,) = caplog.records
    for part in ("1 of 5 classes", "in train, first 'alarm stop'", "2 test samples count as errors"):
        assert part in record.getMessage()
    assert sum(benchmark.description["test_sizes"]) == 6 and 1 in benchmark.description["class_order"]
    caplog.clear()
    class_incremental(Commands([0, 1, 2, 3, 4]), Commands([0, 3, 4]), 3, by_superclass=True)
    (record,) = caplog.records
    for part in ("2 of 5 classes", "in test, first 'alarm stop'", "not measured"):
        assert part in record.getMessage()


def test_experience_without_samples_raises():
    order = ["news", "alarm", "music"]
    with pytest.raises(StreamError, match="experience 1 has 0 samples in train, expected at least 1: check the split"):
        class_incremental(Commands([2, 3, 4]), Commands(), 3, order, by_superclass=True)
    with pytest.raises(StreamError, match="experience 2 has 0 samples in test"):
        class_incremental(Commands(), Commands([0, 1, 3]), 3, order, by_superclass=True)
