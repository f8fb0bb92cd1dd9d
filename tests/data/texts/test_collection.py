import logging

import pytest

from mmcl.data import Collection, TextPairs
from mmcl.data.fingerprint import sample_digests
from mmcl.data.texts.collection import collection_of
from mmcl.errors import DataError

DOCUMENTS = {"a": "wing", "b": "  ", "c": "heat"}
QUERIES = {"1": "of wings", "2": "of nothing", "3": " ", "4": "of heat"}


def test_empty_texts_and_queries_without_judgements_are_skipped_and_counted(caplog):
    with caplog.at_level(logging.WARNING):
        judgements = [("1", "a", 3), ("1", "b", 2), ("3", "c", 1), ("4", "c", 1), ("4", "a", 0)]
        shelf = Collection(DOCUMENTS, QUERIES, judgements)
    assert shelf.missing == {"documents": 1, "queries": 2, "judgements": 2}
    assert shelf.documents == ["wing", "heat"] and shelf.queries == ["of wings", "of heat"]
    assert shelf.judgements == [{0: 3}, {1: 1, 0: 0}]
    assert list(zip(shelf.first, shelf.second, strict=True)) == [("of wings", "wing"), ("of heat", "heat")]
    assert all(count in caplog.text for count in ("1 documents", "2 queries", "2 judgements"))


@pytest.mark.parametrize(
    ("judgements", "words"),
    [
        ([("1", "d", 1)], "document 'd'"),
        ([("9", "a", 1)], "query '9'"),
        ([("1", "a", 1), ("1", "a", 2)], "'a' for query '1' twice"),
        ([("2", "a", 0)], "no query with a relevant document"),
        ([], "no query with a relevant document"),
    ],
)
def test_unusable_judgements_are_refused(judgements, words):
    with pytest.raises(DataError, match=words):
        Collection(DOCUMENTS, QUERIES, judgements)


def test_documents_that_no_query_needs_are_part_of_the_digest():
    shelves = [Collection({"a": "wing", "c": text}, {"1": "of wings"}, [("1", "a", 1)]) for text in ("heat", "cold")]
    assert sample_digests(shelves[0]) != sample_digests(shelves[1])


def test_pairs_become_a_collection_of_their_distinct_texts():
    pairs = TextPairs(["on", "off", "on"], ["lights", "lights", "lamp"], ["music"] * 3)
    shelf = collection_of(pairs)
    assert shelf.documents == ["lights", "lamp", "music"] and shelf.judgements == [{0: 1, 1: 1}, {0: 1}]


def test_plain_texts_are_the_documents_without_queries():
    shelf = Collection({"a": "wing", "b": "heat", "c": "wing"}, {"1": "flutter"}, [("1", "a", 3)])
    assert shelf.plain_texts().texts == ["wing", "heat"]
