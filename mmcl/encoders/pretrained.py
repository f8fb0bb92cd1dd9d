"""Pretrained audio, image and text networks of transformers, from a folder or the hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmcl.data.base import SAMPLE_RATE
from mmcl.encoders.base import Encoder, check_subsampling
from mmcl.encoders.opened_model import OpenedModel, opened_model
from mmcl.encoders.opened_model import quiet as quiet
from mmcl.encoders.tuning import is_frozen
from mmcl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

WAVEFORM_MODELS = ("wav2vec2", "hubert", "wavlm")
_FRONT_END = ("feature_size", "hop_length", "chunk_length", "n_fft")
_LARGEST_SIZE = 65_536  # upper bound of each of these settings
_SILENCE = torch.zeros(1, SAMPLE_RATE // 10)
_TEXTS = ["a", "turn on the lights, please"]


def pretrained_audio(
    name: str | Path,
    *,
    tune_from: int | None = None,
    pooling: str = "mean",
    subsampling: int = 1,
    silence: float = 0.0,
    download: bool = False,
) -> Encoder:
    """Load a pretrained audio encoder: Whisper, wav2vec 2.0, HuBERT or WavLM.

    Args:
        name: a folder in the layout of transformers, or ``"owner/model"`` on the hub.
        tune_from: train the layers from this one on; None trains nothing.
        pooling: see :func:`~mmcl.encoders.base.pool`.
        subsampling: number of steps to average into one.
        silence: seconds of silence around an utterance, for Whisper only; see
            :class:`~mmcl.encoders.whisper.WhisperAudioEncoder`.
        download: download missing files from the hub.

    Raises:
        MissingDataError: if the folder or model does not exist.
        DataError: if the weights cannot be read, or do not fit the config.
        ConfigError: if the model type or an option is not supported, or there is no layer ``tune_from``.
    """
    check_subsampling(subsampling)
    options: dict[str, Any] = {"tune_from": tune_from, "pooling": pooling, "subsampling": subsampling}
    with opened_model(name, download) as opened:
        config = opened.config
        _check_type("audio", name, config)
        if config.model_type == "whisper":
            from mmcl.encoders.whisper import WhisperAudioEncoder

            config.decoder_layers = 0  # only the encoder is used
            front_end = _front_end(opened)
            return _tested(
                WhisperAudioEncoder(opened.network().encoder, front_end, silence=silence, **options), _SILENCE
            )
        if silence:
            raise ConfigError(
                f"silence is an option of Whisper, but '{name}' is a model of type '{config.model_type}': leave it out"
            )
        from mmcl.encoders.wav2vec import Wav2VecEncoder

        normalize = opened.preprocessing().get("do_normalize", True)
        if not isinstance(normalize, bool):
            raise DataError(f"preprocessor_config.json of '{name}' has do_normalize={normalize!r}, expected a bool")
        return _tested(Wav2VecEncoder(opened.network(), normalize=normalize, **options), _SILENCE)


def _check_type(modality: str, name: str | Path, config: PreTrainedConfig) -> None:
    """Raise ConfigError if a type of model is no encoder of a modality, or no model of text to text."""
    found, audio = config.model_type, ("whisper", *WAVEFORM_MODELS)
    if modality == "audio":
        fits, expected = found in audio, f"one of {', '.join(audio)}"
    elif modality == "image":
        from mmcl.encoders.vision_transformers import MODEL_TYPES

        fits, expected = found in MODEL_TYPES, f"one of {', '.join(MODEL_TYPES)}"
    elif modality == "text":
        fits, expected = not config.is_encoder_decoder and found not in audio, "a text encoder such as bert"
    else:
        fits, expected = config.is_encoder_decoder and found != "whisper", "a text-to-text model such as t5"
    if not fits:
        raise ConfigError(f"'{name}' is a model of type '{found}', expected {expected}")


def pretrained_text(
    name: str | Path, *, tune_from: int | None = None, pooling: str = "mean", download: bool = False
) -> Encoder:
    """Load a pretrained text encoder such as MiniLM.

    Arguments and errors are those of :func:`pretrained_audio`; ``pooling`` may also be ``"cls"``.
    """
    from mmcl.encoders.text import SentenceEncoder

    with opened_model(name, download) as opened:
        _check_type("text", name, opened.config)
        tokenizer = opened.tokenizer()
        return _tested(SentenceEncoder(opened.network(), tokenizer, tune_from=tune_from, pooling=pooling), _TEXTS)


def pretrained_text_to_text(
    name: str | Path, *, download: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load an encoder-decoder language model such as T5, and its tokenizer.

    Arguments and errors are those of :func:`pretrained_audio`.
    """
    from transformers import AutoModelForSeq2SeqLM

    with opened_model(name, download) as opened:
        _check_type("text to text", name, opened.config)
        return _generator(opened, AutoModelForSeq2SeqLM)


def pretrained_language_model(
    name: str | Path, *, download: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal or encoder-decoder language model, and its tokenizer.

    Arguments and errors are those of :func:`pretrained_audio`.
    """
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    with opened_model(name, download) as opened:
        config = opened.config
        if config.is_encoder_decoder:
            return pretrained_text_to_text(name, download=download)
        if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            raise ConfigError(
                f"'{name}' is a model of type '{config.model_type}', expected a language model such as llama"
            )
        return _generator(opened, AutoModelForCausalLM)


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
        frozen: train nothing. None means True, unless ``tune_from`` is given. False trains all.
        tune_from: train the layers from this one on.
        pooling: ``"own"`` is the class token, projected for CLIP; or see :func:`~mmcl.encoders.base.pool`.
        download: download missing files from the hub.

    Raises:
        MissingDataError, DataError, ConfigError: as in :func:`pretrained_audio`.
    """
    from mmcl.encoders.image_tower import ImageTower
    from mmcl.encoders.vision_transformers import VisionTransformerTower, image_input

    with opened_model(name, download) as opened:
        config = opened.config
        _check_type("image", name, config)
        images = image_input(str(name), config, opened.preprocessing())
        encoder = ImageTower(
            VisionTransformerTower(opened.network()),
            images,
            name=config.model_type,
            frozen=is_frozen(frozen, True, tune_from),
            tune_from=tune_from,
            pooling=pooling,
        )
        return _tested(encoder, torch.full((1, 3, 32, 40), 0.5))


def _front_end(opened: OpenedModel) -> dict[str, Any]:
    """Return the settings of Whisper's spectrogram."""
    bands = opened.config.num_mel_bins
    settings = {"feature_size": bands, **opened.preprocessing()}
    for name in _FRONT_END:
        size = settings.get(name, 1)
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _LARGEST_SIZE:
            raise DataError(
                f"preprocessor_config.json of '{opened.name}' has {name}={size!r:.60}, expected 1 to {_LARGEST_SIZE:,}"
            )
    if settings["feature_size"] != bands:
        raise DataError(
            f"preprocessor_config.json of '{opened.name}' has feature_size={settings['feature_size']}, expected the "
            f"num_mel_bins of config.json, {bands}: copy both again"
        )
    return settings


@torch.no_grad()
def _tested(encoder: Encoder, inputs: object) -> Encoder:
    """Return ``encoder`` after encoding ``inputs`` once, to find faults of a model when it is loaded."""
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()(inputs)
    for module, mode in modes:
        module.training = mode
    return encoder


@torch.no_grad()
def _generator(opened: OpenedModel, auto_class: type[Any]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a generative model and its tokenizer, and generate one token to find faults of the model."""
    tokenizer = opened.tokenizer()
    model = opened.network(auto_class)
    tokens = tokenizer(["one"], return_tensors="pt")
    model.eval().generate(
        input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], max_new_tokens=1, num_beams=1,
        do_sample=False,
    )  # fmt: skip
    return model, tokenizer


@contextmanager
def waveform_folder(name: str | Path, download: bool) -> Iterator[tuple[Path, str]]:
    """Yield a sanitized folder of a wav2vec 2.0, HuBERT or WavLM, and the name of its attention implementation.

    Raises:
        MissingDataError: if the model is not on this machine.
        DataError: if the weights cannot be read, or do not fit the config.
        ConfigError: if the model type is not supported.
    """
    with opened_model(name, download) as opened:
        if opened.config.model_type not in WAVEFORM_MODELS:
            raise ConfigError(
                f"'{name}' is a model of type '{opened.config.model_type}', expected one of "
                f"{', '.join(WAVEFORM_MODELS)}"
            )
        opened.network()
        yield opened.folder, opened.attention
