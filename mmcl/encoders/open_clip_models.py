"""What open_clip knows by name: configs of models, their weights, how they prepare images, and tokenizers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from torch import Tensor

from mmcl.encoders.clean_folder import TOKENIZER_FILES, cleaned
from mmcl.encoders.gate import foreign, own_file, place, snapshot
from mmcl.encoders.weights import hub_file, linked_weights, read_weights
from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.files.plain_json import read_json
from mmcl.text.suggest import nearest

_LEAST = {"image_size": 8, "patch_size": 8, "width": 8, "head_width": 8, "layers": 1}
_LEAST_TEXT = {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}


def model_config(name: str) -> dict[str, Any]:
    """Return open_clip's config of one of its models; raises ConfigError if it has none.

    Names such as ``hf-hub:owner/model`` and ``local-dir:folder``, whose configs open_clip reads from elsewhere, are
    refused: these can switch on code.

    >>> model_config("ViT-B-32")["embed_dim"]
    512
    """
    known = open_clip.list_models()
    config = open_clip.get_model_config(name) if name in known else None
    if config is None:
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
    path = place(pretrained)
    if path is not None and path.is_file():
        beside = own_file(path.parent, "open_clip_config.json")
        if beside is None:
            return read_weights(path), default
        overlay = read_json(beside).get("preprocess_cfg", {})
        if not isinstance(overlay, dict):
            raise DataError(f"preprocess_cfg of {beside} is {overlay!r:.60}, expected an object {{...}}")
        with foreign(beside):
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
    folder = place(wanted) or snapshot(wanted, TOKENIZER_FILES, download=download)
    if folder is None:
        raise MissingDataError(
            f"the tokenizer '{wanted}' of 'open_clip:{name}' is not on this machine: pass download=True to fetch it"
        )
    with foreign(f"the tokenizer '{wanted}'"), cleaned(folder, model=False) as clean:
        text = config["text_cfg"]
        return open_clip.tokenizer.HFTokenizer(
            str(clean),
            context_length=text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH),
            tokenizer_mode=text.get("tokenizer_mode"),
            **{**text.get("tokenizer_kwargs", {}), "local_files_only": True, "trust_remote_code": False},
        )
