"""Load pretrained networks through transformers, from a folder or the hub's copy on this machine."""

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
from mmcl.encoders.base import Encoder, check_subsampling
from mmcl.encoders.bounded import Sizes, bounded
from mmcl.encoders.clean_folder import FILES, PICKLED, cleaned, read_config, weight_files
from mmcl.encoders.gate import HUB_NAME, foreign, place, snapshot
from mmcl.encoders.weights import check_dtypes, check_finite, headers, opened_tensors
from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.files.digests import KEY, check_content, check_files, check_tensors
from mmcl.files.plain_json import read_json

WAVEFORM_MODELS = ("wav2vec2", "hubert", "wavlm")
_UNUSED = ("masked_spec_embed", "pooler.")  # weights that a checkpoint may lack: no encoder here uses them
_FRONT_END = ("feature_size", "hop_length", "chunk_length", "n_fft")
_LARGEST = 65_536  #: of these sizes
_SECOND = torch.zeros(1, SAMPLE_RATE)


class _Opened(NamedTuple):
    """A model whose files may be handed to transformers: its name, a cleaned copy of its folder, its files of weights,
    and its config."""

    name: str
    folder: Path
    weights: list[Path]
    config: Any


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
    with _opened(name, download) as opened:
        config = opened.config
        if config.model_type == "whisper":
            from mmcl.encoders.whisper import WhisperAudioEncoder

            config.decoder_layers = 0  # only the encoder is used
            front_end = _front_end(opened)
            return _tried(WhisperAudioEncoder(_model(opened).encoder, front_end, silence=silence, **end), _SECOND)
        if silence:
            raise ConfigError(
                f"silence is of Whisper, and '{name}' is a model of type '{config.model_type}': leave it out"
            )
        if config.model_type in WAVEFORM_MODELS:
            from mmcl.encoders.wav2vec import Wav2VecEncoder

            normalize = _preprocessing(opened).get("do_normalize", True)
            if not isinstance(normalize, bool):
                raise DataError(f"preprocessor_config.json of '{name}' has do_normalize={normalize!r}, expected a bool")
            return _tried(Wav2VecEncoder(_model(opened), normalize=normalize, **end), _SECOND)
        raise ConfigError(
            f"'{name}' is a model of type '{config.model_type}', expected one of whisper, {', '.join(WAVEFORM_MODELS)}"
        )


def pretrained_text(
    name: str | Path, *, tune_from: int | None = None, pooling: str = "mean", download: bool = False
) -> Encoder:
    """Load a pretrained text encoder such as MiniLM; arguments and errors as :func:`pretrained_audio`."""
    from mmcl.encoders.text import SentenceEncoder

    with _opened(name, download) as opened:
        config = opened.config
        if config.is_encoder_decoder or config.model_type in ("whisper", *WAVEFORM_MODELS):
            raise ConfigError(
                f"'{name}' is a model of type '{config.model_type}', expected an encoder of text such as bert"
            )
        tokenizer = _tokenizer(opened)
        encoder = SentenceEncoder(_model(opened), tokenizer, tune_from=tune_from, pooling=pooling)
        return _tried(encoder, ["a", "turn on the lights, please"])


def pretrained_text_to_text(name: str | Path, *, download: bool = False) -> tuple[Any, Any]:
    """Load a model that writes, such as T5, and its tokenizer; arguments and errors as :func:`pretrained_audio`."""
    from transformers import AutoModelForSeq2SeqLM

    with _opened(name, download) as opened:
        config = opened.config
        if not config.is_encoder_decoder or config.model_type == "whisper":
            raise ConfigError(
                f"'{name}' is a model of type '{config.model_type}', expected one that writes, such as t5"
            )
        tokenizer = _tokenizer(opened)
        model = _model(opened, AutoModelForSeq2SeqLM)
        _try_writing(model, tokenizer)
        return model, tokenizer


def pretrained_language_model(name: str | Path, *, download: bool = False) -> tuple[Any, Any]:
    """Load a language model that goes on with a text, or writes one, and its tokenizer; arguments and errors as
    :func:`pretrained_audio`."""
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    with _opened(name, download) as opened:
        config = opened.config
        if config.is_encoder_decoder:
            return pretrained_text_to_text(name, download=download)
        if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            raise ConfigError(
                f"'{name}' is a model of type '{config.model_type}', expected one that writes, such as llama"
            )
        tokenizer = _tokenizer(opened)
        model = _model(opened, AutoModelForCausalLM)
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

    with _opened(name, download) as opened:
        config = opened.config
        if config.model_type not in KINDS:
            raise ConfigError(f"'{name}' is a model of type '{config.model_type}', expected one of {', '.join(KINDS)}")
        images = image_input(str(name), config, _preprocessing(opened))
        tower = VisionTransformerTower(_model(opened))
        frozen = tune_from is None if frozen is None else frozen
        kind = config.model_type
        encoder = ImageTower(tower, images, name=kind, frozen=frozen, tune_from=tune_from, pooling=pooling)
        return _tried(encoder, torch.full((1, 3, 32, 40), 0.5))


@contextmanager
def _opened(name: str | Path, download: bool) -> Iterator[_Opened]:
    """Open a model for transformers; what any library raises of its files becomes a DataError."""
    folder = _folder(name, download)
    with foreign(f"the model '{name}'"):
        _check_digests(folder)
        with cleaned(folder) as clean, quiet():
            config = AutoConfig.from_pretrained(clean, local_files_only=True, trust_remote_code=False)
            config.name_or_path = str(name)
            yield _Opened(str(name), clean, [folder / file for file in weight_files(folder)], config)


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


def _preprocessing(opened: _Opened) -> dict[str, Any]:
    """The settings of ``preprocessor_config.json``; none where there is no such file."""
    path = opened.folder / "preprocessor_config.json"
    settings: dict[str, Any] = read_json(path) if path.is_file() else {}
    if (rate := settings.get("sampling_rate", SAMPLE_RATE)) != SAMPLE_RATE:
        raise ConfigError(f"'{opened.name}' takes audio at {rate} Hz, expected {SAMPLE_RATE} Hz")
    return settings


def _front_end(opened: _Opened) -> dict[str, Any]:
    """The settings of Whisper's spectrogram."""
    bands = opened.config.num_mel_bins
    settings = {"feature_size": bands, **_preprocessing(opened)}
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


def _tokenizer(opened: _Opened) -> Any:
    name, words = opened.name, getattr(opened.config, "vocab_size", 0)
    try:
        tokenizer = AutoTokenizer.from_pretrained(opened.folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise MissingDataError(_lacks(name, "tokenizer")) from error
    if not len(tokenizer.all_special_tokens) < len(tokenizer) <= words or max(tokenizer.get_vocab().values()) >= words:
        # Where there are no files, transformers makes a tokenizer that knows no word.
        raise MissingDataError(_lacks(name, "tokenizer with a vocabulary that the model knows"))
    rows = tokenizer(["a", "turn on the lights, please"])["input_ids"]
    if not all(row and all(0 <= token < words for token in row) for row in rows):
        raise DataError(f"the tokenizer of '{name}' makes tokens that the model does not know: copy it again")
    tokenizer.name_or_path = tokenizer.init_kwargs["name_or_path"] = name
    return tokenizer


def _model(opened: _Opened, kind: Any = AutoModel) -> Any:
    """The network in float32, with every weight that it uses from the checkpoint."""
    name = opened.name
    if not opened.weights:
        raise MissingDataError(_lacks(name, "model.safetensors"))
    with foreign(f"the weights of '{name}'"):
        held = {tensor: header for file in opened.weights for tensor, header in headers(file).items()}
        sizes = Sizes(len(held), sum(numbers for _, numbers in held.values()))
        with bounded(sizes, f"config.json of '{name}'"):
            model, report = kind.from_pretrained(
                opened.folder,
                config=opened.config,
                dtype=torch.float32,
                attn_implementation=_attention(opened.config),
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
    return model


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
    with _opened(name, download) as opened:
        if opened.config.model_type not in WAVEFORM_MODELS:
            raise ConfigError(
                f"'{name}' is a model of type '{opened.config.model_type}', expected one of "
                f"{', '.join(WAVEFORM_MODELS)}"
            )
        _model(opened)
        yield opened.folder, _attention(opened.config)


def _attention(config: Any) -> str:
    return "eager" if config.model_type == "wavlm" else "sdpa"


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
