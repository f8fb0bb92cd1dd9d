import pytest
import torch
from torch.nn.functional import cosine_similarity

from mmcl.errors import ConfigError, DataError
from mmcl.seeding import seed_everything
from mmcl.unlearning import Parts, repair, unlearn_laf

QUICK = {"epochs": 15, "unlearning_learning_rate": 1e-3, "alignment_learning_rate": 1e-3, "output": "linear"}


class Secret:
    """A data set that has labels, as long as nobody reads them."""

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
    """The same, in memory."""

    def batch(self, rows):
        return SecretBatch(self.data.batch(rows))


class SecretBatch(SecretSample):
    def pop(self, name, *default):
        dict.pop(self, name, *default)  # what is taken out is not looked at

    def to(self, device):
        return self


@pytest.mark.parametrize("secret", [Secret, SecretBatches])
def test_no_label_is_read(secret, learnt, remain, forget):
    with pytest.raises(AssertionError, match="a label was read"):
        secret(remain).labels  # noqa: B018
    with pytest.raises(AssertionError, match="a label was read"):
        repair(learnt, secret(remain))
    ends = []
    for kept, gone in ((secret(remain), secret(forget)), (remain, forget)):
        seed_everything(3)
        ends.append(unlearn_laf(learnt, kept, gone, **{**QUICK, "epochs": 1}).state_dict())
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def test_what_is_forgotten_is_turned_away_and_the_rest_is_held(learnt, remain, forget, accuracy):
    unlearnt = unlearn_laf(learnt, remain, forget, **QUICK)
    before, after = Parts(learnt), Parts(unlearnt)
    kept, gone = (
        cosine_similarity(before.represent(data).representation, after.represent(data).representation).mean()
        for data in (remain, forget)
    )
    assert kept > 0.95 > 0.5 > gone
    assert accuracy(learnt, forget) > 0.8
    assert accuracy(unlearnt, forget) < 0.2
    assert accuracy(unlearnt, remain) > accuracy(learnt, remain) - 0.05


def test_the_classifier_stays_and_only_the_repair_moves_it(learnt, remain, forget):
    unlearnt = unlearn_laf(learnt, remain, forget, **{**QUICK, "epochs": 1})
    repaired = repair(unlearnt, remain, samples=64, learning_rate=1e-3)
    for name, tensor in learnt.state_dict().items():
        is_head = name.startswith("head.")
        assert torch.equal(tensor, unlearnt.state_dict()[name]) == is_head
        assert torch.equal(repaired.state_dict()[name], unlearnt.state_dict()[name]) != is_head
    assert not unlearnt.training


def test_without_epochs_or_rates_nothing_changes(learnt, remain, forget):
    for change in ({"epochs": 0}, {"unlearning_learning_rate": 0.0, "alignment_learning_rate": 0.0}):
        unlearnt = unlearn_laf(learnt, remain, forget, **{**QUICK, "epochs": 1, **change})
        assert all(torch.equal(tensor, unlearnt.state_dict()[name]) for name, tensor in learnt.state_dict().items())


def test_what_is_reported_of_each_epoch(learnt, remain, forget):
    noted = []
    settings = {**QUICK, "epochs": 2, "vae_epochs": 3}
    unlearn_laf(learnt, remain, forget, **settings, on_epoch=lambda *row: noted.append(row))
    phases = ["autoencoder of all"] * 3 + ["autoencoder of forget"] * 3 + ["unlearning"] * 2
    assert [row[:2] for row in noted] == list(zip(phases, [1, 2, 3, 1, 2, 3, 1, 2], strict=True))
    assert noted[2][2] < noted[0][2]  # it learns


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"vae_on": "none"}, ConfigError, "vae_on='none'"),
        ({"classifier": "heat"}, ConfigError, "has no module 'heat'.*'head'"),
        ({"latent": 0}, ConfigError, "latent=0"),
        ({"epochs": -1}, ConfigError, "epochs of unlearning is -1"),
        ({"forget": "remain"}, DataError, r"samples are to be kept and forgotten"),
        ({"forget": "none"}, DataError, "the set to forget has 0 samples"),
    ],
)
def test_what_is_refused(change, error, message, learnt, remain, forget):
    sets = {"remain": remain, "none": []}
    settings = {**QUICK, "vae_epochs": 0, **change}
    gone = sets.get(settings.pop("forget", None), forget)
    with pytest.raises(error, match=message):
        unlearn_laf(learnt, remain, gone, **settings)
