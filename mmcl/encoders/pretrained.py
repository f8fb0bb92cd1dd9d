"""Load pretrained networks through transformers, from a folder or the hub's copy on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mmcl.data.base import SAMPLE_RATE
from mmcl.encoders.base import Encoder, check_subsampling
from mmcl.encoders.opened_model import OpenedModel, opened_model
from mmcl.encoders.opened_model import quiet as quiet
from mmcl.errors import ConfigError, DataError

WAVEFORM_MODELS = ("wav2vec2", "hubert", "wavlm")
_FRONT_END = ("feature_size", "hop_length", "chunk_length", "n_fft")
_LARGEST = 65_536  #: of these sizes
_SILENCE = torch.zeros(1, SAMPLE_RATE // 10)


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
    check_subsampling(subsampling)
    end: dict[str, Any] = {"tune_from": tune_from, "pooling": pooling, "subsampling": subsampling}
    with opened_model(name, download) as opened:
        config = opened.config
        if config.model_type == "whisper":
            from mmcl.encoders.whisper import WhisperAudioEncoder

            config.decoder_layers = 0  # only the encoder is used
            front_end = _front_end(opened)
            return _tried(WhisperAudioEncoder(opened.network().encoder, front_end, silence=silence, **end), _SILENCE)
        if silence:
            raise ConfigError(
                f"silence is of Whisper, and '{name}' is a model of type '{config.model_type}': leave it out"
            )
        if config.model_type in WAVEFORM_MODELS:
            from mmcl.encoders.wav2vec import Wav2VecEncoder

            normalize = opened.preprocessing().get("do_normalize", True)
            if not isinstance(normalize, bool):
                raise DataError(f"preprocessor_config.json of '{name}' has do_normalize={normalize!r}, expected a bool")
            return _tried(Wav2VecEncoder(opened.network(), normalize=normalize, **end), _SILENCE)
        raise ConfigError(
            f"'{name}' is a model of type '{config.model_type}', expected one of whisper, {', '.join(WAVEFORM_MODELS)}"
        )


def pretrained_text(
    name: str | Path, *, tune_from: int | None = None, pooling: str = "mean", download: bool = False
) -> Encoder:
    """Load a pretrained text encoder such as MiniLM; arguments and errors as :func:`pretrained_audio`."""
    from mmcl.encoders.text import SentenceEncoder

    with opened_model(name, download) as opened:
        config = opened.config
        if config.is_encoder_decoder or config.model_type in ("whisper", *WAVEFORM_MODELS):
            raise ConfigError(
                f"'{name}' is a model of type '{config.model_type}', expected an encoder of text such as bert"
            )
        tokenizer = opened.tokenizer()
        encoder = SentenceEncoder(opened.network(), tokenizer, tune_from=tune_from, pooling=pooling)
        return _tried(encoder, ["a", "turn on the lights, please"])


def pretrained_text_to_text(name: str | Path, *, download: bool = False) -> tuple[Any, Any]:
    """Load a model that writes, such as T5, and its tokenizer; arguments and errors as :func:`pretrained_audio`."""
    from transformers import AutoModelForSeq2SeqLM

    with opened_model(name, download) as opened:
        config = opened.config
        if not config.is_encoder_decoder or config.model_type == "whisper":
            raise ConfigError(
                f"'{name}' is a model of type '{config.model_type}', expected one that writes, such as t5"
            )
        tokenizer = opened.tokenizer()
        model = opened.network(AutoModelForSeq2SeqLM)
        _try_writing(model, tokenizer)
        return model, tokenizer


def pretrained_language_model(name: str | Path, *, download: bool = False) -> tuple[Any, Any]:
    """Load a language model that goes on with a text, or writes one, and its tokenizer; arguments and errors as
    :func:`pretrained_audio`."""
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    with opened_model(name, download) as opened:
        config = opened.config
        if config.is_encoder_decoder:
            return pretrained_text_to_text(name, download=download)
        if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            raise ConfigError(
                f"'{name}' is a model of type '{config.model_type}', expected one that writes, such as llama"
            )
        tokenizer = opened.tokenizer()
        model = opened.network(AutoModelForCausalLM)
        _try_writing(model, tokenizer)
        return model, tokenizer


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

    with opened_model(name, download) as opened:
        config = opened.config
        if config.model_type not in KINDS:
            raise ConfigError(f"'{name}' is a model of type '{config.model_type}', expected one of {', '.join(KINDS)}")
        images = image_input(str(name), config, opened.preprocessing())
        tower = VisionTransformerTower(opened.network())
        frozen = tune_from is None if frozen is None else frozen
        kind = config.model_type
        encoder = ImageTower(tower, images, name=kind, frozen=frozen, tune_from=tune_from, pooling=pooling)
        return _tried(encoder, torch.full((1, 3, 32, 40), 0.5))


def _front_end(opened: OpenedModel) -> dict[str, Any]:
    """The settings of Whisper's spectrogram."""
    bands = opened.config.num_mel_bins
    settings = {"feature_size": bands, **opened.preprocessing()}
    for name in _FRONT_END:
        size = settings.get(name, 1)
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _LARGEST:
            raise DataError(
                f"preprocessor_config.json of '{opened.name}' has {name}={size!r:.60}, expected 1 to {_LARGEST:,}"
            )
    if settings["feature_size"] != bands:
        raise DataError(
            f"preprocessor_config.json of '{opened.name}' has feature_size={settings['feature_size']}, expected the "
            f"num_mel_bins of config.json, {bands}: copy both again"
        )
    return settings


@torch.no_grad()
def _tried(encoder: Encoder, inputs: Any) -> Encoder:
    """Return an encoder once it has encoded something, so that what cannot be is known as it is loaded."""
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()(inputs)
    for module, mode in modes:
        module.training = mode
    return encoder


@torch.no_grad()
def _try_writing(model: Any, tokenizer: Any) -> None:
    """Have a model write a token, so that what cannot be is known as it is loaded."""
    tokens = tokenizer(["one"], return_tensors="pt")
    model.eval().generate(
        input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], max_new_tokens=1, num_beams=1,
        do_sample=False,
    )  # fmt: skip


@contextmanager
def waveform_folder(name: str | Path, download: bool) -> Iterator[tuple[Path, str]]:
    """Give a cleaned copy of the folder of a wav2vec 2.0, HuBERT or WavLM, and how to compute its attention; its
    weights are known to be whole.

    Raises:
        MissingDataError: it is not on this machine.
        DataError: the weights cannot be read, or are not those of the config.
        ConfigError: the model is of another kind.
    """
    with opened_model(name, download) as opened:
        if opened.config.model_type not in WAVEFORM_MODELS:
            raise ConfigError(
                f"'{name}' is a model of type '{opened.config.model_type}', expected one of "
                f"{', '.join(WAVEFORM_MODELS)}"
            )
        opened.network()
        yield opened.folder, opened.attention
