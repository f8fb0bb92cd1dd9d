from collections import Counter

from mmcl.data.synthesis.command_grammar import grammar


def test_intents_have_distinct_wordings():
    said = Counter(wording for wordings in grammar().values() for wording in wordings)
    assert len(grammar()) >= 31
    assert min(len(wordings) for wordings in grammar().values()) >= 8
    assert [wording for wording, times in said.items() if times > 1] == []
    assert all(wording.replace(" ", "").isalpha() and wording.islower() for wording in said)
    assert len({tuple(intent) for intent in grammar()}) == len(grammar()) and {len(i) for i in grammar()} == {3}


def test_choices_and_locations_are_expanded():
    assert "turn on the lights in the kitchen" in grammar()["activate", "lights", "kitchen"]
    assert not [w for wordings in grammar().values() for w in wordings if set(w) & set("(|){}") or "  " in w]
