import pytest
import torch

from mmcl.batch import Batch
from mmcl.data.augment.tables import TableAugmentation
from mmcl.encoders import build_encoder
from mmcl.errors import DataError, LabelError
from mmcl.models import TwoTower
from mmcl.models.heads import HeadOptions
from mmcl.models.measures import class_temperatures, representation_measures
from mmcl.objectives import ISogCLRLoss, NTXentLoss
from mmcl.seeding import random_state

SETTINGS = {"neighbours": 3, "shots": (1, 2), "ways": 3, "queries": 4, "episodes": 30}


class Clusters:
    """Feature vectors of distant or equal classes."""

    modalities = {"numbers": "tabular"}

    def __init__(self, labels, distance, seed):
        self.labels, self.classes = list(labels), ("a", "b", "c", "d", "e")
        self.texts = [self.classes[label] for label in self.labels]
        noise = torch.randn(len(self.labels), 6, generator=torch.Generator().manual_seed(seed))
        self.values = distance * torch.eye(6)[self.labels] + noise

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return {"tabular": self.values[row]}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TwoTower(build_encoder("tabular", "mlp", features=6, dim=32), first_head=HeadOptions("mlp", 16), dim=8)


def test_distant_classes_are_measured_as_such(model):
    far, near = (
        representation_measures(model, *(Clusters(list(range(5)) * 20, size, seed) for seed in (0, 1)), **SETTINGS)
        for size in (30.0, 0.0)
    )
    assert list(far) == [
        *("nearest neighbours", "linear probe", "nearest neighbours, head", "linear probe, head"),
        *("1 shot, 3 ways", "2 shots, 3 ways"),
        *("uniformity", "tolerance", "effective rank"),
    ]
    assert min(list(far.values())[:6]) > 0.95 and max(list(near.values())[:6]) < 0.5
    assert far["tolerance"] > near["tolerance"] and 1 <= far["effective rank"] <= 32


def test_held_out_classes_serve_episodes_alone(model):
    """Episodes of two held-out classes have two ways; the other measures do not see these classes."""
    train, test = Clusters([0, 1, 2] * 20, 30.0, 0), Clusters(list(range(5)) * 10, 30.0, 1)
    found = representation_measures(model, train, test, **SETTINGS)
    assert "1 shot, 2 ways" in found and found["nearest neighbours"] > 0.95 and 0.9 < found["ICNN"] <= 1
    without = representation_measures(model, train, Clusters([0, 1, 2] * 10, 30.0, 1), **SETTINGS)
    assert "1 shot, 3 ways" in without and "ICNN" not in without


def test_the_model_stays_in_its_mode_and_small_classes_are_named(model):
    train, test = (Clusters([0, 1, 2, 3] * 3, 9.0, seed) for seed in (0, 1))
    model.train()
    representation_measures(model, train, test, **{**SETTINGS, "shots": ()})
    assert model.first.training and model.first.encoder.training
    with pytest.raises(DataError, match="0 classes have 5"):
        representation_measures(model, train, test, **SETTINGS)


class Slopes(Clusters):
    """Feature vectors with a number to predict, whose bins are the labels."""

    def __init__(self, rows, seed, tilt=10.0):
        super().__init__([0] * rows, 0.0, seed)
        self.targets = (100 + tilt * self.values[:, 0]).tolist()
        self.labels = [sum(target > edge for edge in (80, 95, 105, 120)) for target in self.targets]


def test_targets_are_measured_by_errors_of_a_regression(model):
    train, test = Slopes(200, 0), Slopes(100, 1)
    found = representation_measures(model, train, test, many=30, few=15, **SETTINGS)
    errors = ["MAE", "MAE, many-shot", "MAE, few-shot", "RMSE", "R2"]
    assert list(found) == [*errors, "uniformity", "effective rank"]
    assert found["R2"] > 0.9 and found["MAE"] < 4 and found["MAE"] <= found["RMSE"]
    model.add_regressor(torch.tensor(train.targets))
    with torch.no_grad():
        model.first.regressor.linear.weight.zero_()
        model.first.regressor.linear.bias.zero_()
    headed = representation_measures(model, train, test, many=30, few=15, **SETTINGS)
    assert list(headed) == [*errors, *(f"{name}, head" for name in errors), "uniformity", "effective rank"]
    mean = sum(train.targets) / 200  # which the head predicts
    assert headed["MAE, head"] == pytest.approx(sum(abs(each - mean) for each in test.targets) / 100, rel=1e-4)
    assert headed["MAE"] == found["MAE"]


def test_constant_test_targets_are_refused(model):
    with pytest.raises(LabelError, match="all 20 targets are 100"):
        representation_measures(model, Slopes(50, 0), Slopes(20, 1, tilt=0.0))


def test_transport_adds_measures_of_aligned_prototypes(model):
    train, test = (Clusters(list(range(5)) * 20, 4.0, seed) for seed in (0, 1))
    found, plain = (
        representation_measures(model, train, test, **SETTINGS, transport=transport) for transport in (True, False)
    )
    added = {"1 shot, 3 ways, OpTA", "2 shots, 3 ways, OpTA"}
    assert set(found) - set(plain) == added and all(found[name] == value for name, value in plain.items())
    assert found["1 shot, 3 ways, OpTA"] > found["1 shot, 3 ways"]


@pytest.mark.parametrize("kind", [Clusters, Slopes], ids=["classes", "targets"])
def test_alignment_is_the_mean_squared_distance_of_two_views(model, kind):
    """Views that add +1 and -1 to the first feature by turns have a distance that a loop finds too."""
    train, test = (Clusters([0, 1, 2] * 20, 4.0, s) if kind is Clusters else Slopes(60, s) for s in (0, 1))
    shift = iter([1.0, -1.0])  # one batch for each view

    def augment(batch):
        return Batch(tabular=batch["tabular"] + next(shift) * torch.eye(6)[0])

    settings = SETTINGS | {"many": 30, "few": 15}
    found = representation_measures(model, train, test, augment=augment, **settings)
    model.eval()
    with torch.no_grad():
        one, other = (
            torch.stack([model.first(Batch(tabular=value[None] + by * torch.eye(6)[:1]))[0] for value in test.values])
            for by in (1.0, -1.0)
        )
    loop = sum(((a / a.norm() - b / b.norm()) ** 2).sum().item() for a, b in zip(one, other, strict=True)) / 60
    assert found["alignment"] == pytest.approx(loop, rel=1e-4) and loop > 0
    without = representation_measures(model, train, test, **settings)
    assert found == {**without, "alignment": found["alignment"]} and "alignment" not in without


def test_views_are_those_of_the_seed_and_no_random_number_of_training_is_used(model):
    train, test = (Clusters([0, 1, 2] * 20, 4.0, seed) for seed in (0, 1))
    view, state = TableAugmentation(replaced=0.5), random_state()
    one, other, third = (
        representation_measures(model, train, test, augment=view, **SETTINGS, seed=seed)["alignment"]
        for seed in (0, 0, 1)
    )
    assert one == other != third and 0 < one < 4
    assert torch.equal(state["torch"], random_state()["torch"])
    nothing = representation_measures(model, train, test, augment=lambda batch: batch, **SETTINGS)
    assert nothing["alignment"] == 0


def test_alignment_leaves_out_held_out_classes(model):
    """Views are drawn of the 30 samples of known classes alone."""
    train, test = Clusters([0, 1, 2] * 20, 30.0, 0), Clusters(list(range(5)) * 10, 30.0, 1)

    def augment(batch):
        assert len(batch["tabular"]) == 30
        return batch

    assert representation_measures(model, train, test, augment=augment, **SETTINGS)["alignment"] == 0


def test_temperatures_of_the_most_frequent_class_and_of_the_rarest():
    objective = ISogCLRLoss(samples=6)
    objective.numbers.get_buffer("temperature").copy_(torch.tensor([0.2, 0.3, 0.1, 0.4, 0.6, 0.9]))
    found = class_temperatures(objective, [2, 2, 5, 2])  # 0.9 and 0.6 belong to no sample
    assert found == {
        "temperature, most frequent class": pytest.approx(0.3),
        "temperature, rarest class": pytest.approx(0.1),
    }
    assert class_temperatures(NTXentLoss(), [0, 1]) == {}


@pytest.mark.parametrize("labels", [[], [0, 1, 0]])
def test_labels_of_other_samples_than_the_objective_has_are_refused(labels):
    with pytest.raises(LabelError, match=str(len(labels))):
        class_temperatures(ISogCLRLoss(samples=2), labels)
