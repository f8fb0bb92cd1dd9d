import pytest
import torch

from mmcl.batch import Batch
from mmcl.data.augment.tables import TableAugmentation
from mmcl.errors import ConfigError, InputError


def test_replaced_features_come_from_the_same_column():
    values = torch.arange(40.0)[:, None] + 100 * torch.arange(6)
    seen = TableAugmentation(replaced=0.5)(Batch(features=values))["features"]
    assert torch.equal((seen / 100).floor(), (values / 100).floor())
    changed = (seen != values).float().mean()
    assert 0.35 < changed < 0.6  # a value may be replaced by itself


def test_noise_and_nothing():
    values = torch.randn(500, 4)
    assert torch.equal(TableAugmentation(replaced=0.0)(Batch(tabular=values))["tabular"], values)
    noise = TableAugmentation(replaced=0.0, noise=0.3)(Batch(features=values))["features"] - values
    assert noise.std() == pytest.approx(0.3, abs=0.03)


def test_bad_settings_and_batches_are_refused():
    for wrong in ({"replaced": 1.5}, {"noise": -1.0}):
        with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
            TableAugmentation(**wrong)
    with pytest.raises(InputError, match="image"):
        TableAugmentation()(Batch(image=torch.zeros(1, 1, 2, 2)))
