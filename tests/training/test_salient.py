import pytest
import torch

from mmcl.data import PairedDataset, Selection
from mmcl.data.augment.tables import TableAugmentation
from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError, DataError, TrainingError
from mmcl.models import TwoTower
from mmcl.models.heads import HeadOptions
from mmcl.models.two_tower import embed_rows
from mmcl.objectives import NTXentLoss, SepCLRLoss
from mmcl.training.contrastive import ContrastiveTrainer
from mmcl.training.salient import target_flags, with_salient


class Groups:
    """Feature vectors of two groups; targets also have one of two salient patterns."""

    classes, modalities = ("a", "b"), {"numbers": "tabular"}

    def __init__(self, samples=160, share=0.5):
        generator = torch.Generator().manual_seed(0)
        self.labels = [row % 2 for row in range(samples)]
        self.texts = [self.classes[label] for label in self.labels]
        self.is_target = [row % 8 < 8 * share for row in range(samples)]
        self.factors = {
            "group": self.labels,
            "pattern": [row // 2 % 2 if self.is_target[row] else -1 for row in range(samples)],
        }
        self.values = 0.3 * torch.randn(samples, 8, generator=generator)
        for row in range(samples):
            self.values[row, self.labels[row]] += 4
            if self.is_target[row]:
                self.values[row, 4 + row // 2 % 2] += 4

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return {"tabular": self.values[row]}


def build():
    return TwoTower(build_encoder("tabular", "mlp", features=8, dim=16), first_head=HeadOptions("linear"), dim=4)


def make(data=None, objective=None, **settings):
    torch.manual_seed(0)
    objective = objective or SepCLRLoss()
    model, pairs = with_salient(build(), build, PairedDataset(data or Groups()), objective)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    chosen = {"epochs": 2, "batch_size": 40, "views": 2, "augment": TableAugmentation(noise=0.1), **settings}
    return ContrastiveTrainer(model, pairs, objective, optimizer, **chosen)


class Kept(SepCLRLoss):
    """Keep the inputs of each call."""

    calls: list = []

    def forward(self, common, salient, is_target):
        self.calls.append((common, salient, is_target))
        return super().forward(common, salient, is_target)


def test_both_towers_see_the_same_views_and_flags_belong_to_rows():
    """With equal towers, the common and the salient embeddings are equal, and the two views differ."""
    Kept.calls = []
    trainer = make(objective=Kept())
    trainer.model.second.load_state_dict(trainer.model.first.state_dict())
    rows = torch.tensor([0, 4, 1, 6])
    trainer._backward(rows)
    ((common, salient, flags),) = Kept.calls
    assert common.shape == (2, 4, 4) and torch.equal(common, salient) and not torch.equal(common[0], common[1])
    assert flags.tolist() == [True, False, True, False]


def test_gradient_caching_has_the_gradient_of_the_whole_batch():
    whole, cached = (make(augment=None, micro_batch_size=size) for size in (None, 8))
    rows = torch.arange(40)
    assert whole._backward(rows).item() == pytest.approx(cached._backward(rows).item(), rel=1e-6)
    for one, other in zip(whole.model.parameters(), cached.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)


def test_salient_embeddings_of_background_become_small():
    trainer = make(epochs=30)
    losses = list(trainer)
    assert losses[-1] < losses[0]
    data, tower = Groups(), trainer.model.second.eval()

    sizes = embed_rows(tower, data).norm(dim=1)
    flags = torch.tensor(data.is_target)
    assert sizes[flags].mean() > 2 * sizes[~flags].mean()


def test_a_state_resumes_to_the_same_weights():
    straight = make(epochs=2)
    list(straight)
    first = make(epochs=2)
    next(iter(first))
    state = first.state_dict()
    second = make(epochs=2)
    second.load_state_dict(state)
    list(second)
    for one, other in zip(straight.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_other_objectives_have_one_tower():
    model, pairs = build(), PairedDataset(Groups())
    assert with_salient(model, build, pairs, NTXentLoss()) == (model, pairs)
    assert model.second is None and target_flags(pairs, NTXentLoss()) is None


def test_data_without_flags_or_of_one_kind_is_refused():
    class Plain(Groups):
        is_target = None

        def __init__(self):
            super().__init__()
            self.is_target = None

    with pytest.raises(DataError, match="is_target"):
        make(Plain())
    for share, targets in ((0, "0 of 160"), (1, "160 of 160")):
        with pytest.raises(DataError, match=targets):
            make(Groups(share=share))
    with pytest.raises(ConfigError, match="two towers"):
        with_salient(TwoTower(build().first.encoder, build().first.encoder), build, None, SepCLRLoss())
    with pytest.raises(ConfigError, match="1 sides"):
        target_flags(PairedDataset(Groups()), SepCLRLoss())


def test_a_batch_of_one_kind_is_named():
    """One target among 160 samples is missing in most batches."""
    data = Selection(Groups(), [0, *(row for row in range(160) if row % 8 > 3)])
    with pytest.raises(TrainingError, match="batch of 8 has 0 target"):
        list(make(data, batch_size=8))
