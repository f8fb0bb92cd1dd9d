import json

import pytest
import torch

from mmcl.data import PairedDataset
from mmcl.progress import progress_display
from mmcl.runs.run import Run
from mmcl.sections.contrastive import pretrain
from mmcl.sections.towers import PretrainingSection, TowerSection


class Sides:
    """Feature vectors of two classes."""

    classes, labels = ("low", "high"), [row % 2 for row in range(16)]
    texts = [f"sample {row}" for row in range(16)]
    modalities = {"numbers": "tabular"}

    def __len__(self):
        return 16

    def __getitem__(self, row):
        return {"tabular": torch.randn(6, generator=torch.Generator().manual_seed(row)) + 3 * self.labels[row]}


@pytest.fixture
def settings():
    tower = TowerSection(modality="tabular", name="mlp", options={"features": 6, "dim": 8}, dropout=0.2, head="mlp")
    return PretrainingSection(first=tower, second=None, views=2, dim=4, epochs=3, batch_size=8, objective=["sup_con"])


@pytest.fixture
def run(settings, tmp_path):
    with Run.create("contrastive_pretraining", settings, tmp_path / "run") as run:
        yield run


def trained(settings, run, **more):
    with progress_display() as progress:
        return pretrain(settings, "sup_con", 0, PairedDataset(Sides()), run, progress, **more)


def test_each_epoch_is_logged_and_reported(settings, run):
    seen = []
    model = trained(
        settings, run, after_epoch=lambda model, epoch, objective: seen.append((epoch, type(model).__name__))
    )
    assert seen == [(0, "TwoTower"), (1, "TwoTower"), (2, "TwoTower"), (3, "TwoTower")] and not model.training
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["kind"] == "epoch"]
    assert [row["epoch"] for row in rows] == [1, 2, 3] and rows[2]["loss"] < rows[0]["loss"]


def test_a_finished_training_is_loaded(settings, run):
    first = trained(settings, run)
    again = trained(settings, run, after_epoch=lambda *_: pytest.fail("trained again"))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())


class Measured(Sides):
    """Feature vectors with a number to predict."""

    targets = [3.0 * row for row in range(16)]


def test_objectives_with_predictions_train_a_regressor_that_is_saved(settings, run):
    given = settings.model_copy(update={"weights": {"conr": 4.0}})
    with progress_display() as progress:
        model, again = (pretrain(given, "l1+conr", 0, PairedDataset(Measured()), run, progress) for _ in range(2))
    assert model.first.regressor.mean == pytest.approx(22.5)
    assert torch.equal(again.first.regressor.linear.weight, model.first.regressor.linear.weight)
    with progress_display() as progress:
        without = pretrain(given, "supremix", 0, PairedDataset(Measured()), run, progress)
    assert without.first.regressor is None


def test_a_sum_has_the_weights_of_its_terms(settings):
    given = settings.model_copy(update={"weights": {"conr": 4.0}})
    both = given.make_objective("l1+conr@0.7")
    assert both.weights == [1.0, 4.0] and both.terms[1].temperature == 0.7
    assert type(both.terms[0]).__name__ == "L1Loss"
