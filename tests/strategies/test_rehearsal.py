from collections import Counter
from copy import copy

import pytest
import torch
from avalanche.core import SupervisedPlugin
from waits import elsewhere

from mmcl.data import class_incremental
from mmcl.errors import ConfigError, InputError
from mmcl.strategies import joint, naive, replay
from mmcl.strategies.rehearsal import Rehearsal, herding, unit_embeddings


def memory(strategy):
    return next(plugin for plugin in strategy.plugins if isinstance(plugin, Rehearsal)).memory


def test_replay_without_memory_equals_naive_bit_for_bit(make, train, benchmark):
    one, other = train(make(naive), benchmark), train(make(replay, memory_size=0), benchmark)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("selection", ["random", "herding"])
def test_the_memory_is_full_and_balanced_after_each_experience(selection, make, benchmark):
    strategy = make(replay, memory_size=23, selection=selection)
    seen = []
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        seen += experience.group
        counts = {label: len(rows) for label, rows in memory(strategy).items()}
        assert list(counts) == seen and sum(counts.values()) == 23
        assert max(counts.values()) - min(counts.values()) <= 1
        for label, rows in memory(strategy).items():
            assert len(set(rows)) == len(rows)
            assert {experience.source.labels[row] for row in rows} == {label}


def test_earlier_classes_keep_their_best_samples(make, benchmark):
    strategy = make(replay, memory_size=20, selection="herding")
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    first = {label: list(rows) for label, rows in memory(strategy).items()}
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    for label, rows in first.items():
        assert memory(strategy)[label] == rows[:5]


def test_joint_trains_on_all_samples_seen_and_marks_rehearsed_ones(make, benchmark):
    batches = []

    class Watcher(SupervisedPlugin):
        def after_forward(self, strategy, **kwargs):
            batches.append((strategy.epoch, strategy.mbatch["rows"], strategy.mbatch["is_rehearsal"], strategy.mb_y))

    strategy = make(joint, plugins=[Watcher()])
    for experience in benchmark.train_stream[:3]:
        batches.clear()
        strategy.train(experience, eval_streams=[])
        rows = torch.cat([rows for epoch, rows, _, _ in batches if epoch == 0]).tolist()
        expected = [
            r for part in benchmark.train_stream[: experience.current_experience + 1] for r in part.dataset.rows
        ]
        assert sorted(rows) == sorted(expected)
        for _, _, is_rehearsal, labels in batches:
            new = torch.isin(labels, torch.tensor(experience.group))
            assert torch.equal(is_rehearsal, ~new)


def test_herding_equals_an_exhaustive_search():
    embeddings = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chosen = []
    for _ in range(5):  # at each step, try every sample that is left
        left = [index for index in range(9) if index not in chosen]
        distance = {i: (embeddings.mean(0) - embeddings[[*chosen, i]].mean(0)).norm().item() for i in left}
        chosen.append(min(distance, key=distance.get))
    assert herding(embeddings, limit=5).tolist() == chosen
    assert sorted(herding(embeddings, limit=50).tolist()) == list(range(9))


def test_herded_samples_are_nearer_the_mean_than_random_ones(make, digits, benchmark):
    strategy = make(naive)
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    rows = torch.tensor(benchmark.train_stream[0].dataset.rows[:])
    embeddings = unit_embeddings(strategy.model, digits[0], rows, 64, torch.device("cpu"))
    gap = lambda chosen: (embeddings.mean(0) - embeddings[chosen].mean(0)).norm().item()  # noqa: E731
    random = [gap(torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:5]) for seed in range(20)]
    assert gap(herding(embeddings, limit=5)) < min(random)


def test_random_memories_differ_by_seed(make, benchmark):
    kept = []
    for seed in (0, 1):
        strategy = make(replay, memory_size=20, seed=seed)
        strategy.train(benchmark.train_stream[0], eval_streams=[])
        kept.append(memory(strategy))
    assert kept[0] != kept[1] and Counter(map(len, kept[0].values())) == {10: 2}


def test_a_memory_smaller_than_the_number_of_classes_raises_before_training(make, benchmark):
    with pytest.raises(ConfigError, match="memory_size.*9.*10"):
        make(replay, memory_size=9).train(benchmark.train_stream[0])


def test_settings_out_of_range_raise(make):
    with pytest.raises(ConfigError, match="memory_size.*-1"):
        make(replay, memory_size=-1)
    with pytest.raises(ConfigError, match="selection.*'best'.*'herding'"):
        make(replay, selection="best")


@pytest.fixture
def grouped(digits):
    """The digits in three superclasses of two, five and three classes."""
    parts = [copy(part) for part in digits]
    for part in parts:
        part.superclasses = ["few"] * 2 + ["many"] * 5 + ["some"] * 3
    return parts


@pytest.mark.parametrize("selection", ["random", "herding"])
def test_a_memory_by_superclass_is_balanced_over_superclasses(selection, make, grouped):
    benchmark = class_incremental(*grouped, 3, ["many", "few", "some"], by_superclass=True)
    strategy = make(replay, memory_size=23, selection=selection, by_superclass=True, epochs=1)
    expected = [{"many": 23}, {"many": 12, "few": 11}, {"many": 8, "few": 8, "some": 7}]
    kept = {}
    for experience, shares in zip(benchmark.train_stream, expected, strict=True):
        strategy.train(experience, eval_streams=[])
        rows = [row for rows in memory(strategy).values() for row in rows]
        source = experience.source
        assert Counter(source.superclasses[source.labels[row]] for row in rows) == shares
        assert len(set(rows)) == len(rows)
        for superclass, earlier in kept.items():
            assert memory(strategy)[superclass] == earlier[: len(memory(strategy)[superclass])]
        kept = {superclass: list(rows) for superclass, rows in memory(strategy).items()}
    assert len({source.labels[row] for row in kept[1]}) > 1  # of "many", rows of several classes


def test_a_memory_by_superclass_allows_a_class_without_samples(make, grouped):
    train = grouped[0]
    rows = [row for row, label in enumerate(train.labels) if label != 8]
    train.labels, train.texts = ([values[row] for row in rows] for values in (train.labels, train.texts))
    train.features, train._labels = train.features[rows], train._labels[rows]
    benchmark = class_incremental(*grouped, 3, by_superclass=True)
    strategy = make(replay, memory_size=20, by_superclass=True, epochs=1)
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
    assert [len(rows) for rows in memory(strategy).values()] == [7, 7, 6]


def test_a_memory_smaller_than_the_number_of_superclasses_raises(make, grouped):
    benchmark = class_incremental(*grouped, 3, by_superclass=True)
    with pytest.raises(ConfigError, match="memory_size.*2.*3 superclasses"):
        make(replay, memory_size=2, by_superclass=True).train(benchmark.train_stream[0])
    make(replay, memory_size=3, by_superclass=True, epochs=1).train(benchmark.train_stream[0])


def test_a_memory_by_superclass_needs_superclasses_that_arrive_whole(make, benchmark, grouped):
    with pytest.raises(ConfigError, match="by_superclass=False"):
        make(replay, by_superclass=True).train(benchmark.train_stream[0])
    by_class = class_incremental(*grouped, 5, class_order=range(10))
    with pytest.raises(ConfigError, match="'many'.*by_superclass=True"):
        make(replay, by_superclass=True).train(by_class.train_stream[0])


@pytest.mark.parametrize("scale", [1e30, 1e38, 1e-30, 1e-38])
def test_herding_does_not_depend_on_the_scale_of_embeddings(scale):
    rows = torch.rand(12, 3, generator=torch.Generator().manual_seed(0))
    assert herding(scale * rows, limit=12).tolist() == herding(rows, limit=12).tolist()
    assert sorted(herding(torch.zeros(5, 3), limit=5).tolist()) == [0, 1, 2, 3, 4]
    with elsewhere(), pytest.raises(InputError, match="embeddings.*row 3"):
        herding(rows.index_fill(0, torch.tensor([3]), torch.nan), limit=2)


def test_the_memory_of_a_class_stands_for_all_its_domains(make, digits):
    for part, size in zip(digits, (240, 60), strict=True):  # 24 training samples of each class, in four domains
        part.rooms = ["hall", "hall", "car", "car", "street", "street", "cafe", "cafe"] * (size // 8) + ["hall"] * (
            size % 8
        )
    order = ["hall", "car", "street", "cafe"]
    benchmark, found = class_incremental(*digits, experiences=4, class_order=order, domain="rooms"), Counter()
    for seed in range(4):
        strategy = make(replay, seed=seed, memory_size=30, epochs=1)
        for experience in benchmark.train_stream:
            strategy.train(experience, eval_streams=[])
        (memory,) = [plugin for plugin in strategy.plugins if isinstance(plugin, Rehearsal)]
        assert all(len(rows) == len(set(rows)) == 3 for rows in memory.memory.values())
        found.update(digits[0].rooms[row] for row in memory.rows)
    assert sum(found.values()) == 120 and all(15 <= found[name] <= 45 for name in order), found
