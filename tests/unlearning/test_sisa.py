import pytest
import torch

from mmcl.data.selection import Selection
from mmcl.errors import ConfigError, DataError
from mmcl.models import ImageClassifier
from mmcl.unlearning import unlearn
from mmcl.unlearning.parts import all_logits
from mmcl.unlearning.sisa import ShardedEnsemble, sisa, train_sharded

QUICK = {"epochs": 3, "learning_rate": 1e-3}


@pytest.fixture(scope="session")
def sharded(digits):
    """Ensemble of three networks, with all zeros in one shard."""
    torch.manual_seed(0)
    groups = ["zeros" if label == 0 else f"{row}" for row, label in enumerate(digits.labels)]
    return train_sharded(ImageClassifier, digits, shards=3, groups=groups, **QUICK)


def test_shards_are_disjoint_and_keep_groups_together(sharded, digits, forget):
    rows = [row for shard in sharded.shards for row in shard.rows]
    assert sorted(rows) == list(range(len(digits)))
    holding = [number for number, shard in enumerate(sharded.shards) if 0 in shard.labels]
    assert len(holding) == 1 and sharded.shards[holding[0]].labels.count(0) == len(forget)


def test_probabilities_are_averaged_over_models(sharded, digits):
    logits = all_logits(sharded, digits)
    each = torch.stack([all_logits(model, digits).softmax(1) for model in sharded.models])
    torch.testing.assert_close(logits.exp(), each.mean(0))
    assert (logits.argmax(1) == torch.tensor(digits.labels)).double().mean() > 0.6


def test_only_the_shard_with_forgotten_samples_is_retrained(sharded, remain, forget):
    phases = []
    unlearned = unlearn(sharded, remain, forget, method="sisa", on_epoch=lambda phase, *_: phases.append(phase))
    touched = next(number for number, shard in enumerate(sharded.shards) if 0 in shard.labels)
    assert set(phases) == {f"training on shard {touched + 1}"} and len(phases) == QUICK["epochs"]
    for number, (old, new) in enumerate(zip(sharded.models, unlearned.models, strict=True)):
        same = all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
        assert same == (number != touched)
        assert 0 not in unlearned.shards[number].labels
    assert not (all_logits(unlearned, forget).argmax(1) == 0).any()


def test_shard_without_remaining_samples_is_left_out(sharded, digits):
    gone = Selection(digits, sharded.shards[1].rows)
    kept = Selection(digits, [row for row in range(len(digits)) if row not in set(gone.rows)])
    unlearned = sisa(sharded, kept, gone)
    assert len(unlearned.models) == 2 and len(sharded.models) == 3
    with pytest.raises(DataError, match="all samples of all shards"):
        sisa(ShardedEnsemble(sharded.models[1:2], sharded.shards[1:2], QUICK), kept, gone)


def test_invalid_arguments_are_refused(trained, sharded, digits, remain, forget):
    with pytest.raises(ConfigError, match="ImageClassifier.*train_sharded"):
        unlearn(trained, remain, forget, method="sisa")
    with pytest.raises(ConfigError, match="shards.* 3.* 1 to 2"):
        train_sharded(ImageClassifier, digits, shards=3, groups=["a", "b"] * 300)
    with pytest.raises(DataError, match="1 groups.* 600 samples"):
        train_sharded(ImageClassifier, digits, groups=["a"])
    other = type(digits)(digits.source, digits.rows)
    other.source = type("Other", (), {"ids": [f"o{n}" for n in range(60000)], "__len__": lambda self: 60000})()
    with pytest.raises(DataError, match="Selection"):
        sisa(sharded, remain, other)
