import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmcl import distributed
from mmcl.errors import ConfigError, ProcessError

CASES = """
import glob, json, os, sys
import torch
from mmcl import distributed
from mmcl.errors import ProcessError

distributed.launch(2)
own = distributed.rank()
torch.manual_seed(0)
found = {"count": distributed.world_size(), "all": distributed.all_gather_object(own)}
found["first"] = distributed.broadcast_object(["first", "second"][own])
found["total"] = distributed.all_reduce_sum(own + 1.5)
found["added"] = distributed.all_reduce_sums([{"a": 1.0}, {"a": 2.0, "b": 3.0}][own])
found["parts"] = distributed.all_gather_object(distributed.shard(torch.arange(5)).tolist())
model = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
with torch.no_grad():
    model[0].weight.fill_(own + 1.0)
(model[0].weight.sum() * (own + 1)).backward()
if own == 1:
    (model[1].bias * 5).backward()
distributed.all_reduce_gradients(model.parameters())
found["gradients"] = [None if p.grad is None else p.grad.flatten().tolist() for p in model.parameters()]
found["same gradients"] = distributed.all_gather_object(found["gradients"])
distributed.broadcast_parameters(model)
found["weights"] = distributed.all_gather_object(model[0].weight.flatten().tolist())
before = torch.get_rng_state()
distributed.seed_ranks()
found["first generator as it was"] = distributed.broadcast_object(bool(torch.equal(before, torch.get_rng_state())))
found["drawn"] = distributed.all_gather_object(float(torch.rand(1)))
path = sys.argv[1]
with distributed.main_first():
    if own == 0:
        open(path, "w").write("ready")
    found["found"] = os.path.exists(path)
found["found"] = distributed.all_gather_object(found["found"])
if len(sys.argv) > 2:
    import torch._dynamo  # which has a group as default of arguments, if there is one

    threads = lambda: [open(path).read().strip() for path in glob.glob("/proc/self/task/*/comm")]
    before = threads()
    distributed.leave()
    line = json.dumps({"before": before, "after": threads(), "count": distributed.world_size()})
    os.write(1, (line + chr(10)).encode())  # atomically, while the other process writes
    sys.exit()
if own == 0:
    print(json.dumps(found))
else:
    os._exit(3)
try:
    for _ in range(100):
        distributed.all_reduce_sum(1)
except ProcessError as error:
    print(json.dumps(str(error)))
    os._exit(0)
"""


def two_processes(folder, *arguments):
    """Return the output of the processes."""
    (folder / "cases.py").write_text(CASES)
    command = [sys.executable, "-W", "ignore", str(folder / "cases.py"), str(folder / "ready"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("{", '"'))]
    assert len(lines) == 2, done.stdout + done.stderr
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Results of two processes, and the error of the first after the other has ended."""
    return two_processes(tmp_path_factory.mktemp("ranks"))


def test_collectives_exchange_values(printed):
    found, _ = printed
    assert found["count"] == 2 and found["first"] == "first" and found["all"] == [0, 1] and found["total"] == 4.0
    assert found["added"] == {"a": 3.0, "b": 3.0} and found["parts"] == [[0, 1, 2], [3, 4]]
    assert found["found"] == [True, True]


def test_gradients_are_summed_and_weights_come_from_rank_0(printed):
    found, _ = printed
    assert found["gradients"] == [[3.0, 3.0], None, None, [5.0], None, None]
    assert found["same gradients"] == [found["gradients"]] * 2
    assert found["weights"] == [[1.0, 1.0]] * 2


def test_ranks_draw_different_numbers(printed):
    found, _ = printed
    assert found["first generator as it was"] and found["drawn"][0] != found["drawn"][1]


def test_ended_process_raises(printed):
    assert printed[1].startswith("process 1 of 2 cannot reach another (") and "one has ended" in printed[1]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed by Linux alone")
@pytest.mark.slow
def test_leave_ends_all_threads_of_the_group(tmp_path):
    for found in two_processes(tmp_path, "and leave"):
        assert any("gloo" in name for name in found["before"])
        assert not any("gloo" in name for name in found["after"]) and found["count"] == 1


def test_single_process():
    model = torch.nn.Linear(1, 1)
    model(torch.ones(1, 1)).sum().backward()
    gradient = model.weight.grad.clone()
    distributed.all_reduce_gradients(model.parameters())
    assert torch.equal(model.weight.grad, gradient) and distributed.world_size() == 1 and distributed.is_main()
    assert (
        distributed.broadcast_object("x") == "x"
        and distributed.all_gather_object(2) == [2]
        and distributed.all_reduce_sum(3.0) == 3.0
    )
    assert not distributed.peer_lost(RuntimeError("gloo: connection closed"))  # of no other process of ours


def test_invalid_devices_raise():
    with pytest.raises(ConfigError, match="devices=0, nodes=1: expected 1 or more"):
        distributed.launch(0)
    with pytest.raises(ConfigError, match="cuda"):
        distributed.launch(64, device="cuda")


FAULTS = """
import json, sys, time
from datetime import timedelta
import torch
import torch.distributed.nn.functional, torch.distributed.optim
from mmcl import distributed
from mmcl.errors import MMCLError
from mmcl.objectives.kernel.gather import Processes

rank, meeting, how = int(sys.argv[1]), sys.argv[2], sys.argv[3]

class Gone(Exception):
    pass

def gone():
    raise Gone

def gradients(width=2):
    layer = torch.nn.Linear(width, 1)
    layer(torch.ones(1, width)).sum().backward()
    distributed.all_reduce_gradients(layer.parameters())

def backward():
    rows = torch.ones(2, 3, requires_grad=True)
    gathered = Processes.of(rows).gather(rows)
    if rank:
        gone()
    gathered.sum().backward()

def rows_missing():
    processes = Processes.of(torch.ones(2, 3))
    processes.gather(torch.ones(2 + rank, 3))

def later_shape():
    processes = Processes.of(torch.ones(2, 3))
    processes.gather(torch.ones(2, 3 + rank))

waiting = {
    "a gather": lambda: Processes.of(torch.ones(2, 3)),
    "gradients of a gather": backward,
    "a broadcast": lambda: distributed.broadcast_object("x"),
    "values": lambda: distributed.all_gather_object("x"),
    "a sum": lambda: distributed.all_reduce_sum(1.0),
    "gradients": gradients,
    "weights": lambda: distributed.broadcast_parameters(torch.nn.Linear(2, 1)),
    "the first": lambda: distributed._wait_patiently(),
}
differing = {
    "width": lambda: Processes.of(torch.ones(2, 3 + rank)),
    "dimensions": lambda: Processes.of(torch.ones((2, 3, 4)[: 2 + rank])),
    "type": lambda: Processes.of(torch.ones(2, 3, dtype=(torch.float32, torch.float64)[rank])),
    "rows": rows_missing,
    "width of what comes later": later_shape,
    "parameters": lambda: gradients(2 + rank),
    "no parameters": lambda: distributed.all_reduce_gradients([]) if rank else gradients(),
    "model": lambda: distributed.broadcast_parameters(torch.nn.Linear(2, 1 + rank)),
    "names": lambda: distributed.broadcast_parameters(torch.nn.ModuleDict({"ab"[rank]: torch.nn.Linear(1, 1)})),
}
found, timeout = {}, timedelta(seconds=2 if how == "late" else 30)
if how == "late":  # both are slow
    waiting = {name: waiting[name] for name in ("a gather", "gradients of a gather", "a broadcast", "gradients")}
for name, operation in (differing if how == "differ" else waiting).items():
    place = f"file://{meeting}-{name.replace(' ', '-')}"
    torch.distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=2, timeout=timeout)
    torch.distributed.barrier()
    time.sleep(0.1 * rank)  # the other process arrives first
    began = time.monotonic()
    try:
        if rank and how != "differ" and operation is not backward:
            gone()
        operation()
    except (Gone, MMCLError) as error:
        found[name] = [type(error).__name__, str(error), time.monotonic() - began]
    if rank and how == "late":
        time.sleep(3.0)
    torch.distributed.destroy_process_group()
print(json.dumps(found))
"""


def faults(how, folder):
    """Return the error of each of two processes, by operation."""
    (folder / "faults.py").write_text(FAULTS)
    commands = [[sys.executable, "-W", "ignore", str(folder / "faults.py"), rank, folder / "m", how] for rank in "01"]
    running = [subprocess.Popen(each, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for each in commands]
    printed = [each.communicate(timeout=200) for each in running]
    assert all(each.returncode == 0 for each in running), printed
    return [json.loads(out) for out, _ in printed]


@pytest.mark.parametrize(
    ("how", "kind", "reason"),
    [
        pytest.param("late", "LateError", "one did not arrive in time", marks=pytest.mark.slow),
        ("ends", "ProcessError", "one has ended"),
    ],
)
def test_error_names_what_a_process_waits_for(how, kind, reason, tmp_path):
    first, other = faults(how, tmp_path)
    assert len(first) == len(other) == (4 if how == "late" else 8)
    for name, (found, said, seconds) in first.items():
        assert found == kind and said.startswith("process 1 of 2 cannot reach another ("), name
        assert reason in said and seconds < 10, name
    assert "(to compare the shapes of a gather; " in first["a gather"][1]
    assert "(to add up gradients of gathered rows; " in first["gradients of a gather"][1]


@pytest.mark.slow
def test_different_shapes_raise_in_all_processes(tmp_path):
    for found in faults("differ", tmp_path):
        assert len(found) == 9 and {kind for kind, *_ in found.values()} == {"ShapeError"}
        assert "shape (3,) in torch.float32" in found["width"][1] and "shape (4,) in torch" in found["width"][1]
        assert "torch.float64" in found["type"][1] and "[2, 3] rows, expected [2, 2]" in found["rows"][1]
        assert "the parameters to train differ between 2 processes" in found["parameters"][1]
        assert "the tensors of the model differ between 2 processes" in found["names"][1]


class OwnError(RuntimeError):
    pass


OWN = [
    ConnectionError("connection refused"),
    RuntimeError("the connection to the database is lost"),
    RuntimeError("cannot open socket /tmp/gloo.sock"),
    RuntimeError("nccl is not installed"),
    OwnError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"),
    ValueError("gloo"),
]


@pytest.mark.parametrize("error", OWN, ids=str)
def test_errors_of_user_code_pass_unchanged(error, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    assert not distributed.peer_lost(error)
    with pytest.raises(type(error)) as raised, distributed.together("to try"):
        raise error
    assert raised.value is error


LOST = [
    RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [::1]:3"),
    RuntimeError("[enforce fail at /pytorch/third_party/gloo/gloo/context.cc:31] rank < size. 2 vs 2"),
    torch.distributed.DistNetworkError("the client socket has timed out after 60s"),
    torch.distributed.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp:1"),
    torch.distributed.DistStoreError("wait timeout after 300000ms"),
]


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_errors_of_the_group_become_process_errors(error, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    assert distributed.peer_lost(error) and distributed.peer_lost(distributed.LateError("late"))
    message = "process 1 of 2 cannot reach another .to try; "
    with pytest.raises(ProcessError, match=message) as raised, distributed.together("to try"):
        raise error
    assert isinstance(raised.value, distributed.LateError) == ("time" in str(error))
