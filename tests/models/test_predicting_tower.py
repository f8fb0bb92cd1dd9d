import pytest
import torch

from mmcl.batch import Batch
from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError
from mmcl.models import TwoTower
from mmcl.models.predicting_tower import PredictingTower


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TwoTower(build_encoder("tabular", "mlp", features=4, dim=16), dim=8)


def test_the_last_column_is_the_prediction(model):
    model.add_regressor(torch.tensor([5.0, 9.0]))
    batch = Batch(tabular=torch.randn(3, 4))
    found = PredictingTower(model.first)(batch)
    assert torch.equal(found[:, :-1], model.first(batch))
    pooled = model.first.encoder.encode_batch(batch).pooled
    assert torch.equal(found[:, -1], model.first.regressor(pooled))


def test_a_tower_without_a_regressor_is_refused(model):
    with pytest.raises(ConfigError, match="add_regressor"):
        PredictingTower(model.first)


def test_a_saved_model_keeps_its_regressor(model, tmp_path):
    batch = Batch(tabular=torch.randn(3, 4))
    model.save(tmp_path / "without")
    assert TwoTower.load(tmp_path / "without").first.regressor is None
    model.add_regressor(torch.tensor([5.0, 9.0]))
    model.save(tmp_path / "with")
    loaded = TwoTower.load(tmp_path / "with")
    assert torch.equal(PredictingTower(loaded.first)(batch), PredictingTower(model.eval().first)(batch))
