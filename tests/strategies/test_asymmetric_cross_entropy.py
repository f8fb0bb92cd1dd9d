import math
import subprocess
import sys

import pytest
import torch
from avalanche.core import SupervisedPlugin

from mmcl.errors import ConfigError
from mmcl.strategies import AsymmetricCrossEntropy, er_ace, naive


class Losses(SupervisedPlugin):
    """Keeps the loss, the logits before the mask, and the batch of each step."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def after_backward(self, strategy, **kwargs):
        logits, batch = strategy.output.logits.detach(), strategy.mbatch
        entries = (batch["label"].tolist(), batch["is_rehearsal"].tolist())
        self.steps.append((strategy.loss.detach(), logits.tolist(), *entries))


def slow(logits, labels, rehearsed, current):
    """Mean over samples of -log softmax over the classes that the sample is compared with."""
    losses = []
    for scores, label, is_rehearsal in zip(logits, labels, rehearsed, strict=True):
        seen = [c for c, score in enumerate(scores) if score > -math.inf]
        compared = seen if is_rehearsal else [c for c in seen if c in current]
        losses.append(math.log(sum(math.exp(scores[c] - scores[label]) for c in compared)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("current", ["batch", "experience"])
def test_each_sample_is_compared_with_its_classes(current, make, train, benchmark):
    steps = Losses()
    strategy = make(er_ace, memory_size=30, current=current, batch_size=8, epochs=1, plugins=[steps])
    train(strategy, benchmark, 1)
    steps.steps.clear()
    for experience in benchmark.train_stream[1:3]:
        strategy.train(experience, eval_streams=[])
        for loss, logits, labels, rehearsed in steps.steps:
            of_batch = {label for label, old in zip(labels, rehearsed, strict=True) if not old}
            expected = slow(logits, labels, rehearsed, of_batch if current == "batch" else set(experience.group))
            assert loss == pytest.approx(expected, rel=1e-5)
        steps.steps.clear()


def test_new_samples_leave_the_rows_of_old_classes_alone(make, train, benchmark):
    """Without a memory, nothing pushes old classes down."""
    strategy = make(er_ace, memory_size=0)
    train(strategy, benchmark, 1)
    old = sorted(benchmark.train_stream[0].group)
    before = strategy.model.head.weight[old].clone()
    strategy.optimizer.param_groups[0]["weight_decay"] = 0.0
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    torch.testing.assert_close(strategy.model.head.weight[old], before)


def test_the_first_experience_has_the_plain_cross_entropy(make, train, benchmark):
    one, other = train(make(er_ace, memory_size=0), benchmark, 1), train(make(naive), benchmark, 1)
    assert all(torch.equal(one[name], value) for name, value in other.items())


SPREAD = """
import sys
import torch
from mmcl import distributed
from mmcl.data import class_incremental
from mmcl.seeding import seed_everything
from mmcl.strategies import er_ace

distributed.launch(int(sys.argv[1]))
seed_everything(0)
samples = [(torch.randn(6) + row % 5, row % 5) for row in range(52)]
benchmark = class_incremental(samples, samples, experiences=2, seed=0)
model = torch.nn.Linear(6, 5)
strategy = er_ace(model, torch.optim.SGD(model.parameters(), lr=0.1), memory_size=10, batch_size=6)
for experience in benchmark.train_stream:
    strategy.train(experience, eval_streams=[])
if distributed.is_main():
    print(model.weight.flatten().tolist())
distributed.leave()
"""


def test_two_processes_equal_one(tmp_path):
    (tmp_path / "spread.py").write_text(SPREAD)
    found = []
    for processes in ("1", "2"):
        command = [sys.executable, "-W", "ignore", str(tmp_path / "spread.py"), processes]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found.append([float(each) for each in done.stdout.splitlines()[-1].strip("[]").split(",")])
    assert found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-6)


def test_unknown_classes_and_decoders_raise(make, make_seq2seq, sequence_benchmark):
    with pytest.raises(ConfigError, match="'task'"):
        make(er_ace, current="task")
    strategy = make_seq2seq(naive, plugins=[AsymmetricCrossEntropy()])
    with pytest.raises(ConfigError, match="SLUSeq2Seq"):
        strategy.train(sequence_benchmark.train_stream[0], eval_streams=[])
