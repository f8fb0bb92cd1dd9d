"""The two files of a saved model are read whole, of their own folder, and of this very model, or not at all."""

import json
import os

import pytest
import torch
from torch import nn

from mmcl.errors import CheckpointError
from mmcl.models.files import put_state, read_model, seal, write_model

STATE = {"weight": torch.arange(6.0).view(3, 2), "bias": torch.ones(3)}


def test_what_is_written_is_read(tmp_path):
    tied = {"weight": STATE["weight"], "again": STATE["weight"], "part": STATE["weight"][:, :1]}
    write_model(tmp_path / "new" / "folder", "config.json", {"dim": 8, "names": ["é"]}, tied)
    content, state = read_model(tmp_path / "new" / "folder", "config.json")
    assert content["dim"] == 8 and content["names"] == ["é"] and content["mmcl_digests"]
    assert state.keys() == tied.keys() and all(torch.equal(state[name], tied[name]) for name in tied)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_or_a_link_is_told(name, tmp_path):
    write_model(tmp_path / "model", "config.json", {}, STATE)
    os.rename(tmp_path / "model" / name, tmp_path / "outside")
    with pytest.raises(CheckpointError, match=f"no model in .*it has no {name}"):
        read_model(tmp_path / "model", "config.json")
    os.symlink("../outside", tmp_path / "model" / name)
    with pytest.raises(CheckpointError, match=f"{name} .*link"):
        read_model(tmp_path / "model", "config.json")


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write the model in .*choose another folder"):
        write_model(tmp_path / "file" / "model", "config.json", {}, STATE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"other": torch.ones(1)}, "which is not so of tensor 'other'"),
        ({"weight": torch.ones(2, 3)}, r"a tensor 'weight' of shape \(3, 2\), and it is \(2, 3\)"),
        ({"weight": torch.ones(3, 2).int()}, "tensor 'weight' of .*model.safetensors is torch.int32, expected float"),
        ({"weight": torch.ones(3, 2).bool()}, "is torch.bool, expected float"),
        ({"bias": torch.tensor([1.0, float("nan"), 2.0])}, "tensor 'bias' .* has 1 values that are not finite"),
    ],
)
def test_weights_of_another_model_are_refused(change, message, tmp_path):
    layer = nn.Linear(2, 3)
    before = layer.weight.clone()
    with pytest.raises(CheckpointError, match=message):
        put_state(layer, {**STATE, **change}, layer.state_dict(), tmp_path / "config.json")
    assert torch.equal(layer.weight, before)
    with pytest.raises(CheckpointError, match="tensor 'weight'"):
        put_state(layer, {"bias": STATE["bias"]}, layer.state_dict(), tmp_path / "config.json")
    put_state(layer, STATE, layer.state_dict(), tmp_path / "config.json")
    assert torch.equal(layer.weight, STATE["weight"])


def test_a_sealed_folder_knows_its_files(tmp_path):
    write_model(tmp_path, "config.json", {"dim": 8}, STATE)
    content = json.loads((tmp_path / "config.json").read_text())
    digests = content.pop("mmcl_digests")
    (tmp_path / "config.json").write_text(json.dumps(content))
    (tmp_path / "graph.onnx").write_bytes(b"graph")
    (tmp_path / "README.md").write_text("which its reader may edit")
    seal(tmp_path)
    sealed = json.loads((tmp_path / "config.json").read_text())["mmcl_digests"]
    assert sealed["tensors"] == digests["tensors"] and sealed["settings"] == digests["settings"]
    assert list(sealed["files"]) == ["graph.onnx"]
    (tmp_path / "graph.onnx").write_bytes(b"grapf")
    with pytest.raises(CheckpointError, match="graph.onnx was changed"):
        read_model(tmp_path, "config.json")
