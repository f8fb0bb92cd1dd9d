import pytest

from mmcl.data import Mnist, SpokenDigits
from mmcl.data.selection import Selection
from mmcl.encoders import build_encoder, cached_features
from mmcl.encoders.base import weights_hash
from mmcl.errors import CheckpointError, DataError
from mmcl.sections.trial import Trial
from mmcl.sections.unlearning import UnlearningSection
from mmcl.strategies.rehearsal import Rehearsal

QUICK = {"epochs": 1, "vae_epochs": 1}


@pytest.fixture(scope="module")
def images(data_dir):
    return [Selection(Mnist(data_dir / "MNIST", split), range(300)) for split in ("valid", "test")]


@pytest.fixture(scope="module")
def at_once():
    removal = {"kind": "class", "classes": ["zero"]}
    return UnlearningSection(removal=removal, epochs=3, learning_rate=1e-3)


@pytest.fixture(scope="module")
def speech(data_dir, tmp_path_factory):
    """Features of spoken digits by two speakers, from an untrained network."""
    encoder = build_encoder("audio", "cnn", dim=64, frozen=True, pooling="mean_max")
    parts = (SpokenDigits(data_dir / "fsdd", split, speakers=("george", "jackson")) for split in ("valid", "test"))
    return [cached_features(part, encoder, tmp_path_factory.mktemp("cache")) for part in parts]


def streamed(**removal):
    encoder = {"name": "cnn", "frozen": True, "pooling": "mean_max", "options": {"dim": 64}}
    stream = {"experiences": 5, "epochs": 2, "memory_size": 20, "strategy": "replay"}
    return UnlearningSection(model="encoder", encoder=encoder, hidden=32, stream=stream, removal=removal)


def test_methods_do_not_change_the_model_of_the_trial(images, at_once):
    noted = []
    trial = Trial(at_once, *images, seed=0, on_epoch=lambda *row: noted.append(row[0]))
    before = weights_hash(trial.model)
    retrained, seconds, record = trial.forget("retrain")
    unlearned, *_ = trial.forget("laf", **QUICK)
    assert record is None and seconds > 0
    assert noted[:3] == noted[3:6] == ["training"] * 3 and "unlearning" in noted
    assert len({before, weights_hash(retrained), weights_hash(unlearned)}) == 3
    assert weights_hash(trial.model) == before
    measures = trial.measure(retrained)
    assert measures["Train_f"] == 0 and "Test_f" in measures
    assert weights_hash(trial.forget("laf", **QUICK)[0]) == weights_hash(unlearned)  # the seed is the same


def test_forgetting_a_speaker_drops_the_shard_of_that_speaker(speech):
    phases = []
    encoder = {"name": "cnn", "frozen": True, "pooling": "mean_max", "options": {"dim": 64}}
    removal, shards = {"kind": "speaker", "speakers": ["jackson"]}, {"shards": 2, "shards_by": "speaker"}
    settings = UnlearningSection(model="encoder", encoder=encoder, hidden=32, epochs=2, removal=removal, **shards)
    trial = Trial(settings, *speech, seed=0, on_epoch=lambda phase, *_: phases.append(phase))
    model, seconds, record = trial.forget("sisa")
    assert len(model.models) == 1 and record is None  # the shard of jackson is empty and dropped
    assert phases == ["training"] * 2 + ["training on shard 1"] * 2 + ["training on shard 2"] * 2
    assert seconds < trial.seconds and 0 <= trial.measure(model)["Test_f"] <= 1


def test_a_saved_model_is_not_trained_again(images, at_once):
    trial = Trial(at_once, *images, seed=1)
    noted = []
    again = Trial(at_once, *images, seed=1, saved=trial.saved, on_epoch=lambda *row: noted.append(row))
    assert not noted and again.seconds == trial.seconds
    assert weights_hash(again.model) == weights_hash(trial.model)
    assert again.removal.forget.rows == trial.removal.forget.rows


def test_a_stream_forgets_a_class_and_retrain_never_sees_it(speech):
    trial = Trial(streamed(kind="class", classes=["three"]), *speech, seed=0)
    assert trial.saved is None  # a stream is trained again
    memory = next(plugin for plugin in trial._strategy.plugins if isinstance(plugin, Rehearsal))
    held = {label: list(rows) for label, rows in memory.memory.items()}
    before = weights_hash(trial.model)
    retrained, _, record = trial.forget("retrain")
    assert record is None and not retrained.head.seen[3] and trial.measure(retrained)["Train_f"] == 0
    records = [trial.forget(method, **settings)[2] for method, settings in (("laf", QUICK), ("neg_grad", {}))]
    for record in records:  # each method starts with the trial's model and memory
        assert record["weights_before"] == before and record["memory_before"] == 20
        assert record["from_memory"] == len(held[3]) == 2 and set(record["ids"]) == set(trial.removal.forget.ids)
    assert records[0]["weights_after"] != records[1]["weights_after"]


def test_a_stream_forgets_a_speaker(speech):
    trial = Trial(streamed(kind="speaker", speakers=["george"]), *speech, seed=0)
    model, _, record = trial.forget("laf", **QUICK)
    assert all("george" in name for name in record["ids"]) and record["from_memory"] > 0
    assert weights_hash(model) == record["weights_after"]


def test_retraining_on_a_single_class_raises(images):
    only = {"kind": "class", "classes": list(range(1, 10))}
    trial = Trial(UnlearningSection(removal=only, epochs=1), *images, seed=0)
    with pytest.raises(DataError, match="'zero'"):
        trial.forget("retrain")


def test_a_saved_model_is_restored_or_raises(images, at_once):
    trial = Trial(at_once, *images, seed=0)
    saved = trial.saved
    wrapped = {"model": {f"_orig_mod.{name}": value for name, value in saved["model"].items()}, "seconds": 1.0}
    assert weights_hash(Trial(at_once, *images, seed=0, saved=wrapped).model) == weights_hash(trial.model)
    first, *rest = saved["model"]
    with pytest.raises(CheckpointError, match=f"the model before forgetting.*'{first}'"):
        Trial(at_once, *images, seed=0, saved={**saved, "model": {name: saved["model"][name] for name in rest}})
    with pytest.raises(CheckpointError, match="'seconds'"):
        Trial(at_once, *images, seed=0, saved={"model": saved["model"]})
