"""Models in the layout of transformers have complete, finite weights that fit their config."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from mmcl.encoders.opened_model import opened_model, quiet
from mmcl.errors import CheckpointError, DataError, MissingDataError
from mmcl.models.text_to_text import TextToText

TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
TENSOR = "encoder.layer.0.output.dense.weight"


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a small BERT with the tokenizer of a small student."""
    student = TextToText.from_scratch(["one and one is two"] * 3, vocabulary=110, dim=16, layers=1, heads=2)
    student.tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    with quiet():
        BertModel(BertConfig(vocab_size=120, **TINY)).save_pretrained(tmp_path)
    return tmp_path


def weights(folder):
    with opened_model(folder, False) as opened:
        return opened.network().state_dict()


def test_all_formats_give_equal_weights(folder):
    expected, state = weights(folder), load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    torch.save(state, folder / "old.bin", _use_new_zipfile_serialization=False)
    for file in ("pytorch_model.bin", "old.bin"):
        (folder / file).rename(folder / "pytorch_model.bin")
        assert all(torch.equal(value, expected[name]) for name, value in weights(folder).items())
    names, parts = sorted(state), {}
    for number in range(2):
        file = f"model-0000{number + 1}-of-00002.safetensors"
        save_file({name: state[name] for name in names[number::2]}, folder / file, metadata={"format": "pt"})
        parts |= dict.fromkeys(names[number::2], file)
    (folder / "pytorch_model.bin").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": parts}))
    assert all(torch.equal(value, expected[name]) for name, value in weights(folder).items())


@pytest.mark.parametrize("stored", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.int(), f"'{TENSOR}'.*torch.int32"),
        (lambda value: value > 0, f"'{TENSOR}'.*torch.bool"),
        (lambda value: value * float("nan"), f"'{TENSOR}'.* 64 values"),
        (lambda value: value / 0.0, f"'{TENSOR}'.* 64 values"),
        (lambda value: value[:2].clone(), "'/.*' .*RuntimeError"),
    ],
)
def test_an_invalid_tensor_raises(change, message, stored, folder):
    state = load_file(folder / "model.safetensors")
    state[TENSOR] = change(state[TENSOR])
    (folder / "model.safetensors").unlink()
    if stored == "model.safetensors":
        save_file(state, folder / stored, metadata={"format": "pt"})
    else:
        torch.save(state, folder / stored)
    with pytest.raises(DataError, match=message):
        weights(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_are_loaded_in_float32(dtype, folder):
    state = load_file(folder / "model.safetensors")
    save_file({name: value.to(dtype) for name, value in state.items()}, folder / "model.safetensors", {"format": "pt"})
    assert {value.dtype for value in weights(folder).values() if value.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("field", ["num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size"])
@pytest.mark.parametrize("size", [2**33, 2**20])
def test_sizes_beyond_the_weights_raise(field, size, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, field: size}))
    with pytest.raises(DataError):
        weights(folder)


def test_a_tokenizer_beyond_the_vocabulary_raises(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 20}))
    with (
        opened_model(folder, False) as opened,
        pytest.raises(MissingDataError, match="tokenizer"),
    ):
        opened.tokenizer()


def test_digests_are_checked_before_loading(folder):
    student = TextToText.from_scratch(["one and one is two"] * 3, vocabulary=110, dim=16, layers=1, heads=2)
    student.save(folder / "student")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        whole = (folder / "student" / name).read_text()
        (folder / "student" / name).write_text(whole + "\n")
        with pytest.raises(CheckpointError, match=name), opened_model(folder / "student", False):
            pass
        (folder / "student" / name).write_text(whole)
    config = json.loads((folder / "student" / "config.json").read_text())
    (folder / "student" / "config.json").write_text(json.dumps({**config, "num_heads": 1}))
    with pytest.raises(CheckpointError, match="num_heads"), opened_model(folder / "student", False):
        pass
