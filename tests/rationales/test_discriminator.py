import random

import pytest
import torch

from mmcl.errors import DataError, ShapeError
from mmcl.rationales.discriminator import Discriminator, corrupted, pretrain_discriminator
from mmcl.rationales.voting import Voted, vote_all


def test_scores_do_not_depend_on_the_batch(student):
    discriminator = Discriminator(student).eval()
    questions, rationales = ["How many?", "How many packs are there of 6?", "?"], ["4 - 3", "one", "6 and 7 and so on"]
    together = discriminator.score(questions, rationales, batch_size=2)
    alone = torch.cat([discriminator([q], [r]) for q, r in zip(questions, rationales, strict=True)])
    torch.testing.assert_close(together, alone.detach(), atol=1e-6, rtol=1e-5)
    assert ((together > 0) & (together < 1)).all()
    with pytest.raises(ShapeError, match="1 questions.* 2 rationales"):
        discriminator(["?"], ["a", "b"])


@pytest.mark.slow
def test_pretraining_separates_good_from_bad_and_keeps_the_student(student, svamp):
    before = {name: each.clone() for name, each in student.state_dict().items()}
    discriminator = Discriminator(student)
    voted, _ = vote_all(svamp)
    questions = [each.question for each in svamp]
    losses = pretrain_discriminator(discriminator, questions, voted, steps=40, batch_size=16, learning_rate=2e-3)
    assert len(losses) == 40 and sum(losses[-5:]) < sum(losses[:5]) - 1
    assert all(torch.equal(each, before[name]) for name, each in student.state_dict().items())
    draw = random.Random(5)
    good = [each.positives[0] for each in voted]
    bad = [corrupted(text, ["seven", "bus"], 0.3, draw) for text in good]
    assert discriminator.score(questions, good).mean() > discriminator.score(questions, bad).mean() + 0.2
    with pytest.raises(DataError, match="0 questions"):
        pretrain_discriminator(discriminator, ["?"], [Voted((), ("a",), None)])


def test_corrupted_changes_a_share_of_the_words():
    text = "a b c d e f g h i j"
    for share, changed in ((0.3, 3), (0.0, 1), (1.0, 10)):
        other = corrupted(text, ["x"], share, random.Random(0)).split()
        assert sum(one != two for one, two in zip(text.split(), other, strict=True)) == changed
    assert corrupted("", ["x"], 0.5, random.Random(0)) == ""
