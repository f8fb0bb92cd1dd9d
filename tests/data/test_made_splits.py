from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcl.data.made_splits import by_class, by_speaker
from mmcl.errors import DataError


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), min_size=1, max_size=60), st.integers(0, 3))
def test_units_stay_in_one_split_in_any_order(pairs, seed):
    labels, units = [label for label, _ in pairs], [f"{label}{unit}" for label, unit in pairs]
    drawn = by_class(labels, units, ["valid", "test"], seed)
    split_of = dict(zip(units, drawn, strict=True))
    assert all(split_of[unit] == split for unit, split in zip(units, drawn, strict=True))
    assert by_class(labels[::-1], units[::-1], ["valid", "test"], seed) == drawn[::-1]
    for label in set(labels):
        own = {unit: split for unit, split in split_of.items() if unit[0] == label}
        assert "train" in own.values() and (len(own) < 2 or "test" in own.values())


def test_shares_of_each_class():
    labels = ["a"] * 100 + ["b"] * 50
    counts = Counter(zip(labels, by_class(labels, [str(n) for n in range(150)], ["valid", "test"], 0), strict=True))
    assert [counts["a", split] for split in ("train", "valid", "test")] == [70, 10, 20]
    assert [counts["b", split] for split in ("train", "valid", "test")] == [35, 5, 10]


@pytest.mark.parametrize("missing", [["test"], ["valid"], ["valid", "test"]])
@pytest.mark.parametrize("count", [3, 4, 20, 97])
def test_no_speaker_is_in_two_splits(missing, count):
    speakers = [f"s{number % count}" for number in range(5 * count)]
    drawn = by_speaker(["x"] * len(speakers), speakers, missing, 0)
    split_of = dict(zip(speakers, drawn, strict=True))
    assert [split_of[name] for name in speakers] == drawn and set(drawn) == {"train", *missing}
    if count > 9:
        assert all(abs(drawn.count(each) / len(drawn) - {"valid": 0.1, "test": 0.2}[each]) < 0.06 for each in missing)


def test_classes_are_covered_if_possible():
    speakers = [f"s{number}" for number in range(12) for _ in range(2)]
    labels = [label for number in range(12) for label in ("ab" if number < 3 else "ac" if number < 6 else "bc")]
    drawn = by_speaker(labels, speakers, ["test"], 0)
    assert {label for label, split in zip(labels, drawn, strict=True) if split == "test"} == set("abc")


def test_too_few_speakers():
    with pytest.raises(DataError, match="2 speakers, expected at least 3"):
        by_speaker(["x", "x"], ["a", "b"], ["valid", "test"], 0)
