"""Groups of classes by experience: sizes, and errors that name the setting."""

import pytest

from mmcl.data import Barista, SpokenDigits
from mmcl.data.class_groups import arrival_groups, class_groups
from mmcl.errors import StreamError


@pytest.fixture(scope="module")
def orders(data_dir):
    return Barista(data_dir / "barista", "train"), Barista(data_dir / "barista", "test")


def test_initial_sets_the_size_of_the_first_group():
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
        (
            {"class_order": ["late", *range(9)]},
            r"class_order has 'late' \(did you mean 'latte'\?\)",
        ),
        (
            {"by_superclass": True},
            "no superclasses: .*by_superclass=False",
        ),
        ({"class_order": [0, 0, 1, 2, 3, 4, 5, 6, 7, 10]}, r"missing \[8, 9\], unknown or repeated \[0, 10\]"),
    ],
)
def test_invalid_streams_raise(orders, settings, message):
    with pytest.raises(StreamError, match=message):
        class_groups(*orders, **settings)


def test_different_classes_raise(orders, data_dir):
    digits = SpokenDigits(data_dir / "fsdd", "test")
    with pytest.raises(StreamError, match="'americano'.*'zero'"):
        class_groups(orders[0], digits)


def test_error_names_a_class_without_samples(orders, data_dir):
    test = Barista(data_dir / "barista", "test")
    test.utterances = [utterance for utterance in test.utterances if utterance.label != 4]
    test.labels = [utterance.label for utterance in test.utterances]
    with pytest.raises(StreamError, match=f"class '{test.classes[4]}' has 0 samples in test"):
        class_groups(orders[0], test)
