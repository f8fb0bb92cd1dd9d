import shutil
import sys

import pytest

from mmcl.data.synthesis.spoken_texts import read_texts, texts_digest
from mmcl.errors import DataError, MissingDataError


def test_texts_are_distinct_and_exclude_test_sentences(text_root, sentences):
    texts = read_texts(("slurp", "commonsense_qa"), text_root)
    assert texts["slurp"] == [*sentences, "news"]
    assert texts["commonsense_qa"] == ["What makes tea?", "kettle", "a cat"]  # "news" is a duplicate, 42 is not a word


def test_words_have_three_letters_or_more(text_root):
    texts = read_texts(("slurp", "varied", "vocabulary"), text_root)
    assert {"seven", "door"} <= set(texts["varied"]) and texts["vocabulary"] == texts["varied"]
    assert all(word.isalpha() and word.islower() and len(word) > 2 for word in texts["vocabulary"])
    assert "news" not in texts["vocabulary"] and 46_000 < len(texts["vocabulary"]) < 48_000


def test_digest_distinguishes_texts():
    assert texts_digest({"slurp": ["a"]}) == texts_digest({"slurp": ["a"]}) != texts_digest({"slurp": ["b"]})


def test_missing_and_damaged_texts_raise(text_root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wordfreq", None)
    with pytest.raises(MissingDataError, match=r"wordfreq.*mmcl\[synth\].*'vocabulary'"):
        read_texts(("vocabulary",), text_root)
    shutil.copytree(text_root, tmp_path / "texts")
    (tmp_path / "texts/rationales/cqa/cqa_train.json").write_text('{"question": "what?", "choices": ["a"]}\n{"q": 1}\n')
    with pytest.raises(DataError, match=r"cqa_train\.json line 2 has no 'question'"):
        read_texts(("commonsense_qa",), tmp_path / "texts")
