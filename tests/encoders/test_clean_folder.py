"""Sanitized model folders hold only known files and settings."""

import json
import os

import pytest
from transformers import CONFIG_MAPPING, AutoConfig, BertConfig, CLIPConfig, T5Config, WhisperConfig

from mmcl.encoders.clean_folder import cleaned, known_config, weight_files
from mmcl.errors import DataError, MissingDataError

HARMFUL = {
    "auto_map": {"AutoModel": "code.Model"},
    "trust_remote_code": True,
    "custom_pipelines": {"x": {}},
    "quantization_config": {"quant_method": "gptq"},
    "attn_implementation": "evil/kernel",
    "_attn_implementation": "evil/kernel",
    "_attn_implementation_internal": "evil/kernel",
    "experts_implementation": "evil/kernel",
    "use_kernels": True,
    "backbone": "evil/model",
    "use_timm_backbone": True,
    "use_pretrained_backbone": True,
    "backbone_config": {"model_type": "timm_backbone"},
    "adapter_config": {"base_model_name_or_path": "evil/model"},
    "name_or_path": "/etc",
    "_name_or_path": "/etc",
    "vocab_file": "/etc/hostname",
    "tokenizer_file": "/etc/hostname",
    "merges_file": "/etc/hostname",
    "special_tokens_map_file": "/etc/hostname",
    "init_inputs": ["/etc/hostname"],
    "sp_model_kwargs": {"model_file": "/etc/hostname"},
    "base_model_tp_plan": {"x": "y"},
}


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.mark.parametrize("key", HARMFUL)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "special_tokens_map.json"])
def test_harmful_settings_are_dropped(key, name, tmp_path):
    deep = {"vision_config": {key: HARMFUL[key]}, "task_specific_params": {"x": {key: HARMFUL[key]}}}
    content = {"model_type": "clip", "projection_dim": 8, "bos_token": "<s>", key: HARMFUL[key], **deep}
    write(tmp_path / "model", config__json={"model_type": "clip"})
    (tmp_path / "model" / name).write_text(json.dumps(content))
    with cleaned(tmp_path / "model") as clean:
        assert f'"{key}"' not in (clean / name).read_text()


@pytest.mark.parametrize("kind", [BertConfig, CLIPConfig, T5Config, WhisperConfig])
def test_all_other_settings_of_a_config_are_kept(kind, tmp_path):
    config = kind(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    config.save_pretrained(tmp_path)
    with cleaned(tmp_path) as clean:
        again = AutoConfig.from_pretrained(clean)
    assert again.to_diff_dict() == AutoConfig.from_pretrained(tmp_path).to_diff_dict()


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "whisper-base-encoder", "whisper-tiny.en"])
def test_all_other_settings_of_real_models_are_kept(name, weights_dir):
    with cleaned(weights_dir / name) as clean:
        seen = AutoConfig.from_pretrained(clean).to_diff_dict()
        whole = AutoConfig.from_pretrained(weights_dir / name).to_diff_dict()
        unused = {"gradient_checkpointing", "position_embedding_type"}  # by the current BERT of transformers
        assert seen == {key: value for key, value in whole.items() if key not in unused}
        assert (clean / "model.safetensors").stat().st_size == (weights_dir / name / "model.safetensors").stat().st_size
    assert not clean.exists()


def test_code_and_unknown_files_are_dropped(tmp_path):
    write(
        tmp_path / "model",
        config__json={"model_type": "bert"},
        model__py="x",
        adapter_config__json={},
        hyperparams__yaml="",
        processor_config__json={},
        vocab__txt="a",
    )
    (tmp_path / "model" / "custom_generate").mkdir()
    with cleaned(tmp_path / "model") as clean:
        assert sorted(os.listdir(clean)) == ["config.json", "vocab.txt"]


@pytest.mark.parametrize("file", ["../outside.safetensors", "/etc/hostname", "a/b.safetensors", "x.bin", "x.py", ""])
def test_an_index_may_only_name_files_of_its_folder(file, tmp_path):
    (tmp_path / "outside.safetensors").write_text("")
    folder = write(tmp_path / "model", config__json={"model_type": "bert"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"weight": file}}))
    with pytest.raises(DataError, match="index.json"):
        weight_files(folder)


@pytest.mark.parametrize("index", [[], {}, {"weight_map": None}, {"weight_map": {"a": 3}}, {"weight_map": ["a"]}])
def test_an_invalid_index_raises(index, tmp_path):
    folder = write(tmp_path / "model", config__json={"model_type": "bert"})
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="index.json"):
        weight_files(folder)


def test_a_missing_weight_file_raises(tmp_path):
    folder = write(tmp_path / "model", config__json={"model_type": "bert"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    with pytest.raises(MissingDataError, match="model-1.safetensors"), cleaned(folder):
        pass


@pytest.mark.parametrize("content", ["[]", "null", "{", '{"model_type": 3}', '{"model_type": ["bert"]}', "{}"])
def test_an_invalid_config_raises(content, tmp_path):
    with pytest.raises(DataError, match="config.json"), cleaned(write(tmp_path / "model", config__json=content)):
        pass


def test_every_model_type_has_a_config_class():
    for kind in CONFIG_MAPPING:
        assert known_config({"model_type": kind, "auto_map": {}}, "some") == {"model_type": kind}
