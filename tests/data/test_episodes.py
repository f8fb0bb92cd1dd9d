"""Tests of episodes to train on: their classes and roles, training on them, and bad input."""

from __future__ import annotations

import pytest
import torch

from mmcl.data import EpisodicDataset
from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError, DataError
from mmcl.models import TwoTower
from mmcl.objectives import SuSanaLoss
from mmcl.training.contrastive import ContrastiveTrainer


class Clusters:
    """Feature vectors of four classes, with 3, 8, 9 and 10 samples."""

    classes, labels = ("a", "b", "c", "d"), [0] * 3 + [1] * 8 + [2] * 9 + [3] * 10
    texts = ["abcd"[label] for label in labels]

    def __len__(self):
        return 30

    def __getitem__(self, row):
        generator = torch.Generator().manual_seed(row)
        return {"id": str(row), "tabular": torch.eye(6)[self.labels[row]] + torch.randn(6, generator=generator) / 4}


def episodes(**settings):
    torch.manual_seed(0)
    return EpisodicDataset(Clusters(), **{"ways": 2, "shots": 2, "queries": 3, "per_epoch": 40, **settings})


def test_an_episode_has_shots_and_queries_of_each_class():
    data, classes, support = episodes(), set(), set()
    batches = data.batches()
    assert len(batches) == 40 and len(data) == 30
    for rows in batches:
        assert data.is_support[rows].tolist() == [True] * 4 + [False] * 6
        assert len(set(data.samples_of(rows).tolist())) == 10
        assert torch.equal(data.labels[rows], torch.tensor(Clusters.labels)[data.samples_of(rows)])
        assert sorted(data.labels[rows[:4]].bincount().tolist())[-2:] == [2, 2]
        assert sorted(data.labels[rows[4:]].bincount().tolist())[-2:] == [3, 3]
        classes |= set(data.labels[rows].tolist())
        support |= set(data.samples_of(rows[:4]).tolist())
    assert classes == {1, 2, 3}  # the first class has too few samples
    assert len(support) > 20


def test_a_batch_has_the_samples_of_its_rows():
    data = episodes()
    rows = data.batches()[0]
    (batch,) = data.batch(rows)
    expected = torch.stack([Clusters()[row]["tabular"] for row in data.samples_of(rows).tolist()])
    assert torch.equal(batch["tabular"], expected)


def trainer():
    data = episodes(per_epoch=5)
    torch.manual_seed(0)
    model = TwoTower(build_encoder("tabular", "mlp", features=6, dim=8), first_head="none")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return ContrastiveTrainer(model, data, SuSanaLoss(prototriplet=False), optimizer, views=2, epochs=6)


def test_training_on_episodes_lowers_the_loss_and_resumes():
    whole = trainer()
    losses = list(whole)
    assert whole.steps == 5 and losses[-1] < losses[0]
    first = trainer()
    for _ in first:
        if first.epoch == 3:
            state = first.state_dict()
            break
    second = trainer()
    second.load_state_dict(state)
    assert list(second) == losses[3:]


@pytest.mark.parametrize("settings", [{"ways": 1}, {"shots": 0}, {"queries": 0}, {"per_epoch": 0}])
def test_numbers_that_are_too_small_are_an_error(settings):
    with pytest.raises(ConfigError, match=f"{next(iter(settings))}.* {next(iter(settings.values()))}"):
        episodes(**settings)


def test_too_few_samples_for_an_episode_are_an_error():
    with pytest.raises(DataError, match="2 classes have 9 samples .*4 shots and 5 queries.*3 ways"):
        episodes(ways=3, shots=4, queries=5)


def test_targets_and_bags_are_those_of_the_sample_in_both_roles():
    class Measured(Clusters):
        targets = [float(row) for row in range(30)]
        bags = [row // 3 for row in range(30)]

    data = EpisodicDataset(Measured(), ways=2, shots=2, queries=3, per_epoch=1)
    (rows,) = data.batches()
    assert data.targets[rows].tolist() == data.samples_of(rows).tolist()
    assert data.bags[rows].tolist() == [row // 3 for row in data.samples_of(rows).tolist()]
