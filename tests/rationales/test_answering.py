import pytest
import torch

from mmcl.data import Cqa
from mmcl.errors import ConfigError
from mmcl.models.text_to_text import TextToText
from mmcl.rationales.answering import accuracy, answers
from mmcl.rationales.lessons import PREDICT


@pytest.fixture(scope="module")
def cqa(data_dir):
    return Cqa(data_dir / "rationales" / "cqa", "valid", size=70)


def test_answers_are_the_generated_texts(student, svamp, monkeypatch):
    monkeypatch.setattr(type(student), "write", lambda self, sources, **_: ["as 1 + 1 The answer is ( 2 * 4 )"] * 40)
    assert answers(student, svamp, "single_task") == ["( 2 * 4 )"] * 40
    assert answers(student, svamp, "dss")[0].startswith("as 1 + 1")
    monkeypatch.setattr(type(student), "write", lambda self, sources, **_: [f"0 + {each.label}" for each in svamp])
    assert accuracy(student, svamp, "dss") == 1.0


def test_choose_takes_the_choice_with_the_smallest_loss(cqa):
    torch.manual_seed(0)
    student = TextToText.from_scratch([each.question for each in cqa], vocabulary=300, dim=32, layers=1, heads=2)
    student.train()
    chosen = answers(student, cqa, "dss", "choose")
    assert student.training  # the mode is restored
    student.eval()
    for each, answer in list(zip(cqa, chosen, strict=True))[::10]:
        losses = [
            float(student(student.batch([PREDICT + each.question], [choice])).losses.detach())
            for choice in each.choices
        ]
        assert answer == each.choices[losses.index(min(losses))]
    right = sum(each.label == answer for each, answer in zip(cqa, chosen, strict=True))
    assert accuracy(student, cqa, "dss", "choose") == right / 70


def test_choose_needs_choices(student, svamp, cqa):
    with pytest.raises(ConfigError, match="'choose'.*Svamp.*dss"):
        answers(student, svamp, "dss", "choose")
    with pytest.raises(ConfigError, match="Cqa.*single_task"):
        answers(student, cqa, "single_task", "choose")
