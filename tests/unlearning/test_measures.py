import pytest
import torch

from mmcl.data import Mnist
from mmcl.data.selection import Selection
from mmcl.metrics.unlearning import loss_attack, membership_attack, per_sample_loss
from mmcl.models import ImageClassifier
from mmcl.seeding import seed_everything
from mmcl.unlearning import Parts, train_classifier
from mmcl.unlearning.measures import COMPARED, unlearning_measures
from mmcl.unlearning.removal import choose_removal


@pytest.fixture(scope="module")
def removal(data_dir):
    train, test = (Mnist(data_dir / "MNIST", split) for split in ("valid", "test"))
    return choose_removal("class", Selection(train, range(400)), Selection(test, range(400)), classes=["zero"])


def test_measures_tell_the_original_from_a_retrained_model(removal):
    seed_everything(0)
    knows = train_classifier(ImageClassifier(), removal.train, epochs=8, learning_rate=1e-3)
    never = train_classifier(ImageClassifier(), removal.remain, epochs=8, learning_rate=1e-3)
    all_of_it, rest = (unlearning_measures(model, removal, apart=True) for model in (knows, never))
    assert list(rest) == ["Train_r", "Train_f", "Test", "Test_r", "Test_f", "attack", "loss attack"]
    assert all_of_it["Train_f"] > 0.9 and rest["Train_f"] == rest["Test_f"] == 0
    assert rest["Train_r"] > 0.9 and rest["Test_r"] > 0.7
    assert abs(rest["attack"] - 0.5) < 0.2
    assert set(COMPARED) <= set(rest)
    assert "Test_r" not in unlearning_measures(never, removal)


def test_measures_equal_their_definitions(removal):
    model = ImageClassifier().eval()
    found = unlearning_measures(model, removal, most=150, seed=2)
    sets = [removal.remain, removal.others, removal.forget, removal.unseen]
    logits = [Parts(model).represent(data).logits for data in sets]
    draw = torch.randperm(len(removal.remain), generator=torch.Generator().manual_seed(2))[:150]
    losses = [per_sample_loss(each, data.labels) for each, data in zip(logits, sets, strict=True)]
    assert found["attack"] == membership_attack(logits[0][draw], *logits[1:], seed=2)
    assert found["loss attack"] == loss_attack(losses[0][draw], *losses[1:], seed=2)
    right = [each.argmax(1) == torch.tensor(data.labels) for each, data in zip(logits, sets, strict=True)]
    assert found["Train_r"] == right[0].double().mean()
    assert found["Test"] == pytest.approx((right[1].sum() + right[3].sum()).item() / 400)
