import pytest

from mmcl.data import SlurpText
from mmcl.data.speech.slurp import read_sentences
from mmcl.errors import DataError


@pytest.fixture(scope="module")
def valid(data_dir):
    return SlurpText(data_dir / "slurp", "valid")


def test_sentences_become_exercises_with_intents_as_answers(valid, data_dir):
    sentences = {each.id: each for each in read_sentences(data_dir / "slurp" / "devel.jsonl")}
    assert len(valid) == 2033 and all(each.question == sentences[each.id].text for each in valid)
    assert all(each.label == sentences[each.id].intent and each.label in each.choices for each in valid)
    assert len(valid[0].choices) == 60 and len(set(valid.superclasses)) == 18
    assert dict(zip(valid[0].choices, valid.superclasses, strict=True))["alarm set"] == "alarm"
    test = SlurpText(data_dir / "slurp", "test", size=5)
    assert len(test) == 5 and test[0].choices == valid[0].choices


def test_annotated_entities_become_rationales(valid):
    marked = [each for each in valid if each.rationales[0].text]
    assert len(marked) == 1387  # of 2,033, those with entities
    dollars = next(each for each in valid if each.question == "siri what is one american dollar in japanese yen")
    text = "american dollar is the currency name, japanese yen is the currency name."
    assert dollars.rationales[0] == (text, "qa currency", "annotation")
    assert all(each.rationales[0].answer == each.label for each in marked)
    assert valid.unparsed == {"annotation": 0} and valid.outside == {"annotation": 0}


def test_prompt_lists_the_intents(valid):
    prompt = valid.prompt("wake me at five")
    assert "wake me at five" in prompt and all(choice in prompt for choice in valid[0].choices)
    assert valid.parse("Wake me. So the answer is alarm set.\n\nQ: What?") == ("Wake me.", "alarm set")


def test_missing_files_raise(data_dir):
    with pytest.raises(DataError, match="no completions of 'annotations' .did you mean 'annotation'"):
        SlurpText(data_dir / "slurp", "valid", teachers="annotations")
    with pytest.raises(DataError, match="no split 'devel'"):
        SlurpText(data_dir / "slurp", "devel")
