import json

import pytest

from mmcl.encoders.base import weights_hash
from mmcl.errors import ConfigError, DataError, StreamError
from mmcl.models.readouts import StreamingLDA
from mmcl.strategies import ClosedForm, coconut, naive
from mmcl.strategies.rehearsal import Rehearsal
from mmcl.strategies.stream_unlearning import (
    check_purged,
    record_digest,
    unlearn_in_stream,
    write_record,
)
from mmcl.strategies.teacher import teacher_of

QUICK = {"epochs": 2, "vae_epochs": 2, "unlearning_learning_rate": 1e-3, "alignment_learning_rate": 1e-3}


@pytest.fixture
def learned(make, train, benchmark):
    """A strategy after two of five experiences, its last experience, and the rows of the first class it learned."""
    strategy = make(coconut, memory_size=20)
    train(strategy, benchmark, 2)
    label = benchmark.train_stream[0].group[0]
    experience = benchmark.train_stream[1]
    return strategy, experience, [row for row, other in enumerate(experience.source.labels) if other == label]


def memory(strategy):
    return next(plugin for plugin in strategy.plugins if isinstance(plugin, Rehearsal))


def test_model_memory_and_teacher_forget_the_samples(learned):
    strategy, experience, rows = learned
    held = [row for row in memory(strategy).rows if row in rows]
    others = [row for row in memory(strategy).rows if row not in rows]
    record = unlearn_in_stream(strategy, experience, rows, **QUICK)
    assert len(held) == 5 and memory(strategy).rows == others
    assert record["samples"] == len(rows) and record["ids"] == [str(row) for row in rows]
    assert (record["from_memory"], record["memory_before"], record["memory_after"]) == (5, 20, 15)
    assert record["method"] == "laf" and record["settings"] == QUICK
    assert record["weights_before"] != record["weights_after"] == weights_hash(strategy.model)
    assert weights_hash(teacher_of(strategy)) == record["weights_after"]


def test_by_default_the_memory_and_the_last_experience_are_kept(learned, monkeypatch):
    strategy, experience, rows = learned
    seen = {}

    def watch(model, remain, forget, **settings):
        seen.update(remain=remain.rows, forget=forget.rows, **settings)
        return model

    monkeypatch.setattr("mmcl.strategies.stream_unlearning.unlearn", watch)
    unlearn_in_stream(strategy, experience, [*rows, rows[0]], method="neg_grad", epochs=3)
    recent = experience.dataset.rows[:]
    assert seen["forget"] == rows and seen["method"] == "neg_grad" and seen["epochs"] == 3
    assert set(seen["remain"]) == set(memory(strategy).rows) | set(recent) and not set(seen["remain"]) & set(rows)
    unlearn_in_stream(strategy, experience, rows, remain=[recent[0]])
    assert seen["remain"] == [recent[0]]


def test_later_experiences_do_not_rehearse_forgotten_samples(learned, benchmark):
    strategy, experience, rows = learned
    unlearn_in_stream(strategy, experience, rows, **QUICK)
    for later in benchmark.train_stream[2:]:
        strategy.train(later, eval_streams=[])
        check_purged(strategy, rows, later.source)
        rehearsed = set(strategy.memory_rows)
        assert rehearsed and not rehearsed & set(rows)
    counts = [len(own) for own in memory(strategy).memory.values()]
    assert len(counts) == 9 and sum(counts) <= 20


def test_unlearning_with_zero_epochs_changes_nothing(learned):
    strategy, experience, rows = learned
    before = weights_hash(strategy.model)
    record = unlearn_in_stream(strategy, experience, rows, **{**QUICK, "epochs": 0})
    assert record["weights_before"] == record["weights_after"] == before


def test_a_memory_that_still_holds_forgotten_samples_raises(learned, monkeypatch):
    strategy, experience, rows = learned
    monkeypatch.setattr(Rehearsal, "purge", lambda memory, rows: [])
    before = weights_hash(strategy.model)
    first = next(row for row in memory(strategy).rows if row in rows)
    with pytest.raises(DataError, match=f"memory.*5 samples.*first {first}"):
        unlearn_in_stream(strategy, experience, rows, **QUICK)
    assert weights_hash(strategy.model) == before


def test_a_failed_method_leaves_the_strategy_unchanged(learned):
    strategy, experience, rows = learned
    before, held = weights_hash(strategy.model), memory(strategy).rows
    with pytest.raises(ConfigError, match="'laff'"):
        unlearn_in_stream(strategy, experience, rows, method="laff")
    assert weights_hash(strategy.model) == before and memory(strategy).rows == held


def test_foreign_experiences_and_empty_sets_raise(learned, make, benchmark):
    strategy, experience, rows = learned
    with pytest.raises(StreamError, match="class_incremental"):
        unlearn_in_stream(strategy, None, rows)
    with pytest.raises(DataError, match="0 samples to forget"):
        unlearn_in_stream(strategy, experience, [])
    alone = make(naive)
    alone.train(first := benchmark.train_stream[0], eval_streams=[])
    with pytest.raises(DataError, match="0 samples to keep"):
        unlearn_in_stream(alone, first, first.dataset.rows[:])


def test_a_read_out_that_counts_the_samples_raises(make, train, benchmark):
    strategy = make(naive, plugins=[ClosedForm(StreamingLDA())], epochs=1)
    train(strategy, benchmark, 1)
    with pytest.raises(ConfigError, match="statistics"):
        unlearn_in_stream(strategy, benchmark.train_stream[0], [0], **QUICK)


def test_the_digest_of_a_record_detects_changes(learned, tmp_path):
    strategy, experience, rows = learned
    record = unlearn_in_stream(strategy, experience, rows, **QUICK)
    whole = write_record(tmp_path / "record.json", record, before={"test": 0.9}, after={"test": 0.8})
    read = json.loads((tmp_path / "record.json").read_text())
    assert read == whole and read["digest"] == record_digest(read) and read["after"] == {"test": 0.8}
    read["samples"] += 1
    assert read["digest"] != record_digest(read)
