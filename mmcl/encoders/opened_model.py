"""Safe loading of the config, tokenizer and network of a model in the layout of transformers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from mmcl.data.base import SAMPLE_RATE
from mmcl.encoders.bounded import Sizes, bounded
from mmcl.encoders.clean_folder import MODEL_FILES, PICKLED_WEIGHTS, cleaned, read_config, weight_files
from mmcl.encoders.gate import HUB_NAME, before_weights, hub_folder, local_path, weights_are_read, wrap_errors
from mmcl.encoders.weights import check_dtypes, check_parameters, headers, opened_tensors
from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.files.digests import KEY, check_content, check_files, check_tensors
from mmcl.files.plain_json import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_UNUSED = ("masked_spec_embed", "pooler.")  # weights that may be missing, since no encoder uses them


class OpenedModel(NamedTuple):
    """Model that transformers can load safely.

    Attributes:
        name: name of the model, for errors.
        folder: sanitized copy of its folder.
        weights: paths of its weight files.
        config: its config.
    """

    name: str
    folder: Path
    weights: list[Path]
    config: PreTrainedConfig

    def preprocessing(self) -> dict[str, Any]:
        """Read the settings of ``preprocessor_config.json``; empty if there is no such file.

        Raises:
            ConfigError: if the model expects another sample rate.
        """
        path = self.folder / "preprocessor_config.json"
        settings: dict[str, Any] = read_json(path) if path.is_file() else {}
        if (rate := settings.get("sampling_rate", SAMPLE_RATE)) != SAMPLE_RATE:
            raise ConfigError(f"'{self.name}' needs audio at {rate} Hz, expected {SAMPLE_RATE} Hz")
        return settings

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer, and check that all its tokens are in the vocabulary of the model.

        Raises:
            MissingDataError: if there is no usable tokenizer.
            DataError: if it yields unknown tokens.
        """
        name, vocabulary_size = self.name, getattr(self.config, "vocab_size", 0)
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise MissingDataError(_lacks(name, "tokenizer")) from error
        if (
            not len(tokenizer.all_special_tokens) < len(tokenizer) <= vocabulary_size
            or max(tokenizer.get_vocab().values()) >= vocabulary_size
        ):
            # Without tokenizer files, transformers creates a tokenizer with an empty vocabulary.
            raise MissingDataError(_lacks(name, "tokenizer that fits the vocabulary of the model"))
        rows = tokenizer(["a", "turn on the lights, please"])["input_ids"]
        if not all(row and all(0 <= token < vocabulary_size for token in row) for row in rows):
            raise DataError(f"the tokenizer of '{name}' yields tokens outside the model's vocabulary: copy it again")
        tokenizer.name_or_path = tokenizer.init_kwargs["name_or_path"] = name
        return tokenizer

    def network(self, auto_class: type[AutoModel] = AutoModel) -> PreTrainedModel:
        """Load the network in float32.

        Raises:
            MissingDataError: if there are no weights.
            DataError: if the checkpoint lacks weights that the network uses, or they are damaged.
        """
        name = self.name
        if not self.weights:
            raise MissingDataError(_lacks(name, "model.safetensors"))
        before_weights()
        with wrap_errors(f"the weights of '{name}'"):
            stored = {tensor: header for file in self.weights for tensor, header in headers(file).items()}
            sizes = Sizes(len(stored), sum(numbers for _, numbers in stored.values()))
            with bounded(sizes, f"config.json of '{name}'"):
                model, report = auto_class.from_pretrained(
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
                f"the weights of '{name}' lack {len(missing)} tensors of its config.json, first '{missing[0]}': "
                "copy both again from their source"
            )
        check_dtypes(model, stored, f"the weights of '{name}'")
        check_parameters(model, f"the weights of '{name}'")
        model.name_or_path = model.config.name_or_path = name
        return model

    @property
    def attention(self) -> str:
        """Name of the attention implementation in transformers."""
        return "eager" if self.config.model_type == "wavlm" else "sdpa"


@contextmanager
def opened_model(name: str | Path, download: bool) -> Iterator[OpenedModel]:
    """Open a model for transformers; exceptions of the library become DataError.

    Args:
        name: a folder, or ``"owner/model"`` on the hub.
        download: download missing files from the hub.
    """
    folder = _folder(name, download)
    with wrap_errors(f"the model '{name}'"):
        _check_digests(folder)
        with cleaned(folder) as clean, quiet():
            config = AutoConfig.from_pretrained(clean, local_files_only=True, trust_remote_code=False)
            config.name_or_path = str(name)
            yield OpenedModel(str(name), clean, [folder / file for file in weight_files(folder)], config)


def _folder(name: str | Path, download: bool) -> Path:
    """Return the local folder of a model."""
    folder = local_path(name)
    if folder is not None and folder.is_dir():
        return folder
    if not HUB_NAME.fullmatch(str(name)):
        raise MissingDataError(f"there is no folder '{name}': expected a folder with config.json and model.safetensors")
    folder = hub_folder(str(name), MODEL_FILES, download=download)
    if folder is not None and download and not weight_files(folder):
        folder = hub_folder(str(name), PICKLED_WEIGHTS, download=download)
    if folder is None or not (folder / "config.json").exists():
        raise MissingDataError(
            f"'{name}' is neither a folder nor a model on this machine (no config.json with a model_type): set "
            "its option download to true, name a local folder, or put a copy into MMCL_WEIGHTS"
        )
    return folder


def _check_digests(folder: Path) -> None:
    """Raise CheckpointError if a model that was saved with digests has changed since."""
    content = read_config(folder)
    if KEY in content and weights_are_read():
        path = folder / "config.json"
        check_content(content, path)
        check_files(content, path)
        with ExitStack() as stack:
            readers: dict[str, Callable[[str], Tensor]] = {}
            for file in weight_files(folder):
                names, get = stack.enter_context(opened_tensors(folder / file))
                readers |= dict.fromkeys(names, get)
            check_tensors(content, path, readers, lambda name: readers[name](name))


def _lacks(name: str, part: str) -> str:
    return f"folder '{name}' has no valid {part}: expected a model in the layout of transformers"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers: no progress bars, no reports of unused weights, no conversion requests to the hub."""
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
