"""Configs, weights, image preprocessing and tokenizers of the models of open_clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer, SimpleTokenizer
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from torch import Tensor

from mmcl.encoders.clean_folder import TOKENIZER_FILES, cleaned
from mmcl.encoders.gate import hub_folder, local_path, model_file, wrap_errors
from mmcl.encoders.weights import hub_file, linked_weights, read_weights
from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.files.plain_json import read_json
from mmcl.text.suggest import nearest

_SMALLEST_IMAGE_TOWER = {"image_size": 8, "patch_size": 8, "width": 8, "head_width": 8, "layers": 1}
_SMALLEST_TEXT_TOWER = {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}


def model_config(name: str) -> dict[str, Any]:
    """Return the config of a model that open_clip ships.

    Names such as ``hf-hub:owner/model`` and ``local-dir:folder`` are refused: their configs can enable code.

    Raises:
        ConfigError: if open_clip has no such model.

    >>> model_config("ViT-B-32")["embed_dim"]
    512
    """
    known = open_clip.list_models()
    config = open_clip.get_model_config(name) if name in known else None
    if config is None:
        raise ConfigError(
            f"open_clip has no model '{name}'{nearest(name, known)}, expected one of its {len(known)} models: see "
            "open_clip.list_models()"
        )
    return dict(config)


def one_tower(config: Mapping[str, Any], modality: str) -> open_clip.CustomTextCLIP:
    """Build a model with random weights; the tower of the other modality is as small as possible."""
    towers: dict[str, Any] = {"vision_cfg": dict(config["vision_cfg"]), "text_cfg": config["text_cfg"]}
    if "timm_model_name" in towers["vision_cfg"]:
        towers["vision_cfg"]["timm_model_pretrained"] = False
    towers |= {"text_cfg": _SMALLEST_TEXT_TOWER} if modality == "image" else {"vision_cfg": _SMALLEST_IMAGE_TOWER}
    return open_clip.CustomTextCLIP(config["embed_dim"], **towers, quick_gelu=config.get("quick_gelu", False))


def model_weights(
    name: str, config: Mapping[str, Any], pretrained: str | Path | None, download: bool
) -> tuple[dict[str, Tensor] | None, dict[str, Any]]:
    """Return the weights of a whole model, or None for random ones, and the settings of its image preprocessing.

    Args:
        name: name of the model.
        config: its config.
        pretrained: a file or a tag; None for random weights.
        download: download the weights of a tag.

    Raises:
        ConfigError: if the tag is unknown, or its weights need another activation function.
        MissingDataError: if the weights are not on this machine.
        DataError: if a file cannot be read.
    """
    tags = open_clip.list_pretrained_tags_by_model(name)
    settings = [merge_preprocess_dict(PreprocessCfg(), open_clip.get_pretrained_cfg(name, tag)) for tag in tags]
    default = settings[0] if settings and all(each == settings[0] for each in settings) else asdict(PreprocessCfg())
    if pretrained is None:
        return None, default
    path = local_path(pretrained)
    if path is not None and path.is_file():
        sidecar = model_file(path.parent, "open_clip_config.json")
        if sidecar is None:
            return read_weights(path), default
        overlay = read_json(sidecar).get("preprocess_cfg", {})
        if not isinstance(overlay, dict):
            raise DataError(f"preprocess_cfg of {sidecar} is {overlay!r:.60}, expected an object {{...}}")
        with wrap_errors(sidecar):
            return read_weights(path), merge_preprocess_dict(PreprocessCfg(), overlay)
    tag = str(pretrained)
    if tag not in tags:
        raise ConfigError(
            f"pretrained is '{tag}', which is neither a file nor a tag of 'open_clip:{name}'{nearest(tag, tags)}, "
            f"expected {'one of ' + ', '.join(tags) if tags else 'a file, since open_clip has no weights for it'}"
        )
    source = open_clip.get_pretrained_cfg(name, tag)
    quick = source.get("quick_gelu", False)
    other = f"{name}-quickgelu" if quick else name.removesuffix("-quickgelu")
    # If no model with the other activation has this tag, open_clip's entry for the tag lacks quick_gelu.
    known = other != name and tag in open_clip.list_pretrained_tags_by_model(other)
    if quick != config.get("quick_gelu", False) and known:
        raise ConfigError(
            f"the weights '{tag}' were trained with another activation function than 'open_clip:{name}': expected "
            f"'open_clip:{other}'"
        )
    label = f"open_clip:{name} {tag}"
    if repository := source.get("hf_hub"):
        owner, _, filename = repository.rpartition("/")
        files = ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
        if filename:
            files = [filename.replace(".bin", ".safetensors"), filename]
        weights = read_weights(hub_file(owner, files, label, download=download))
    else:
        weights = linked_weights(source["url"], label, download=download)
    return weights, merge_preprocess_dict(PreprocessCfg(), source)


def model_tokenizer(name: str, config: Mapping[str, Any], download: bool) -> SimpleTokenizer | HFTokenizer:
    """Return the tokenizer of a model; one of transformers is downloaded only with ``download``.

    Raises:
        MissingDataError: if the tokenizer is not on this machine.
    """
    wanted = config["text_cfg"].get("hf_tokenizer_name")
    if not wanted:
        return open_clip.get_tokenizer(name)
    folder = local_path(wanted) or hub_folder(wanted, TOKENIZER_FILES, download=download)
    if folder is None:
        raise MissingDataError(
            f"the tokenizer '{wanted}' of 'open_clip:{name}' is not on this machine: pass download=True to download it"
        )
    with wrap_errors(f"the tokenizer '{wanted}'"), cleaned(folder, model=False) as clean:
        text = config["text_cfg"]
        return HFTokenizer(
            str(clean),
            context_length=text.get("context_length", DEFAULT_CONTEXT_LENGTH),
            tokenizer_mode=text.get("tokenizer_mode"),
            **{**text.get("tokenizer_kwargs", {}), "local_files_only": True, "trust_remote_code": False},
        )
