import pytest
import torch

from mmcl.data.selection import Selection
from mmcl.errors import DataError
from mmcl.models import ImageClassifier
from mmcl.seeding import seed_everything
from mmcl.unlearning.retraining import check_classes, fine_tune, retrain, train_classifier

QUICK = {"epochs": 4, "learning_rate": 1e-3}


def test_retrain_trains_from_scratch_on_remaining_samples(trained, remain, forget, accuracy):
    unlearned = retrain(trained, remain, forget, **QUICK)
    assert accuracy(unlearned, remain) > 0.8 and accuracy(unlearned, forget) == 0
    # The same as training a new model from scratch.
    ends = []
    for train in (
        lambda: retrain(trained, remain, forget, fresh=ImageClassifier, **QUICK),
        lambda: train_classifier(ImageClassifier(), remain, **QUICK),
    ):
        seed_everything(5)
        ends.append(train())
    assert all(torch.equal(tensor, ends[1].state_dict()[name]) for name, tensor in ends[0].state_dict().items())


def test_fine_tune_starts_from_the_model(trained, remain, forget, accuracy):
    tuned = fine_tune(trained, remain, forget, epochs=0)
    assert all(torch.equal(tensor, tuned.state_dict()[name]) for name, tensor in trained.state_dict().items())
    tuned = fine_tune(trained, remain, forget, epochs=2, learning_rate=1e-3)
    assert accuracy(tuned, remain) > accuracy(trained, remain) and not tuned.training


def test_single_remaining_class_is_refused(trained, remain, forget):
    for method in (retrain, fine_tune):
        with pytest.raises(DataError, match=f"{len(forget)} .*'zero'"):
            method(trained, forget, remain)
    check_classes(Selection(remain.source, remain.rows[:20]))
