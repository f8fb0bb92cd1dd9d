import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mmcl.errors import ConfigError, LabelError
from mmcl.models.readouts import FeCAM, NearestClassMean, RanPAC, StreamingLDA
from mmcl.models.readouts.base import STATISTICS, active_read_out, discriminant
from mmcl.models.readouts.statistics import ClassStatistics

KINDS = {
    "ncm": NearestClassMean,
    "slda": StreamingLDA,
    "ranpac": lambda: RanPAC(projections=24),
    "fecam": FeCAM,
    "fecam shared": lambda: FeCAM(covariance="shared"),
    "fecam diagonal": lambda: FeCAM(covariance="diagonal"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_scores_do_not_depend_on_the_order_of_samples_and_batches(kind, samples, fit):
    embeddings, labels, tests = samples()
    held_out = torch.arange(len(labels)) % 5 == 4
    expected = fit(KINDS[kind](), embeddings, labels, held_out=held_out)(tests)
    for seed in range(3):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        scores = fit(KINDS[kind](), embeddings[order], labels[order], seed + 2, held_out[order])(tests)
        torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)


@every_kind
def test_classes_that_have_not_arrived_have_no_score(kind, samples, fit):
    embeddings, labels, tests = samples()
    scores = fit(KINDS[kind](), embeddings, labels + 2)(tests)
    assert scores.shape == (len(tests), 5)
    assert bool((scores[:, :2] == -torch.inf).all()) and bool(scores[:, 2:].isfinite().all())


@every_kind
def test_a_class_may_have_one_sample(kind, samples, fit):
    embeddings, labels, _ = samples(each=1)
    scores = fit(KINDS[kind](), embeddings, labels)(embeddings)
    assert scores.argmax(1).tolist() == labels.tolist()


@every_kind
def test_a_class_may_have_fewer_samples_than_dimensions(kind, samples, fit):
    embeddings, labels, tests = samples(each=4, dim=40)
    assert bool(fit(KINDS[kind](), embeddings, labels)(tests).isfinite().all())


@every_kind
def test_constant_dimensions_are_no_fault(kind, samples, fit):
    """Units that are zero for every sample, as those of a ReLU may be, make every covariance singular."""
    embeddings, labels, _ = samples()
    embeddings[:, 2] = 0
    means = torch.stack([embeddings[labels == label].mean(0) for label in range(3)])
    scores = fit(KINDS[kind](), embeddings, labels)(means)
    assert bool(scores.isfinite().all()) and scores.argmax(1).tolist() == [0, 1, 2]


@every_kind
def test_a_saved_read_out_continues_where_it_stopped(kind, samples, fit):
    embeddings, labels, tests = samples()
    whole = fit(KINDS[kind](), embeddings, labels)
    saved, loaded = fit(KINDS[kind](), embeddings[:30], labels[:30]), KINDS[kind]()
    loaded.load_state_dict(saved.state_dict())
    assert torch.equal(loaded(tests), saved(tests))
    torch.testing.assert_close(fit(loaded, embeddings[30:], labels[30:])(tests), whole(tests), rtol=1e-6, atol=1e-6)


@every_kind
def test_a_solution_is_loaded_without_statistics(kind, samples, fit):
    embeddings, labels, tests = samples()
    solved, loaded = fit(KINDS[kind](), embeddings, labels), KINDS[kind]()
    loaded.expect(dim=5, classes=3)
    state = {name: each for name, each in solved.state_dict().items() if not name.startswith(STATISTICS)}
    shapes = {name: each.shape for name, each in loaded.state_dict().items() if not name.startswith(STATISTICS)}
    assert shapes == {name: each.shape for name, each in state.items()}
    loaded.load_state_dict(state, strict=False)
    assert torch.equal(loaded(tests), solved(tests))
    with pytest.raises(ConfigError, match="statistics"):
        loaded.grow([3])


@every_kind
def test_bfloat16_does_not_reach_the_scores(kind, samples, fit):
    embeddings, labels, tests = samples()
    readout = fit(KINDS[kind](), embeddings, labels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(readout(tests), readout.eval()(tests))
        assert readout(tests).dtype == torch.float32


@every_kind
def test_forgotten_samples_leave_no_trace(kind, samples, fit):
    embeddings, labels, tests = samples()
    readout = fit(KINDS[kind](), embeddings + 3, labels)
    readout.reset()
    expected = fit(KINDS[kind](), embeddings, labels)(tests)
    torch.testing.assert_close(fit(readout, embeddings, labels)(tests), expected, rtol=0, atol=0)


def test_settings_are_those_of_the_constructor():
    assert RanPAC(projections=3, ridges=(1.0, 2.0)).settings == {
        "projections": 3,
        "activation": "relu",
        "ridges": [1.0, 2.0],
        "seed": 0,
    }


def test_labels_are_checked():
    with pytest.raises(LabelError, match="-1"):
        NearestClassMean().grow([-1])


def test_a_read_out_is_active_in_evaluation_once_it_is_solved(samples, fit):
    model = nn.Linear(2, 2)
    assert active_read_out(model.eval()) is None
    model.readout = NearestClassMean()
    assert active_read_out(model.eval()) is None
    embeddings, labels, _ = samples()
    fit(model.readout, embeddings, labels)
    assert active_read_out(model.eval()) is model.readout and active_read_out(model.train()) is None


def test_the_discriminant_of_the_identity_is_the_nearest_mean(samples):
    embeddings, labels, tests = samples()
    statistics = ClassStatistics("none")
    statistics.resize(3, 5)
    statistics.add(embeddings, labels)
    solved = discriminant(statistics)
    scores = tests.double() @ solved["weight"].T + solved["bias"]
    squared = -0.5 * torch.cdist(tests.double(), statistics.means()).square()
    torch.testing.assert_close(scores.log_softmax(1), squared.log_softmax(1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ncm", "slda", "ranpac", "fecam, shared", "fecam, diagonal"])
def test_ten_thousand_classes_fit_into_two_gibibytes(kind):
    script = Path(__file__).parents[2] / "benchmarks" / "closed_form.py"
    command = [sys.executable, "-W", "ignore", str(script), "--one", kind, "10000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 2
