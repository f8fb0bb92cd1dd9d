import pytest
import torch

from mmcl.errors import ConfigError
from mmcl.objectives.qcrd import discriminator_loss, quality_contrast
from mmcl.rationales.discriminator import Discriminator
from mmcl.rationales.lessons import Lesson
from mmcl.rationales.terms import Weights, batch_losses

LESSONS = [
    Lesson(
        "Dan had $ 4 and spent 3. How much?", "( 4.0 - 3.0 )", "4 - 3 = 1", ("4 - 3 = 1", "one is left"), ("4 + 3",)
    ),
    Lesson("43 rode, 21 are left. How many?", "( 43.0 - 21.0 )", "43 - 21 = 22", ("43 - 21 = 22",), ()),
    Lesson("How many packs?", "( 6.0 * 7.0 )", "", (), ("6 + 7",)),
]


def one(student, prefix, question, text):
    """Loss of a single text."""
    return student(student.batch([prefix + question], [text])).losses[0]


def test_terms_equal_losses_of_single_texts(student):
    student.eval()
    predict = torch.stack([one(student, "predict: ", each.question, each.label) for each in LESSONS]).mean()
    explain = torch.stack([one(student, "explain: ", each.question, each.rationale) for each in LESSONS[:2]]).mean()
    close = {"atol": 1e-5, "rtol": 1e-5}

    def terms(method, **more):
        return batch_losses(method, student, LESSONS, [""] * 3, Weights(alpha=0.3), **more)

    assert list(terms("finetune")) == ["predict"] and terms("finetune")["predict"][1] == 1
    torch.testing.assert_close(terms("finetune")["predict"][0], predict, **close)
    dss = terms("dss")
    assert {name: weight for name, (_, weight) in dss.items()} == {"predict": 0.3, "explain": 0.7}
    torch.testing.assert_close(dss["predict"][0], predict, **close)
    torch.testing.assert_close(dss["explain"][0], explain, **close)
    assert set(terms("mi")) == {"predict", "explain", "mutual_information"} and terms("mi")["mutual_information"][0] > 0
    wholes = ["4 - 3 = 1 The answer is ( 4.0 - 3.0 )", "43 - 21 = 22 The answer is ( 43.0 - 21.0 )",
              "The answer is ( 6.0 * 7.0 )"]  # fmt: skip
    single = torch.stack([one(student, "", each.question, text) for each, text in zip(LESSONS, wholes, strict=True)])
    torch.testing.assert_close(terms("single_task")["single_task"][0], single.mean(), **close)


def test_contrast_equals_losses_and_scores_of_single_rationales(student):
    torch.manual_seed(1)
    discriminator = Discriminator(student).eval()
    student.eval()
    sampled = ["so it is 9", "", ""]
    good = [each.positives for each in LESSONS]
    bad = [("4 + 3", "so it is 9"), (), ("6 + 7",)]
    losses, scores, masks = [], [], []
    for side in (good, bad):
        size = max(map(len, side))
        loss, score, mask = torch.zeros(3, size), torch.zeros(3, size), torch.zeros(3, size, dtype=torch.bool)
        for row, texts in enumerate(side):
            for place, text in enumerate(texts):
                loss[row, place] = one(student, "explain: ", LESSONS[row].question, text).detach()
                score[row, place] = discriminator([LESSONS[row].question], [text])[0].detach()
                mask[row, place] = True
        losses.append(loss)
        scores.append(score)
        masks.append(mask)
    terms = batch_losses("qcrd", student, LESSONS, sampled, Weights(margin=9.0), discriminator=discriminator, epoch=2)
    expected = quality_contrast(*losses, *scores, *masks, margin=9.0)
    torch.testing.assert_close(terms["contrast"][0], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(terms["discriminate"][0], discriminator_loss(*scores, *masks), atol=1e-5, rtol=1e-5)
    weights = {name: weight for name, (_, weight) in terms.items()}
    assert weights == {"predict": 0.5, "contrast": 0.5, "discriminate": pytest.approx(0.5 * 0.81)}


def test_lessons_without_rationales(student):
    bare = [Lesson("How many?", "( 1.0 + 1.0 )", "", (), ())]
    assert list(batch_losses("dss", student, bare, [""], Weights())) == ["predict"]
    terms = batch_losses("qcrd", student, bare, [""], Weights(), discriminator=Discriminator(student))
    assert terms["contrast"][0] == 0 and terms["discriminate"][0] == 0


def test_qcrd_without_a_discriminator_is_refused(student):
    with pytest.raises(ConfigError, match="qcrd needs a discriminator"):
        batch_losses("qcrd", student, LESSONS, ["", "", ""], Weights())
