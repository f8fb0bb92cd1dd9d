import pytest
import torch
from torch.nn.functional import cosine_similarity

from mmcl.errors import ConfigError, DataError
from mmcl.seeding import seed_everything
from mmcl.unlearning import Parts, repair, unlearn_laf

QUICK = {"epochs": 15, "unlearning_learning_rate": 1e-3, "alignment_learning_rate": 1e-3, "output": "linear"}


class Secret:
    """Data set that fails if a label is read."""

    def __init__(self, data):
        self.data = data

    @property
    def labels(self):
        raise AssertionError("a label was read")

    classes = texts = labels

    def __len__(self):
        return len(self.data)

    def __getitem__(self, row):
        sample = self.data[row]
        return SecretSample({name: sample[name] for name in sample})


class SecretSample(dict):
    def __getitem__(self, name):
        assert name != "label", "a label was read"
        return super().__getitem__(name)


class SecretBatches(Secret):
    """The same, with a ``batch`` method."""

    def batch(self, rows):
        return SecretBatch(self.data.batch(rows))


class SecretBatch(SecretSample):
    def pop(self, name, *default):
        dict.pop(self, name, *default)  # removing a label is not reading it

    def to(self, device):
        return self


@pytest.mark.parametrize("secret", [Secret, SecretBatches])
def test_no_label_is_read(secret, trained, remain, forget):
    with pytest.raises(AssertionError, match="a label was read"):
        secret(remain).labels  # noqa: B018
    with pytest.raises(AssertionError, match="a label was read"):
        repair(trained, secret(remain))
    ends = []
    for kept, gone in ((secret(remain), secret(forget)), (remain, forget)):
        seed_everything(3)
        ends.append(unlearn_laf(trained, kept, gone, **{**QUICK, "epochs": 1}).state_dict())
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def test_forgotten_representations_change_and_the_others_stay(trained, remain, forget, accuracy):
    unlearned = unlearn_laf(trained, remain, forget, **QUICK)
    before, after = Parts(trained), Parts(unlearned)
    kept, gone = (
        cosine_similarity(before.represent(data).representation, after.represent(data).representation).mean()
        for data in (remain, forget)
    )
    assert kept > 0.95 > 0.5 > gone
    assert accuracy(trained, forget) > 0.8
    assert accuracy(unlearned, forget) < 0.2
    assert accuracy(unlearned, remain) > accuracy(trained, remain) - 0.05


def test_only_repair_changes_the_classifier(trained, remain, forget):
    unlearned = unlearn_laf(trained, remain, forget, **{**QUICK, "epochs": 1})
    repaired = repair(unlearned, remain, samples=64, learning_rate=1e-3)
    for name, tensor in trained.state_dict().items():
        is_head = name.startswith("head.")
        assert torch.equal(tensor, unlearned.state_dict()[name]) == is_head
        assert torch.equal(repaired.state_dict()[name], unlearned.state_dict()[name]) != is_head
    assert not unlearned.training


def test_zero_epochs_or_learning_rates_change_nothing(trained, remain, forget):
    for change in ({"epochs": 0}, {"unlearning_learning_rate": 0.0, "alignment_learning_rate": 0.0}):
        unlearned = unlearn_laf(trained, remain, forget, **{**QUICK, "epochs": 1, **change})
        assert all(torch.equal(tensor, unlearned.state_dict()[name]) for name, tensor in trained.state_dict().items())


def test_on_epoch_gets_phase_epoch_and_loss(trained, remain, forget):
    noted = []
    settings = {**QUICK, "epochs": 2, "vae_epochs": 3}
    unlearn_laf(trained, remain, forget, **settings, on_epoch=lambda *row: noted.append(row))
    phases = ["autoencoder of all"] * 3 + ["autoencoder of forget"] * 3 + ["unlearning"] * 2
    assert [row[:2] for row in noted] == list(zip(phases, [1, 2, 3, 1, 2, 3, 1, 2], strict=True))
    assert noted[2][2] < noted[0][2]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"vae_on": "none"}, ConfigError, "vae_on.*none"),
        ({"classifier": "heat"}, ConfigError, "'heat'.*'head'"),
        ({"latent": 0}, ConfigError, "latent.*0"),
        ({"epochs": -1}, ConfigError, "epochs.*-1"),
        ({"forget": "remain"}, DataError, "train-"),
        ({"forget": "none"}, DataError, "forget.* 0 samples"),
    ],
)
def test_invalid_arguments_are_refused(change, error, message, trained, remain, forget):
    sets = {"remain": remain, "none": []}
    settings = {**QUICK, "vae_epochs": 0, **change}
    gone = sets.get(settings.pop("forget", None), forget)
    with pytest.raises(error, match=message):
        unlearn_laf(trained, remain, gone, **settings)
