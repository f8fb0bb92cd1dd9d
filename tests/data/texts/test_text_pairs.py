import pytest

from mmcl.batch import collate
from mmcl.data import TextPairs
from mmcl.data.fingerprint import sample_digests
from mmcl.data.modalities import modalities_of
from mmcl.data.texts.text_pairs import view_of
from mmcl.errors import DataError


def test_views_of_a_batch_are_its_texts():
    pairs = TextPairs(["a", "b"], ["c", "d"], ["e", "f"])
    batch = collate([pairs[0], pairs[1]])
    assert [view_of(number)(batch)["text"] for number in range(pairs.views)] == [["a", "b"], ["c", "d"], ["e", "f"]]
    assert pairs.views == 3 and modalities_of(pairs) == ("text",)


def test_scores_select_pairs_and_are_targets():
    pairs = TextPairs(["a", "b"], ["c", "d"], scores=[1.0, 5.0], sources=["x", "y"])
    chosen = pairs.at_least(2.0)
    assert (chosen.first, chosen.second, chosen.targets, chosen.sources) == (["b"], ["d"], [5.0], ["y"])
    assert len(pairs) == 2, "the source is not changed"
    with pytest.raises(DataError, match="0 text pairs"):
        pairs.at_least(6.0)
    unscored = TextPairs(["a"], ["b"])
    assert unscored.at_least(5.0) is unscored


def test_negatives_can_be_left_out():
    triples = TextPairs(["a"], ["b"], ["c"])
    assert triples.with_views(2).negatives is None and triples.with_views(3).negatives == ["c"]
    with pytest.raises(DataError, match="views is 3"):
        triples.with_views(2).with_views(3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"first": [], "second": []}, "0 text pairs"),
        ({"first": ["a"], "second": ["b", "c"]}, "1 first texts and 2 second"),
        ({"first": ["a", " "], "second": ["b", "c"]}, "pair 1 .*first"),
        ({"first": ["a"], "second": ["b"], "negatives": [""]}, "pair 0 .*negatives"),
        ({"first": ["a"], "second": ["b"], "scores": [float("nan")]}, "pair 0 .*nan"),
    ],
)
def test_unusable_pairs_are_refused(arguments, words):
    with pytest.raises(DataError, match=words):
        TextPairs(**arguments)


def test_every_text_and_score_is_part_of_a_digest():
    known = sample_digests(TextPairs(["a"], ["b"], ["c"], [1.0]))
    for other in (TextPairs(["a"], ["x"], ["c"], [1.0]), TextPairs(["a"], ["b"], ["x"], [1.0])):
        assert sample_digests(other) != known
    assert sample_digests(TextPairs(["a"], ["b"], ["c"], [2.0])) != known


def test_plain_texts_are_the_distinct_texts_of_all_columns():
    pairs = TextPairs(["on", "off"], ["lights", "on"], negatives=["music", "lights"])
    assert pairs.plain_texts().texts == ["on", "off", "lights", "music"]
