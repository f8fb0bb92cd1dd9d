"""Digests of tensors, files and settings of saved models."""

import json

import pytest
import torch

from mmcl.errors import CheckpointError
from mmcl.files.digests import KEY, check_content, check_files, check_tensor, check_tensors, stamped, tensor_digest

STATE = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([True, False])}


def description(tmp_path, **content):
    (tmp_path / "tokenizer.json").write_text("{}")
    tensors = {name: tensor_digest(tensor) for name, tensor in STATE.items()}
    made = stamped({"dim": 8, "first": {"name": "cnn"}, **content}, tensors, [tmp_path / "tokenizer.json"])
    return json.loads(json.dumps(made)), tmp_path / "config.json"


def check(content, path, state=STATE):
    check_content(content, path)
    check_files(content, path)
    check_tensors(content, path, state, state.__getitem__)


def test_unchanged_model_passes(tmp_path):
    content, path = description(tmp_path)
    check(content, path)
    content |= {"mmcl_version": "9", "model_type": "other", "new": 3, "first": {"download": True, **content["first"]}}
    check(content, path)
    (tmp_path / "tokenizer.json").unlink()
    check(content, path)


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.arange(6.0).view(3, 2)},
        {"a": torch.arange(6).view(2, 3)},
        {"a": torch.arange(6.0).half().view(2, 3)},
        {"a": torch.arange(6.0).view(2, 3).nextafter(torch.tensor(9.0))},
        {"a": torch.tensor([[-0.0, 1, 2], [3, 4, 5]])},
        {"b": torch.tensor([False, True])},
    ],
)
def test_changed_tensor_is_named(other, tmp_path):
    (name,) = other
    with pytest.raises(CheckpointError, match=f"tensor '{name}' beside .*config.json is damaged"):
        check(*description(tmp_path), {**STATE, **other})


def test_additional_or_missing_tensor_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="tensor 'c' .* is not among its digests"):
        check(*description(tmp_path), {**STATE, "c": STATE["a"]})
    with pytest.raises(CheckpointError, match="tensor 'a' .* is missing"):
        check(*description(tmp_path), {"b": STATE["b"]})


def test_changed_file_is_named(tmp_path):
    content, path = description(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{} ")
    with pytest.raises(CheckpointError, match="tokenizer.json was changed after the model was saved"):
        check(content, path)


@pytest.mark.parametrize("change", [{"dim": 9}, {"dim": 8.0}, {"dim": True}, {"first": {"name": "conformer"}}])
def test_changed_setting_is_named(change, tmp_path):
    content, path = description(tmp_path)
    with pytest.raises(CheckpointError, match=f"{next(iter(change))} in .*config.json was changed.*remove its {KEY}"):
        check({**content, **change}, path)


def test_a_missing_setting_is_named(tmp_path):
    content, path = description(tmp_path)
    del content["dim"]
    with pytest.raises(CheckpointError, match="dim in .* was changed"):
        check(content, path)


@pytest.mark.parametrize("part", [None, "tensors", "files", "settings"])
@pytest.mark.parametrize("value", [None, True, 3, "x", [], {"a": 3}, {"a": None}])
def test_malformed_digests_raise(part, value, tmp_path):
    content, path = description(tmp_path)
    if part is None:
        content[KEY] = {"tensors": value} if isinstance(value, dict) else value
    else:
        content[KEY][part] = value
    with pytest.raises(CheckpointError):
        check(content, path)


def test_a_model_without_digests_passes(tmp_path):
    content, path = description(tmp_path)
    del content[KEY]
    check({**content, "dim": 9}, path, {})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_precision_is_a_float(dtype):
    check_tensor("a", torch.ones(2, dtype=dtype), torch.ones(2), "x")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_counted(value):
    with pytest.raises(CheckpointError, match="tensor 'a' of x has 1 values that are not finite"):
        check_tensor("a", torch.tensor([1.0, value]), None, "x")


def test_other_dtype_kind_is_named():
    for given, expected in ((torch.ones(2).bool(), "float"), (torch.ones(2).int(), "float"), (torch.ones(2), "int")):
        with pytest.raises(CheckpointError, match=f"tensor 'a' of x is {given.dtype}, expected {expected}"):
            check_tensor("a", given, torch.ones(2).int() if expected == "int" else torch.ones(2), "x")
