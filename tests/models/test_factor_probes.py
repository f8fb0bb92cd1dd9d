import pytest
import torch

from mmcl.encoders import build_encoder
from mmcl.models import TwoTower
from mmcl.models.factor_probes import factor_probes
from mmcl.models.heads import HeadOptions
from mmcl.models.measures import representation_measures


class Factors:
    """Feature vectors whose first half tells a shape, and whose second half tells a colour of every other sample."""

    modalities = {"numbers": "tabular"}

    def __init__(self, seed, colour=True):
        generator = torch.Generator().manual_seed(seed)
        self.classes, self.labels = ("round", "square"), [row % 2 for row in range(80)]
        self.texts = [self.classes[label] for label in self.labels]
        colours = [row // 4 % 2 if row % 4 > 1 else -1 for row in range(80)]
        self.factors = {"shape": self.labels, "colour": colours} if colour else {}
        self.values = 0.1 * torch.randn(80, 4, generator=generator)
        for row, value in enumerate(colours):
            self.values[row, self.labels[row]] += 3
            if value >= 0:
                self.values[row, 2 + value] += 3

    def __len__(self):
        return 80

    def __getitem__(self, row):
        return {"tabular": self.values[row]}


class Half(torch.nn.Module):
    """Embed a batch by two of its four features."""

    def __init__(self, encoder, first):
        super().__init__()
        self.encoder, self.first = encoder, first

    def forward(self, batch):
        return batch["tabular"][:, self.first : self.first + 2]


def tower():
    return TwoTower(build_encoder("tabular", "mlp", features=4, dim=16), first_head=HeadOptions("mlp", 16), dim=8)


def test_each_space_is_probed_for_each_factor():
    torch.manual_seed(0)
    model, other = tower(), tower()
    model.second = other.first
    modality = model.first.modality
    model.first, model.second = Half(model.first.encoder, 0), Half(model.second.encoder, 2)
    model.first.modality = model.second.modality = modality
    found = factor_probes(model, Factors(0), Factors(1))
    assert set(found) == {
        f"{factor} probe{space}{head}"
        for factor in ("shape", "colour")
        for space in ("", ", salient")
        for head in ("", ", head")
    }
    assert found["shape probe, head"] == 1.0 and found["colour probe, salient, head"] == 1.0
    assert found["shape probe, salient, head"] < 0.75 and found["colour probe, head"] < 0.8
    assert found["shape probe"] == found["colour probe, salient"] == 1.0  # the encoders see everything


def test_a_model_with_one_tower_has_one_space_and_measures_include_it():
    torch.manual_seed(0)
    found = representation_measures(tower(), Factors(0), Factors(1), shots=(1,), queries=3, episodes=5)
    assert {name for name in found if "shape" in name} == {"shape probe", "shape probe, head"}
    assert "effective rank" in found and found["colour probe"] == pytest.approx(1.0)
    without = representation_measures(tower(), Factors(0, False), Factors(1, False), shots=())
    assert not any("shape" in name for name in without)
