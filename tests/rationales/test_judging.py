import pytest
import torch

from mmcl.rationales.judging import separation


class Judge:
    """Discriminator that scores texts by a function."""

    def __init__(self, by):
        self.by = by

    def score(self, questions, rationales):
        return torch.tensor([float(self.by(text)) for text in rationales])


def test_separation_equals_the_auc_of_known_scores(svamp):
    wrong = {each.rationales[1].text for each in svamp if each.rationales[1].answer is not None
             and svamp.same(each.rationales[1].answer) != svamp.same(each.label)}  # fmt: skip
    assert wrong
    right = separation(Judge(lambda text: "<unk>" not in text and text not in wrong), svamp, share=1.0)
    assert right["AUC, wrong"] == 1.0 and right["AUC, corrupted"] > 0.9
    assert separation(Judge(lambda text: 0.5), svamp) == {"AUC, corrupted": 0.5, "AUC, wrong": 0.5}
    assert separation(Judge(lambda text: text in wrong), svamp)["AUC, wrong"] == pytest.approx(0.0)
