"""Sanitized copies of model folders that hold only known files and settings."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mmcl.encoders.gate import model_file, wrap_errors
from mmcl.errors import DataError, MissingDataError
from mmcl.files.plain_json import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_VOCABULARIES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "vocab.bpe", "bpe.codes", "spiece.model", "spm.model",
    "sentencepiece.model", "sentencepiece.bpe.model", "tokenizer.model", "source.spm", "target.spm",
    "chat_template.jinja",
)  # fmt: skip
_SHARD = re.compile(r"[\w-]+(\.[\w-]+)*")
#: files to download from the hub; PICKLED_WEIGHTS only if there are no others
TOKENIZER_FILES = (
    "config.json", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json", *_VOCABULARIES,
)  # fmt: skip
MODEL_FILES = (
    *TOKENIZER_FILES, "generation_config.json", "preprocessor_config.json", "model.safetensors",
    "model.safetensors.index.json", "model-*-of-*.safetensors",
)  # fmt: skip
PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin")

# Settings that name code, paths or other models, at any depth.
_UNSAFE = re.compile(
    r"_.*|auto_map|.*(trust|remote|custom|use_kernels|backbone|timm|attn_impl|experts_impl|name_or_path).*"
    r"|.*_(file|files|path|dir|url|plan)|pretrained_.*|.*_pretrained.*|(.*_)?quantization(_.*)?|init_inputs"
    r"|adapter|adapter_config"
)
# Settings that are not fields of a config class, but that config classes convert to fields.
_LEGACY = {"model_type", "torch_dtype", "num_labels", "rope_scaling", "rope_theta", "partial_rotary_factor"}
_LEGACY |= {"text_config_dict", "vision_config_dict", "sliding_window_pattern", "rotary_pct", "rotary_emb_base"}
_LEGACY |= {"local_rope_theta", "global_rope_theta", "rope_local_base_freq", "global_attn_every_n_layers", "n_embed"}
_LEGACY |= {"use_sliding_window", "head_dim", "tie_word_embeddings", "first_k_dense_replace"}
_GENERATION = re.compile(
    r".*_token_id|(begin_)?suppress_tokens|(max|min)_length|do_sample|temperature|top_[kp]|typical_p|early_stopping"
    r"|repetition_penalty|(encoder_)?no_repeat_ngram_size|length_penalty|encoder_repetition_penalty|use_cache"
)
_TOKENIZER = re.compile(
    r".*_token|(additional|extra)_special_tokens|added_tokens_decoder|tokenizer_class|model_max_length|max_length|stride"
    r"|(padding|truncation)_(side|strategy)|do_lower_case|do_basic_tokenize|lowercase|strip_accents|never_split"
    r"|tokenize_chinese_chars|clean_up_tokenization_spaces|add_(prefix_space|bos_token|eos_token)|legacy|errors"
    r"|trim_offsets|extra_ids|remove_space|keep_accents|split_special_tokens|chat_template|model_input_names"
    r"|(src|tgt)_lang|use_default_system_prompt|pad_to_multiple_of|pad_token_type_id|spaces_between_special_tokens"
)
_PREPROCESSOR = re.compile(
    r"(feature_extractor|image_processor)_type|do_(resize|center_crop|rescale|normalize)|size|crop_size|rescale_factor"
    r"|image_(mean|std)|resample|feature_size|sampling_rate|hop_length|chunk_length|n_fft|n_samples|nb_max_frames"
    r"|padding_(value|side)|return_attention_mask|dither"
)


@contextmanager
def cleaned(folder: Path, *, model: bool = True) -> Iterator[Path]:
    """Yield a temporary copy of a model folder with known files and settings only.

    Weights and vocabularies are linked. JSON files are rewritten with their known settings. Settings that could run
    code, or that name paths or other models, are dropped: ``auto_map``, ``trust_remote_code``,
    ``quantization_config``, ``attn_implementation``, ``vocab_file`` and similar ones.

    Args:
        folder: folder of the model.
        model: if False, only the tokenizer is needed: ``config.json`` may be missing, and weights are left out.

    Raises:
        MissingDataError: if there is no ``config.json``, or it has no ``model_type``.
        DataError: if a file is not JSON or is a link out of the folder, or transformers does not know the model.
    """
    with TemporaryDirectory(prefix="mmcl-") as temporary:
        clean = Path(temporary)
        if model or model_file(folder, "config.json") is not None:
            _write(clean / "config.json", known_config(read_config(folder), str(folder)))
        for name, known in (
            ("generation_config.json", _GENERATION),
            ("tokenizer_config.json", _TOKENIZER),
            ("special_tokens_map.json", _TOKENIZER),
            ("preprocessor_config.json", _PREPROCESSOR),
        ):
            if (path := model_file(folder, name)) is not None:
                content = read_json(path)
                with wrap_errors(path):
                    _write(clean / name, _known_settings(content, {key for key in content if known.fullmatch(key)}))
        if (path := model_file(folder, "added_tokens.json")) is not None:
            added = {token: number for token, number in read_json(path).items() if isinstance(number, int)}
            _write(clean / "added_tokens.json", added)
        for name in _VOCABULARIES:
            if (path := model_file(folder, name)) is not None:
                os.symlink(path.resolve(), clean / name)
        for name in weight_files(folder) if model else ():
            path = model_file(folder, name)
            if path is None:
                raise MissingDataError(f"folder '{folder}' has no {name}: copy the whole folder")
            os.symlink(path.resolve(), clean / name)
        if model:
            _write_index(folder, clean)
        yield clean


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` of a model; raises the errors of :func:`cleaned`."""
    path = model_file(folder, "config.json")
    content: dict[str, Any] = {} if path is None else read_json(path)
    if not isinstance(content.get("model_type"), str):
        raise MissingDataError(
            f"folder '{folder}' has no valid config.json with a model_type: expected a model in the layout of "
            "transformers"
        )
    return content


def known_config(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the settings of ``config.json`` that the config class of the model in transformers has.

    Raises:
        DataError: if transformers has no config class for the model.

    >>> known_config({"model_type": "bert", "hidden_size": 8, "auto_map": {"AutoModel": "code.Model"}}, "some")
    {'model_type': 'bert', 'hidden_size': 8}
    """
    from transformers import CONFIG_MAPPING

    model_type = content["model_type"]
    if model_type not in CONFIG_MAPPING:
        raise DataError(f"config.json of '{where}' has model_type '{model_type}', which transformers does not know")
    with wrap_errors(f"config.json of '{where}'"):
        return _config_fields(content, CONFIG_MAPPING[model_type])


def weight_files(folder: Path) -> list[str]:
    """Return the names of the weight files: safetensors if there are any, else pickled ones.

    Raises:
        DataError: if an index is invalid, or names a file outside the folder.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        if model_file(folder, name) is not None:
            return [name]
        if (index := model_file(folder, f"{name}.index.json")) is not None:
            files = set(_weight_map(index).values())
            for file in files:
                if not _SHARD.fullmatch(file) or Path(file).suffix != Path(name).suffix:
                    raise DataError(f"{index} names the file '{file}', expected a name such as model-00001-of-00002")
            return sorted(files)
    return []


def _write_index(folder: Path, clean: Path) -> None:
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = None if (clean / name).exists() else model_file(folder, f"{name}.index.json")
        if index is not None:
            _write(clean / index.name, {"metadata": {}, "weight_map": _weight_map(index)})
            return


def _weight_map(index: Path) -> dict[str, str]:
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise DataError(f"{index} has weight_map={str(files)[:60]}, expected an object of file names")
    return files


def _config_fields(content: Mapping[str, Any], config: type[PreTrainedConfig]) -> dict[str, Any]:
    """Return the settings that a config class has, including those of its nested configs."""
    known = {*config.__dataclass_fields__, *config.attribute_map, *_LEGACY}
    settings = _known_settings(content, {*known, *(key for key in content if key.endswith("_token_id"))})
    for name, nested in config.sub_configs.items():
        for key in (name, f"{name}_dict"):
            if isinstance(settings.get(key), dict) and hasattr(nested, "__dataclass_fields__"):
                settings[key] = _config_fields(content[key], nested)
    return settings


def _known_settings(content: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    return {key: _safe(value) for key, value in content.items() if key in known and not _UNSAFE.fullmatch(key)}


def _safe(value: object) -> object:
    """Drop settings that name code, paths or models from a JSON value."""
    if isinstance(value, dict):
        return {key: _safe(each) for key, each in value.items() if not _UNSAFE.fullmatch(key)}
    return [_safe(each) for each in value] if isinstance(value, list) else value


def _write(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
