import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mmcl.encoders.weights import hub_file, linked_weights, load_weights, read_weights
from mmcl.errors import DataError, MissingDataError


class Harm:
    def __reduce__(self):
        return (open, (self.path, "w"))


def test_tensors_are_read_as_written(tmp_path):
    layer = nn.Linear(2, 3)
    save_file(layer.state_dict(), tmp_path / "a.safetensors")
    torch.save(layer.state_dict(), tmp_path / "b.pt")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in layer.state_dict().items()}}, tmp_path / "c.pt")
    for name in ("a.safetensors", "b.pt", "c.pt"):
        other = nn.Linear(2, 3)
        load_weights(other, read_weights(tmp_path / name), "some")
        assert torch.equal(other.weight, layer.weight) and torch.equal(other.bias, layer.bias)


def test_no_code_in_a_file_is_executed(tmp_path):
    harm = Harm()
    harm.path = str(tmp_path / "harm")
    (tmp_path / "pickled.pt").write_bytes(pickle.dumps({"weight": harm}))
    torch.save({"weight": harm}, tmp_path / "saved.pt")
    for name in ("pickled.pt", "saved.pt"):
        with pytest.raises(DataError, match=f"{name}'"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "harm").exists()


def test_files_without_a_state_dict_raise(tmp_path):
    with pytest.raises(MissingDataError, match="nothing.pt'"):
        read_weights(tmp_path / "nothing.pt")
    for name, content in (("damaged.safetensors", b"123"), ("damaged.pt", b""), ("other.pt", b"PK\x03\x04 and so on")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}'"):
            read_weights(tmp_path / name)
    for number, held in enumerate(([1, 2], {"epoch": 3}, {})):
        torch.save(held, tmp_path / f"{number}.pt")
        with pytest.raises(DataError, match="state dict"):
            read_weights(tmp_path / f"{number}.pt")


def test_weights_of_another_network_raise():
    weights = {"tower.weight": torch.zeros(3, 2), "tower.bias": torch.zeros(3), "head.weight": torch.zeros(9, 9)}
    layer = nn.Linear(2, 3)
    load_weights(layer, weights, "some", prefix="tower.")
    assert not layer.weight.any(), "unknown tensors are ignored"
    with pytest.raises(DataError, match="'some' lack 1 .*'head.bias'"):
        load_weights(nn.Linear(9, 9), weights, "some", prefix="head.")
    with pytest.raises(DataError, match="'some'.*size mismatch for weight"):
        load_weights(nn.Linear(4, 3), weights, "some", prefix="tower.")


def test_counters_of_batch_norm_may_be_missing():
    state = nn.BatchNorm1d(2).state_dict()
    del state["num_batches_tracked"]
    load_weights(nn.BatchNorm1d(2), state, "some")


def test_weights_are_downloaded_only_with_download(tmp_path, monkeypatch):
    asked = []

    def fetch(url, path, progress):
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    url = "https://example.org/net.pth"
    with pytest.raises(MissingDataError, match="'net'.*net.pth.*download=True"):
        linked_weights(url, "net", download=False)
    assert asked == []
    with pytest.raises(MissingDataError, match="'net'.*https://example.org/net.pth"):
        linked_weights(url, "net", download=True)
    assert asked == [url]
    torch.save({"weight": torch.ones(1)}, tmp_path / "checkpoints" / "net.pth")
    assert linked_weights(url, "net", download=False)["weight"] == 1


def test_files_of_the_hub_are_tried_in_order(tmp_path, monkeypatch):
    asked = []

    def get(repository, filename):
        asked.append(filename)
        if filename == "b.bin":
            return str(tmp_path / filename)
        raise FileNotFoundError(filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", get)
    with pytest.raises(MissingDataError, match="'net'.*a/b/a.safetensors.*download=True"):
        hub_file("a/b", ["a.safetensors", "b.bin"], "net", download=False)
    assert asked == []
    assert hub_file("a/b", ["a.safetensors", "b.bin"], "net", download=True) == tmp_path / "b.bin"
    assert asked == ["a.safetensors", "b.bin"]
    with pytest.raises(MissingDataError, match="'net'.*a/b/c.bin"):
        hub_file("a/b", ["c.bin"], "net", download=True)


def test_cached_files_of_the_hub_are_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--a--b" / "refs").mkdir()
    (tmp_path / "models--a--b" / "refs" / "main").write_text("0123")
    (snapshot / "b.bin").write_text("")
    for download in (True, False):
        assert hub_file("a/b", ["b.bin"], "net", download=download) == snapshot / "b.bin"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.tensor([[1, 2], [3, 4]], dtype=torch.int32), "'weight'.*torch.int32"),
        (torch.tensor([[True, False], [True, True]]), "'weight'.*torch.bool"),
        (torch.tensor([[1.0, float("nan")], [0.0, 0.0]]), "'weight'.* 1 values"),
        (torch.tensor([[1.0, float("inf")], [0.0, float("-inf")]]), "'weight'.* 2 values"),
    ],
)
def test_weights_that_are_not_finite_floats_raise(bad, message):
    with pytest.raises(DataError, match=message):
        load_weights(nn.Linear(2, 2), {"weight": bad, "bias": torch.zeros(2)}, "some")
