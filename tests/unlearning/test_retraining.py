import pytest
import torch

from mmcl.data.selection import Selection
from mmcl.errors import DataError
from mmcl.models import ImageClassifier
from mmcl.seeding import seed_everything
from mmcl.unlearning.retraining import check_classes, fine_tune, retrain, train_classifier

QUICK = {"epochs": 4, "learning_rate": 1e-3}


def test_retrain_never_saw_what_is_forgotten(learnt, remain, forget, accuracy):
    unlearnt = retrain(learnt, remain, forget, **QUICK)
    assert accuracy(unlearnt, remain) > 0.8 and accuracy(unlearnt, forget) == 0
    # It is what training from scratch gives, by whichever of the two ways the untrained model is made.
    ends = []
    for train in (
        lambda: retrain(learnt, remain, forget, fresh=ImageClassifier, **QUICK),
        lambda: train_classifier(ImageClassifier(), remain, **QUICK),
    ):
        seed_everything(5)
        ends.append(train())
    assert all(torch.equal(tensor, ends[1].state_dict()[name]) for name, tensor in ends[0].state_dict().items())


def test_fine_tune_goes_on_from_the_model(learnt, remain, forget, accuracy):
    tuned = fine_tune(learnt, remain, forget, epochs=0)
    assert all(torch.equal(tensor, tuned.state_dict()[name]) for name, tensor in learnt.state_dict().items())
    tuned = fine_tune(learnt, remain, forget, epochs=2, learning_rate=1e-3)
    assert accuracy(tuned, remain) > accuracy(learnt, remain) and not tuned.training


def test_a_single_class_is_refused(learnt, remain, forget):
    for method in (retrain, fine_tune):
        with pytest.raises(DataError, match=f"all {len(forget)} samples to remain are of class 'zero'"):
            method(learnt, forget, remain)
    check_classes(Selection(remain.source, remain.rows[:20]))
