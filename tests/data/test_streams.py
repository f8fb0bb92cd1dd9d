import pytest

from mmcl.data import Barista, SpokenDigits, class_incremental
from mmcl.data.streams import arrival_groups
from mmcl.errors import StreamError


@pytest.fixture(scope="module")
def orders(data_dir):
    return Barista(data_dir / "barista", "train"), Barista(data_dir / "barista", "test")


def test_classes_arrive_once_and_all_their_samples_with_them(orders):
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


def test_order_depends_on_the_seed_alone(orders):
    first, same, other = (class_incremental(*orders, seed=seed).description for seed in (0, 0, 1))
    assert first == same and first["class_order"] != other["class_order"]


def test_the_record_says_who_came_when(orders):
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    record = class_incremental(*orders, experiences=5, class_order=order).description
    assert record["class_order"] == order
    assert record["experiences"][0] == [orders[0].classes[3], orders[0].classes[1]]
    assert sum(record["train_sizes"]) == len(orders[0]) and sum(record["test_sizes"]) == len(orders[1])


def test_a_sample_of_the_stream_is_that_of_the_data_set(orders):
    experience = class_incremental(*orders).train_stream[1]
    sample = experience.dataset[2]
    assert sample["id"] == orders[0].utterances[experience.dataset.rows[2]].id


def test_initial_takes_the_first_group():
    assert [len(group) for group in arrival_groups(range(31), 6, initial=6)] == [6, 5, 5, 5, 5, 5]
    assert [len(group) for group in arrival_groups(range(31), 3, initial=11)] == [11, 10, 10]
    assert arrival_groups(range(3), 1, initial=3) == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"experiences": 11}, "experiences is 11 for 10 classes, expected 1 to 10"),
        ({"experiences": 0}, "experiences is 0 for 10 classes"),
        ({"experiences": 3, "initial": 3}, "initial is 3 of 10 classes, which leaves 7 for 2 experiences"),
        ({"experiences": 2, "initial": 10}, "initial is 10 of 10 classes, which leaves 0 for 1 experiences"),
        ({"class_order": [0, 0, 1, 2, 3, 4, 5, 6, 7, 10]}, r"missing \[8, 9\], unknown or repeated \[0, 10\]"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(orders, settings, message):
    with pytest.raises(StreamError, match=message):
        class_incremental(*orders, **settings)


def test_data_sets_that_do_not_go_together_are_refused(orders, data_dir):
    digits = SpokenDigits(data_dir / "fsdd", "test")
    with pytest.raises(StreamError, match="take both from one data set"):
        class_incremental(orders[0], digits)


def test_a_class_without_samples_is_named(orders, data_dir):
    test = Barista(data_dir / "barista", "test")
    test.utterances = [utterance for utterance in test.utterances if utterance.label != 4]
    test.labels = [utterance.label for utterance in test.utterances]
    with pytest.raises(StreamError, match=f"class '{test.classes[4]}' has 0 samples in test"):
        class_incremental(orders[0], test)
