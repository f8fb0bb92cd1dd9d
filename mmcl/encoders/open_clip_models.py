"""What open_clip knows by name: configs of models, their weights, how they prepare images, and tokenizers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from torch import Tensor

from mmcl.data.base import nearest
from mmcl.encoders.weights import hub_file, linked_weights, read_weights
from mmcl.errors import ConfigError, DataError, MissingDataError

_LEAST = {"image_size": 8, "patch_size": 8, "width": 8, "head_width": 8, "layers": 1}
_LEAST_TEXT = {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}


def model_config(name: str) -> dict[str, Any]:
    """Return open_clip's config of a model; raises ConfigError if it has none.

    >>> model_config("ViT-B-32")["embed_dim"]
    512
    """
    config = open_clip.get_model_config(name)
    if config is None:
        known = open_clip.list_models()
        raise ConfigError(
            f"open_clip has no model '{name}'{nearest(name, known)}, expected one of its {len(known)}: see "
            "open_clip.list_models()"
        )
    return dict(config)


def one_tower(config: Mapping[str, Any], modality: str) -> open_clip.CustomTextCLIP:
    """Return the model of a config with random weights; the tower that is not wanted is as small as can be."""
    towers: dict[str, Any] = {"vision_cfg": dict(config["vision_cfg"]), "text_cfg": config["text_cfg"]}
    if "timm_model_name" in towers["vision_cfg"]:
        towers["vision_cfg"]["timm_model_pretrained"] = False
    towers |= {"text_cfg": _LEAST_TEXT} if modality == "image" else {"vision_cfg": _LEAST}
    return open_clip.CustomTextCLIP(config["embed_dim"], **towers, quick_gelu=config.get("quick_gelu", False))


def model_weights(
    name: str, config: Mapping[str, Any], pretrained: str | Path | None, download: bool
) -> tuple[dict[str, Tensor] | None, dict[str, Any]]:
    """Return the weights of the whole model, None where ``pretrained`` is, and how it prepares images.

    Raises:
        ConfigError: no such tag, or one of a model with another activation.
        MissingDataError: the weights are not on this machine.
        DataError: a file cannot be read.
    """
    tags = open_clip.list_pretrained_tags_by_model(name)
    prepared = [merge_preprocess_dict(PreprocessCfg(), open_clip.get_pretrained_cfg(name, tag)) for tag in tags]
    default = prepared[0] if prepared and all(each == prepared[0] for each in prepared) else asdict(PreprocessCfg())
    if pretrained is None:
        return None, default
    path = Path(pretrained).expanduser()
    if path.is_file():
        beside = path.parent / "open_clip_config.json"
        if not beside.is_file():
            return read_weights(path), default
        try:
            overlay = json.loads(beside.read_text()).get("preprocess_cfg", {})
        except (ValueError, AttributeError) as error:
            raise DataError(f"{beside} cannot be read ({error}): copy it again from its source") from error
        return read_weights(path), merge_preprocess_dict(PreprocessCfg(), overlay)
    tag = str(pretrained)
    if tag not in tags:
        raise ConfigError(
            f"pretrained is '{tag}', which is neither a file nor a tag of 'open_clip:{name}'{nearest(tag, tags)}, "
            f"expected {'one of ' + ', '.join(tags) if tags else 'a file: open_clip offers no weights of it'}"
        )
    source = open_clip.get_pretrained_cfg(name, tag)
    quick = source.get("quick_gelu", False)
    other = f"{name}-quickgelu" if quick else name.removesuffix("-quickgelu")
    # Where no model of the other activation has this tag, what open_clip says of the tag is incomplete.
    known = other != name and tag in open_clip.list_pretrained_tags_by_model(other)
    if quick != config.get("quick_gelu", False) and known:
        raise ConfigError(
            f"the weights '{tag}' were trained with another activation than that of 'open_clip:{name}': expected "
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


def model_tokenizer(name: str, config: Mapping[str, Any], download: bool) -> Any:
    """Return the tokenizer of the model; where it is one of transformers, from this machine alone unless ``download``.

    Raises:
        MissingDataError: it is not on this machine.
    """
    wanted = config["text_cfg"].get("hf_tokenizer_name")
    if not wanted:
        return open_clip.get_tokenizer(name)
    try:
        return open_clip.get_tokenizer(name, local_files_only=not download)
    except (OSError, ValueError) as error:
        raise MissingDataError(
            f"the tokenizer '{wanted}' of 'open_clip:{name}' is not on this machine: pass download=True to fetch it"
        ) from error
