import pytest
import torch

from mmcl.errors import ConfigError, DataError
from mmcl.seeding import seed_everything
from mmcl.unlearning import METHODS, repair, unlearn, unlearn_laf
from mmcl.unlearning.methods import settings_of


@pytest.mark.parametrize("method", [name for name in METHODS if name != "sisa"])  # which needs a model of shards
def test_every_method_by_the_same_call(method, learnt, remain, forget):
    noted = []
    epochs = {"epochs": 1} | ({"vae_epochs": 1} if "laf" in method else {})
    runs = []
    for _ in range(2):
        seed_everything(4)
        runs.append(unlearn(learnt, remain, forget, method=method, **epochs, on_epoch=lambda *row: noted.append(row)))
    first, second = (run.state_dict() for run in runs)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())  # the same seed, the same model
    assert not all(torch.equal(tensor, first[name]) for name, tensor in learnt.state_dict().items())
    assert noted and not runs[0].training
    with pytest.raises(DataError, match="are to be kept and forgotten"):
        unlearn(learnt, remain, remain, method=method)


def test_laf_is_the_default_and_repair_comes_after_it(learnt, remain, forget):
    quick = {"epochs": 1, "vae_epochs": 1, "batch_size": 16}
    ends = []
    for run in (
        lambda: unlearn(learnt, remain, forget, **quick),
        lambda: unlearn_laf(learnt, remain, forget, **quick),
        lambda: unlearn(learnt, remain, forget, method="laf+r", repair_epochs=2, **quick),
        lambda: repair(
            unlearn_laf(learnt, remain, forget, **quick), remain, samples=len(forget), epochs=2, batch_size=16
        ),
    ):
        seed_everything(4)
        ends.append(run().state_dict())
    for one, other in ((0, 1), (2, 3)):
        assert all(torch.equal(tensor, ends[other][name]) for name, tensor in ends[one].items())


def test_what_is_refused(learnt, remain, forget):
    with pytest.raises(ConfigError, match="method is 'laff'.*'laf'.*expected one of retrain"):
        unlearn(learnt, remain, forget, method="laff")
    with pytest.raises(ConfigError, match="method neg_grad has no setting 'epoch'.*'epochs'"):
        unlearn(learnt, remain, forget, method="neg_grad", epoch=3)
    assert "repair_epochs" in settings_of("laf+r") and "repair_epochs" not in settings_of("laf")
