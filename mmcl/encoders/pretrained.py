"""Load pretrained networks through transformers, from a folder or the hub's copy on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoTokenizer, FeatureExtractionMixin
from transformers.utils import logging as transformers_logging

from mmcl.data.base import SAMPLE_RATE
from mmcl.encoders.base import Encoder
from mmcl.errors import ConfigError, DataError, MissingDataError

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")  #: "owner/model"
WAVEFORM_MODELS = ("wav2vec2", "hubert", "wavlm")
_FILES = ["config.json", "preprocessor_config.json", "model.safetensors", "pytorch_model.bin"]
_UNUSED = ("masked_spec_embed", "pooler.")  # weights that a checkpoint may lack: no encoder here uses them


def pretrained_audio(
    name: str | Path,
    *,
    tune_from: int | None = None,
    pooling: str = "mean",
    subsampling: int = 1,
    silence: float = 0.0,
    download: bool = False,
) -> Encoder:
    """Load a pretrained audio encoder: Whisper's, wav2vec 2.0, HuBERT or WavLM.

    Args:
        name: a folder in the layout of transformers, or ``"owner/model"`` on the hub.
        tune_from: train the layers from this one on; None trains nothing.
        pooling: see :func:`~mmcl.encoders.base.pool`.
        subsampling: steps of the encoder that become one, their mean.
        silence: of Whisper, see :class:`~mmcl.encoders.whisper.WhisperAudioEncoder`.
        download: fetch what is not on this machine from the hub.

    Raises:
        MissingDataError: the folder or model is not there.
        DataError: the weights cannot be read, or are not those of the config.
        ConfigError: the model is of another kind, or has no layer ``tune_from``, or ``subsampling`` is not 1 or more.
    """
    if subsampling < 1:
        raise ConfigError(f"subsampling is {subsampling}, expected 1 or more steps that become one")
    end: dict[str, Any] = {"tune_from": tune_from, "pooling": pooling, "subsampling": subsampling}
    config = _config(name, download)
    if config.model_type == "whisper":
        from mmcl.encoders.whisper import WhisperAudioEncoder

        config.decoder_layers = 0  # only the encoder is used
        front_end = {"feature_size": config.num_mel_bins, **_preprocessing(name, download)}
        model = _model(name, config, download).encoder
        return WhisperAudioEncoder(model, front_end, silence=silence, **end)
    if silence:
        raise ConfigError(f"silence is of Whisper, and '{name}' is a model of type '{config.model_type}': leave it out")
    if config.model_type in WAVEFORM_MODELS:
        from mmcl.encoders.wav2vec import Wav2VecEncoder

        normalize = _preprocessing(name, download).get("do_normalize", True)
        model = _model(name, config, download)
        return Wav2VecEncoder(model, normalize=normalize, **end)
    raise ConfigError(
        f"'{name}' is a model of type '{config.model_type}', expected one of whisper, {', '.join(WAVEFORM_MODELS)}"
    )


def pretrained_text(
    name: str | Path, *, tune_from: int | None = None, pooling: str = "mean", download: bool = False
) -> Encoder:
    """Load a pretrained text encoder such as MiniLM; arguments and errors as :func:`pretrained_audio`."""
    from mmcl.encoders.text import SentenceEncoder

    config = _config(name, download)
    if config.is_encoder_decoder or config.model_type in ("whisper", *WAVEFORM_MODELS):
        raise ConfigError(
            f"'{name}' is a model of type '{config.model_type}', expected an encoder of text such as bert"
        )
    tokenizer = _tokenizer(name, config, download)
    return SentenceEncoder(_model(name, config, download), tokenizer, tune_from=tune_from, pooling=pooling)


def pretrained_text_to_text(name: str | Path, *, download: bool = False) -> tuple[Any, Any]:
    """Load a model that writes, such as T5, and its tokenizer; arguments and errors as :func:`pretrained_audio`."""
    from transformers import AutoModelForSeq2SeqLM

    config = _config(name, download)
    if not config.is_encoder_decoder or config.model_type == "whisper":
        raise ConfigError(f"'{name}' is a model of type '{config.model_type}', expected one that writes, such as t5")
    tokenizer = _tokenizer(name, config, download)
    return _model(name, config, download, AutoModelForSeq2SeqLM), tokenizer


def pretrained_language_model(name: str | Path, *, download: bool = False) -> tuple[Any, Any]:
    """Load a language model that goes on with a text, or writes one, and its tokenizer; arguments and errors as
    :func:`pretrained_audio`."""
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config = _config(name, download)
    if config.is_encoder_decoder:
        return pretrained_text_to_text(name, download=download)
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ConfigError(f"'{name}' is a model of type '{config.model_type}', expected one that writes, such as llama")
    tokenizer = _tokenizer(name, config, download)
    return _model(name, config, download, AutoModelForCausalLM), tokenizer


def pretrained_image(
    name: str | Path,
    *,
    frozen: bool | None = None,
    tune_from: int | None = None,
    pooling: str = "own",
    download: bool = False,
) -> Encoder:
    """Load a pretrained image encoder: ViT, DINOv2 or the image tower of CLIP.

    Args:
        name: a folder in the layout of transformers, or ``"owner/model"`` on the hub.
        frozen: train nothing; None is True where ``tune_from`` is None. False trains all.
        tune_from: train the layers from this one on.
        pooling: ``"own"``, the class token, for CLIP projected; or see :func:`~mmcl.encoders.base.pool`.
        download: fetch what is not on this machine from the hub.

    Raises:
        MissingDataError, DataError, ConfigError: as :func:`pretrained_audio`.
    """
    from mmcl.encoders.image_tower import ImageTower
    from mmcl.encoders.vision_transformers import KINDS, VisionTransformerTower, image_input

    config = _config(name, download)
    if config.model_type not in KINDS:
        raise ConfigError(f"'{name}' is a model of type '{config.model_type}', expected one of {', '.join(KINDS)}")
    images = image_input(str(name), config, _preprocessing(name, download))
    tower = VisionTransformerTower(_model(name, config, download))
    frozen = tune_from is None if frozen is None else frozen
    return ImageTower(tower, images, name=config.model_type, frozen=frozen, tune_from=tune_from, pooling=pooling)


def _config(name: str | Path, download: bool) -> Any:
    if not Path(name).expanduser().is_dir() and not HUB_NAME.fullmatch(str(name)):
        raise MissingDataError(f"there is no folder '{name}': expected a folder with config.json and model.safetensors")
    try:
        return AutoConfig.from_pretrained(located(name), local_files_only=not download, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise MissingDataError(_not_found(name, "config.json with a model_type")) from error


def _preprocessing(name: str | Path, download: bool) -> dict[str, Any]:
    """The settings of ``preprocessor_config.json``; none where there is no such file."""
    try:
        with quiet():
            settings, _ = FeatureExtractionMixin.get_feature_extractor_dict(
                located(name), local_files_only=not download
            )
    except (OSError, ValueError, KeyError) as error:
        if (Path(name).expanduser() / "preprocessor_config.json").exists():
            raise DataError(f"preprocessor_config.json of '{name}' cannot be read: copy it again") from error
        return {}
    if (rate := settings.get("sampling_rate", SAMPLE_RATE)) != SAMPLE_RATE:
        raise ConfigError(f"'{name}' takes audio at {rate} Hz, expected {SAMPLE_RATE} Hz")
    return dict(settings)


def _tokenizer(name: str | Path, config: Any, download: bool) -> Any:
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                located(name), local_files_only=not download, trust_remote_code=False
            )
    except (OSError, ValueError, KeyError) as error:
        raise MissingDataError(_not_found(name, "tokenizer")) from error
    if not len(tokenizer.all_special_tokens) < len(tokenizer) <= getattr(config, "vocab_size", 0):
        # Where there are no files, transformers makes a tokenizer that knows no word.
        raise MissingDataError(_not_found(name, "tokenizer with a vocabulary that the model knows"))
    return tokenizer


def _model(name: str | Path, config: Any, download: bool, kind: Any = AutoModel) -> Any:
    """The network in float32, with every weight that it uses from the checkpoint."""
    try:
        with quiet():
            model, report = kind.from_pretrained(
                located(name),
                config=config,
                dtype=torch.float32,
                attn_implementation=_attention(config),
                local_files_only=not download,
                trust_remote_code=False,
                weights_only=True,
                output_loading_info=True,
            )
    except OSError as error:
        raise MissingDataError(_not_found(name, "model.safetensors")) from error
    except (SafetensorError, RuntimeError, ValueError, KeyError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"the weights of '{name}' cannot be read ({reason}): copy them again from their source"
        ) from error
    if missing := sorted(key for key in report["missing_keys"] if not key.startswith(_UNUSED)):
        raise DataError(
            f"the weights of '{name}' lack {len(missing)} that its config.json asks for, first '{missing[0]}': "
            "copy both again from their source"
        )
    return model


def waveform_folder(name: str | Path, download: bool) -> tuple[str, str]:
    """Return the folder of a wav2vec 2.0, HuBERT or WavLM, its own or that in the hub's cache, and how to compute its
    attention; its weights are known to be whole.

    Raises:
        MissingDataError: it is not on this machine.
        DataError: the weights cannot be read, or are not those of the config.
        ConfigError: the model is of another kind.
    """
    config = _config(name, download)
    if config.model_type not in WAVEFORM_MODELS:
        raise ConfigError(
            f"'{name}' is a model of type '{config.model_type}', expected one of {', '.join(WAVEFORM_MODELS)}"
        )
    _model(name, config, download)
    folder, attention = located(name), _attention(config)
    if Path(folder).is_dir():
        return folder, attention
    try:
        return snapshot_download(folder, local_files_only=not download, allow_patterns=_FILES), attention
    except (OSError, ValueError) as error:
        raise MissingDataError(_not_found(name, "model.safetensors")) from error


def located(name: str | Path) -> str:
    """Return the folder of that name, or a hub model's in ``MMCL_WEIGHTS``; else the name, for the hub's cache."""
    folder, weights = Path(name).expanduser(), os.environ.get("MMCL_WEIGHTS")
    if folder.is_dir():
        return str(folder)
    if weights and HUB_NAME.fullmatch(str(name)):
        for known in (folder.name, f"{folder.name}-encoder"):  # the latter of a copy without decoder
            if (Path(weights).expanduser() / known / "config.json").is_file():
                return str(Path(weights).expanduser() / known)
    return str(name)


def _attention(config: Any) -> str:
    return "eager" if config.model_type == "wavlm" else "sdpa"


def _not_found(name: str | Path, what: str) -> str:
    if Path(name).expanduser().is_dir():
        return f"folder '{name}' has no usable {what}: expected a model in the layout of transformers"
    return (
        f"'{name}' is neither a folder nor a model on this machine (no {what}): "
        "pass download=True to fetch it from the hub, or the folder of a copy, or put that folder into MMCL_WEIGHTS"
    )


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
