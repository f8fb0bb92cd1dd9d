"""A model in the layout of transformers, opened: its config, its tokenizer and its network, each checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from mmcl.data.base import SAMPLE_RATE
from mmcl.encoders.bounded import Sizes, bounded
from mmcl.encoders.clean_folder import FILES, PICKLED, cleaned, read_config, weight_files
from mmcl.encoders.gate import HUB_NAME, foreign, place, snapshot
from mmcl.encoders.weights import check_dtypes, check_finite, headers, opened_tensors
from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.files.digests import KEY, check_content, check_files, check_tensors
from mmcl.files.plain_json import read_json

_UNUSED = ("masked_spec_embed", "pooler.")  # weights that a checkpoint may lack: no encoder here uses them


class OpenedModel(NamedTuple):
    """A model whose files may be handed to transformers: its name, a cleaned copy of its folder, its files of weights,
    and its config."""

    name: str
    folder: Path
    weights: list[Path]
    config: Any

    def preprocessing(self) -> dict[str, Any]:
        """Return the settings of ``preprocessor_config.json``; none where there is no such file."""
        path = self.folder / "preprocessor_config.json"
        settings: dict[str, Any] = read_json(path) if path.is_file() else {}
        if (rate := settings.get("sampling_rate", SAMPLE_RATE)) != SAMPLE_RATE:
            raise ConfigError(f"'{self.name}' takes audio at {rate} Hz, expected {SAMPLE_RATE} Hz")
        return settings

    def tokenizer(self) -> Any:
        """Return the tokenizer, of whose tokens the model knows all."""
        name, words = self.name, getattr(self.config, "vocab_size", 0)
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise MissingDataError(_lacks(name, "tokenizer")) from error
        if (
            not len(tokenizer.all_special_tokens) < len(tokenizer) <= words
            or max(tokenizer.get_vocab().values()) >= words
        ):
            # Where there are no files, transformers makes a tokenizer that knows no word.
            raise MissingDataError(_lacks(name, "tokenizer with a vocabulary that the model knows"))
        rows = tokenizer(["a", "turn on the lights, please"])["input_ids"]
        if not all(row and all(0 <= token < words for token in row) for row in rows):
            raise DataError(f"the tokenizer of '{name}' makes tokens that the model does not know: copy it again")
        tokenizer.name_or_path = tokenizer.init_kwargs["name_or_path"] = name
        return tokenizer

    def network(self, kind: Any = AutoModel) -> Any:
        """Return the network in float32, with every weight that it uses from the checkpoint."""
        name = self.name
        if not self.weights:
            raise MissingDataError(_lacks(name, "model.safetensors"))
        with foreign(f"the weights of '{name}'"):
            held = {tensor: header for file in self.weights for tensor, header in headers(file).items()}
            sizes = Sizes(len(held), sum(numbers for _, numbers in held.values()))
            with bounded(sizes, f"config.json of '{name}'"):
                model, report = kind.from_pretrained(
                    self.folder,
                    config=self.config,
                    dtype=torch.float32,
                    attn_implementation=self.attention,
                    local_files_only=True,
                    trust_remote_code=False,
                    weights_only=True,
                    output_loading_info=True,
                )
        if missing := sorted(key for key in report["missing_keys"] if not key.startswith(_UNUSED)):
            raise DataError(
                f"the weights of '{name}' lack {len(missing)} that its config.json asks for, first '{missing[0]}': "
                "copy both again from their source"
            )
        check_dtypes(model, held, f"the weights of '{name}'")
        check_finite(model, f"the weights of '{name}'")
        model.name_or_path = model.config.name_or_path = name
        return model

    @property
    def attention(self) -> str:
        """How its attention is computed."""
        return "eager" if self.config.model_type == "wavlm" else "sdpa"


@contextmanager
def opened_model(name: str | Path, download: bool) -> Iterator[OpenedModel]:
    """Open a model for transformers; what any library raises of its files becomes a DataError."""
    folder = _folder(name, download)
    with foreign(f"the model '{name}'"):
        _check_digests(folder)
        with cleaned(folder) as clean, quiet():
            config = AutoConfig.from_pretrained(clean, local_files_only=True, trust_remote_code=False)
            config.name_or_path = str(name)
            yield OpenedModel(str(name), clean, [folder / file for file in weight_files(folder)], config)


def _folder(name: str | Path, download: bool) -> Path:
    """The folder of that name, or that of a hub's model on this machine."""
    folder = place(name)
    if folder is not None and folder.is_dir():
        return folder
    if not HUB_NAME.fullmatch(str(name)):
        raise MissingDataError(f"there is no folder '{name}': expected a folder with config.json and model.safetensors")
    folder = snapshot(str(name), FILES, download=download)
    if folder is not None and download and not weight_files(folder):
        folder = snapshot(str(name), PICKLED, download=download)
    if folder is None or not (folder / "config.json").exists():
        raise MissingDataError(
            f"'{name}' is neither a folder nor a model on this machine (no config.json with a model_type): pass "
            "download=True to fetch it from the hub, or the folder of a copy, or put that folder into MMCL_WEIGHTS"
        )
    return folder


def _check_digests(folder: Path) -> None:
    """Raise CheckpointError where a model that was saved with digests is another by now."""
    content = read_config(folder)
    if KEY in content:
        path = folder / "config.json"
        check_content(content, path)
        check_files(content, path)
        with ExitStack() as stack:
            readers: dict[str, Callable[[str], Tensor]] = {}
            for file in weight_files(folder):
                names, get = stack.enter_context(opened_tensors(folder / file))
                readers |= dict.fromkeys(names, get)
            check_tensors(content, path, readers, lambda name: readers[name](name))


def _lacks(name: str, what: str) -> str:
    return f"folder '{name}' has no usable {what}: expected a model in the layout of transformers"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers: no progress bars, no reports of unused weights, no thread that asks the hub to convert."""
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
