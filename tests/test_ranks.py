import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmcl import ranks
from mmcl.errors import ConfigError

CASES = """
import glob, json, os, sys
import torch
from mmcl import ranks
from mmcl.errors import ProcessError

ranks.launch(2)
own = ranks.number()
torch.manual_seed(0)
found = {"count": ranks.count(), "first": ranks.from_first(["first", "second"][own]), "all": ranks.everyones(own)}
found["total"] = ranks.total(own + 1.5)
found["added"] = ranks.added_up([{"a": 1.0}, {"a": 2.0, "b": 3.0}][own])
found["parts"] = ranks.everyones(ranks.own_part(torch.arange(5)).tolist())
model = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
with torch.no_grad():
    model[0].weight.fill_(own + 1.0)
(model[0].weight.sum() * (own + 1)).backward()
if own == 1:
    (model[1].bias * 5).backward()
ranks.add_gradients(model.parameters())
found["gradients"] = [None if p.grad is None else p.grad.flatten().tolist() for p in model.parameters()]
found["same gradients"] = ranks.everyones(found["gradients"])
ranks.copy_first(model)
found["weights"] = ranks.everyones(model[0].weight.flatten().tolist())
before = torch.get_rng_state()
ranks.part_generators()
found["first generator as it was"] = ranks.from_first(bool(torch.equal(before, torch.get_rng_state())))
found["drawn"] = ranks.everyones(float(torch.rand(1)))
path = sys.argv[1]
with ranks.first_goes_ahead():
    if own == 0:
        open(path, "w").write("ready")
    found["found"] = os.path.exists(path)
found["found"] = ranks.everyones(found["found"])
if len(sys.argv) > 2:
    import torch._dynamo  # which has a group as default of arguments, if there is one

    threads = lambda: [open(path).read().strip() for path in glob.glob("/proc/self/task/*/comm")]
    before = threads()
    ranks.leave()
    line = json.dumps({"before": before, "after": threads(), "count": ranks.count()})
    os.write(1, (line + chr(10)).encode())  # in one piece, whatever the other writes
    sys.exit()
if own == 0:
    print(json.dumps(found))
else:
    os._exit(3)
try:
    for _ in range(100):
        ranks.total(1)
except ProcessError as error:
    print(json.dumps(str(error)))
    os._exit(0)
"""


def two_processes(folder, *arguments):
    """Return what they printed."""
    (folder / "cases.py").write_text(CASES)
    command = [sys.executable, "-W", "ignore", str(folder / "cases.py"), str(folder / "ready"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("{", '"'))]
    assert len(lines) == 2, done.stdout + done.stderr
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What two processes found, and what the first said when the other had ended."""
    return two_processes(tmp_path_factory.mktemp("ranks"))


def test_values_go_between_processes(printed):
    found, _ = printed
    assert found["count"] == 2 and found["first"] == "first" and found["all"] == [0, 1] and found["total"] == 4.0
    assert found["added"] == {"a": 3.0, "b": 3.0} and found["parts"] == [[0, 1, 2], [3, 4]]
    assert found["found"] == [True, True]


def test_gradients_add_up_and_weights_are_the_first_ones(printed):
    found, _ = printed
    assert found["gradients"] == [[3.0, 3.0], None, None, [5.0], None, None]
    assert found["same gradients"] == [found["gradients"]] * 2
    assert found["weights"] == [[1.0, 1.0]] * 2


def test_each_process_draws_its_own(printed):
    found, _ = printed
    assert found["first generator as it was"] and found["drawn"][0] != found["drawn"][1]


def test_a_process_that_is_gone_is_told(printed):
    assert printed[1].startswith("process 1 of 2 cannot reach another (") and "one has ended" in printed[1]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed by Linux alone")
def test_processes_that_leave_keep_no_thread_of_their_group(tmp_path):
    for found in two_processes(tmp_path, "and leave"):
        assert any("gloo" in name for name in found["before"])
        assert not any("gloo" in name for name in found["after"]) and found["count"] == 1


def test_one_process_is_all_there_is():
    model = torch.nn.Linear(1, 1)
    model(torch.ones(1, 1)).sum().backward()
    gradient = model.weight.grad.clone()
    ranks.add_gradients(model.parameters())
    assert torch.equal(model.weight.grad, gradient) and ranks.count() == 1 and ranks.is_first()
    assert ranks.from_first("x") == "x" and ranks.everyones(2) == [2] and ranks.total(3.0) == 3.0
    assert not ranks.was_left(RuntimeError("gloo: connection closed"))  # of no other process of ours


def test_devices_that_cannot_be_are_told():
    with pytest.raises(ConfigError, match="devices=0, nodes=1: expected 1 or more"):
        ranks.launch(0)
    with pytest.raises(ConfigError, match="devices is 64, and this machine has"):
        ranks.launch(64, device="cuda")
