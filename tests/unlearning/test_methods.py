import pytest
import torch
from step_waits import watch_steps

from mmcl.data.selection import Selection
from mmcl.errors import ConfigError, DataError
from mmcl.seeding import seed_everything
from mmcl.unlearning import METHODS, repair, unlearn, unlearn_laf
from mmcl.unlearning.methods import settings_of


@pytest.mark.parametrize("method", [name for name in METHODS if name != "sisa"])  # needs a ShardedEnsemble
def test_every_method_runs_by_the_same_call_and_follows_the_seed(method, trained, remain, forget):
    noted = []
    epochs = {"epochs": 1} | ({"vae_epochs": 1} if "laf" in method else {})
    runs = []
    for _ in range(2):
        seed_everything(4)
        runs.append(unlearn(trained, remain, forget, method=method, **epochs, on_epoch=lambda *row: noted.append(row)))
    first, second = (run.state_dict() for run in runs)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, first[name]) for name, tensor in trained.state_dict().items())
    assert noted and not runs[0].training
    with pytest.raises(DataError, match="train-"):
        unlearn(trained, remain, remain, method=method)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("sisa", "retrain")])
def test_no_step_of_a_method_waits_for_a_device(method, trained, remain, forget, on_device, monkeypatch):
    waits, some = watch_steps(monkeypatch, skipped=2), Selection(remain.source, remain.rows[:64])
    epochs = {"epochs": 2} | ({"vae_epochs": 1} if "laf" in method else {})
    unlearn(trained, some, forget, method=method, batch_size=16, **epochs)
    # Image encoders check the range of the pixels of each batch.
    assert [place for place in waits.found if not place.startswith("encoders/image_input.py")] == []
    assert waits.steps > 5


def test_laf_is_the_default_and_laf_r_repairs_after_it(trained, remain, forget):
    quick = {"epochs": 1, "vae_epochs": 1, "batch_size": 16}
    ends = []
    for run in (
        lambda: unlearn(trained, remain, forget, **quick),
        lambda: unlearn_laf(trained, remain, forget, **quick),
        lambda: unlearn(trained, remain, forget, method="laf+r", repair_epochs=2, **quick),
        lambda: repair(
            unlearn_laf(trained, remain, forget, **quick), remain, samples=len(forget), epochs=2, batch_size=16
        ),
    ):
        seed_everything(4)
        ends.append(run().state_dict())
    for one, other in ((0, 1), (2, 3)):
        assert all(torch.equal(tensor, ends[other][name]) for name, tensor in ends[one].items())


def test_unknown_methods_and_settings_are_refused(trained, remain, forget):
    with pytest.raises(ConfigError, match="'laff'.*'laf'.*retrain"):
        unlearn(trained, remain, forget, method="laff")
    with pytest.raises(ConfigError, match="neg_grad.*'epoch'.*'epochs'"):
        unlearn(trained, remain, forget, method="neg_grad", epoch=3)
    assert "repair_epochs" in settings_of("laf+r") and "repair_epochs" not in settings_of("laf")
