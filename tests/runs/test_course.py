import pytest
import torch

from mmcl.config.model import StrictModel
from mmcl.data import class_incremental
from mmcl.runs.course import learn_stream, trained_parameters
from mmcl.runs.run import Run
from mmcl.runs.tracking import Tracking
from mmcl.strategies import first_session, naive, slda
from mmcl.strategies.accuracy_matrix import AccuracyMatrix


class Config(StrictModel):
    epochs: int = 2


class Stops(Exception):
    pass


@pytest.fixture
def learn(make, make_closed, benchmark):
    """Return a function that trains on the stream, or resumes a run; it stops after ``stop`` evaluations."""

    def _learn(run, stop=None, keep=None, preset=naive):
        accuracy, tracking = AccuracyMatrix(), Tracking(run, "naive", 0, share=1)
        plugins = [accuracy, tracking]
        strategy = make_closed(slda, plugins=plugins) if preset is slda else make(preset, epochs=2, plugins=plugins)
        evaluate, tests = strategy.eval, []

        def stopping(stream):
            if len(tests) == stop:
                raise Stops
            tests.append(stream)
            evaluate(stream)

        strategy.eval = stopping
        saved = run.restore("naive-seed0")
        learn_stream(run, strategy, benchmark, tracking, accuracy, saved=saved and saved["training"], keep=keep)
        return strategy.model.state_dict()

    return _learn


def test_evaluations_are_logged(learn, benchmark, tmp_path):
    with Run.create("test", Config(), tmp_path / "run") as run:
        model = learn(run)
        (stream,), (result,) = run.metrics("stream"), run.metrics("result")
        tested = run.metrics("evaluation")
        assert stream["class_order"] == benchmark.description["class_order"] and len(tested) == 5
        assert [row["experience"] for row in tested] == [0, 1, 2, 3, 4]
        assert all(len(row["accuracy"]) == 5 and 0 <= row["seen_accuracy"] <= 1 for row in tested)
        assert set(tested[0]["per_class"]) <= set(benchmark.train_stream[0].source.classes)
        assert result["last_accuracy"] == pytest.approx(tested[-1]["seen_accuracy"]) and result["strategy"] == "naive"
        saved = run.restore("naive-seed0")
        assert saved["finished"] and all(torch.equal(value, model[name]) for name, value in saved["model"].items())


@pytest.mark.parametrize("preset", [naive, slda, first_session])
def test_resumed_stream_equals_uninterrupted_stream(preset, learn, tmp_path):
    with Run.create("test", Config(), tmp_path / "whole") as run:
        whole, rows = learn(run, preset=preset), run.metrics("evaluation")
        assert run.metrics("result")[0]["seconds"] > 0
    with Run.create("test", Config(), tmp_path / "run") as run:
        with pytest.raises(Stops):
            learn(run, stop=2, preset=preset)
        assert len(run.metrics("evaluation")) == 2
        again = learn(run, preset=preset)
        kept = [name for name in whole if preset is not slda or name.startswith("readout.")]
        assert kept and all(torch.equal(whole[name], again[name]) for name in kept)
        assert run.metrics("evaluation") == rows and len(run.metrics("stream")) == 1


def test_the_trained_model_is_passed_on_before_the_last_checkpoint(learn, tmp_path):
    kept = []
    with Run.create("test", Config(), tmp_path / "run") as run:
        state = learn(run, keep=lambda model: kept.append((model, run.restore("naive-seed0"))))
        (model, before), after = kept[0], run.restore("naive-seed0")
    assert len(kept) == 1 and not (before or {}).get("finished") and after["finished"]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_stream_of_domains_has_a_forward_transfer_beyond_chance(make, digits, tmp_path):
    for part, speakers in zip(digits, (12, 3), strict=True):  # samples of a class alternate between two speakers
        part.speakers = ["george", "jackson"] * (10 * speakers)
    benchmark, accuracy = class_incremental(*digits, experiences=2, domain="speakers"), AccuracyMatrix()
    with Run.create("test", Config(), tmp_path / "run") as run:
        tracking = Tracking(run, "naive", 0, share=1)
        strategy = make(naive, epochs=2, plugins=[accuracy, tracking])
        learn_stream(run, strategy, benchmark, tracking, accuracy)
        (stream,), (result,) = run.metrics("stream"), run.metrics("result")
    assert sorted(stream["domains"]) == [["george"], ["jackson"]] and 0 < accuracy.baseline[1] < 0.5
    expected = accuracy.matrix[0][1] - accuracy.baseline[1]
    assert result["forward_transfer"] == pytest.approx(expected) and expected > 0
    assert result["backward_transfer"] == pytest.approx(accuracy.matrix[1][0] - accuracy.matrix[0][0])


def test_parameters_that_are_trained_are_counted(make, make_closed, benchmark, train):
    counts = {}
    for preset in (naive, first_session, slda):
        strategy = make_closed(slda) if preset is slda else make(preset, epochs=1)
        train(strategy, benchmark)
        counts[preset] = trained_parameters(strategy)
    assert counts[slda] == 0
    assert counts[naive] - counts[first_session] == 65 * (9 - max(benchmark.train_stream[0].group))
