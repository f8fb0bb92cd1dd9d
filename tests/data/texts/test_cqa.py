import pytest

from mmcl.data import Cqa


@pytest.mark.parametrize(
    ("completion", "read"),
    [
        (
            "It is wet. So the answer is (b) river bank.\n\nQ: And?\nA: So the answer is (a).",
            ("It is wet.", "river bank"),
        ),
        ("So the answer is either (a) pond or (b) lake.", ("", None)),
        ("It must be a place", ("It must be a place", None)),
    ],
)
def test_completions(completion, read):
    assert Cqa.parse(completion) == read


def test_questions_list_their_choices(data_dir):
    test = Cqa(data_dir / "rationales" / "cqa", "test", size=5)
    for each in test:
        lines = each.question.splitlines()
        assert lines[-6] == "Answer Choices:" and len(each.choices) == 5 and each.label in each.choices
        assert lines[-5:] == [f"({letter}) {choice}" for letter, choice in zip("abcde", each.choices, strict=True)]
    assert len(Cqa(data_dir / "rationales" / "cqa", "train", teachers=())) == 8767
