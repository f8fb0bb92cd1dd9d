import pytest
import torch

from mmcl.batch import Batch
from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError
from mmcl.models import ImageClassifier, SLUClassifier
from mmcl.models.heads.growing import ArrivedClasses
from mmcl.objectives import logit_distillation
from mmcl.unlearning.teachers import _divergence, bad_teacher, scrub


def test_bad_teacher_imitates_an_untrained_model_on_forgotten_samples(trained, remain, forget, accuracy):
    fresh = ImageClassifier().eval()
    student = bad_teacher(trained, remain, forget, fresh=lambda: fresh, epochs=6, learning_rate=1e-3, share=0.5)
    batch = forget.batch(torch.arange(len(forget)))
    with torch.no_grad():
        before, after = (
            logit_distillation(model(batch).logits, fresh(batch).logits, 1.0) for model in (trained, student)
        )
    assert after < before / 4
    assert accuracy(student, forget) < 0.3
    assert accuracy(student, remain) > accuracy(trained, remain) - 0.1


def test_bad_teacher_reads_no_label(trained, remain, forget):
    class Unlabelled:
        classes, texts, labels = (), (), ()

        def __init__(self, data):
            self.data = data

        def __len__(self):
            return len(self.data)

        def batch(self, rows):
            return Batch(image=self.data.batch(rows)["image"])

        def __getitem__(self, row):
            return {"id": self.data[row]["id"]}

    bad_teacher(trained, Unlabelled(remain), Unlabelled(forget))
    with pytest.raises(ConfigError, match=r"share.*\b0\b"):
        bad_teacher(trained, remain, forget, share=0)


def test_scrub_moves_away_on_forget_and_stays_near_on_remain(trained, remain, forget, accuracy):
    noted = []
    settings = {"epochs": 3, "forget_epochs": 1, "learning_rate": 1e-3, "batch_size": 8}
    student = scrub(trained, remain, forget, **settings, on_epoch=lambda *row: noted.append(row[:2]))
    assert noted == [("scrub, away", 1), ("scrub, near", 1), ("scrub, near", 2), ("scrub, near", 3)]
    assert accuracy(student, forget) < accuracy(trained, forget) - 0.3
    assert accuracy(student, remain) > accuracy(trained, remain) - 0.05


def test_scrub_refuses_negative_epochs(trained, remain, forget):
    for wrong in ({"epochs": -1}, {"forget_epochs": -2}):
        with pytest.raises(ConfigError, match="scrub.*=-"):
            scrub(trained, remain, forget, **wrong)


def test_divergence_leaves_out_unseen_classes():
    batch = Batch(image=torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0)))
    models = [SLUClassifier(build_encoder("image", "cnn", dim=8), hidden=4).eval() for _ in range(2)]
    for model in models:
        model.grow([0, 3])
    value = _divergence(models[0](batch).logits, models[1], batch, 1.0, ArrivedClasses())
    one, other = (model(batch).logits[:, [0, 3]] for model in models)
    assert value.item() == pytest.approx(logit_distillation(one, other, 1.0).item()) and value.isfinite()
