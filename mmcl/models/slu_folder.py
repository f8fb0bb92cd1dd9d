"""Models of spoken language understanding in a folder, by which they are published and loaded again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmcl.atomic import written_whole
from mmcl.encoders.saved import describe_encoder, rebuild_encoder
from mmcl.errors import CheckpointError
from mmcl.freeze import trainable_state
from mmcl.models.classifier import SLUClassifier
from mmcl.models.seq2seq import SLUSeq2Seq
from mmcl.models.tokenizer import FrameTokenizer

CLASSIFIER, SEQ2SEQ = "mmcl_slu_classifier", "mmcl_slu_seq2seq"  #: kinds in ``config.json``
_FORMAT = 1
_TEXT_SIDE = ("text_encoder.", "audio_projection.", "text_projection.")


def save_slu(model: SLUClassifier | SLUSeq2Seq, folder: str | Path, classes: Sequence[str]) -> None:
    """Write ``config.json``, ``model.safetensors`` and, of a model that writes, ``tokenizer.json`` into a folder.

    What is frozen and can be had again from where it came is not written: its fingerprint is. Of a classifier only what
    names classes is: the audio-text space, which serves training alone, is left out.

    Args:
        model: trained.
        folder: made if it is missing.
        classes: names of the classes by label.

    Raises:
        CheckpointError: it cannot be written, the encoder was not made by ``build_encoder``, or classes lack a name.
    """
    folder = Path(folder)
    writes = isinstance(model, SLUSeq2Seq)
    labels = len(model.tokenizer.intents) if isinstance(model, SLUSeq2Seq) else len(model.head.seen)
    if len(classes) != labels:
        raise CheckpointError(f"there are names of {len(classes)} classes, expected {labels}, as the model has")
    content = {
        "model_type": SEQ2SEQ if writes else CLASSIFIER,
        "format": _FORMAT,
        "classes": list(classes),
        **describe_encoder(model.encoder),
        "settings": _settings_of(model),
    }
    stored = _stored(model, whole_encoder=content["fingerprint"] is None)
    # A copy each: matrices that are tied share memory, which the format does not have.
    state = {name: each.detach().cpu().clone(memory_format=torch.contiguous_format) for name, each in stored.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / "model.safetensors") as temporary:
            save_file(state, temporary)
        with written_whole(folder / "config.json") as temporary:
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write the model in {folder} ({error}): choose another folder") from None
    if isinstance(model, SLUSeq2Seq):
        model.tokenizer.save(folder / "tokenizer.json")


def load_slu(folder: str | Path, *, download: bool | None = None) -> SLUClassifier | SLUSeq2Seq:
    """Build the model that :func:`save_slu` wrote, in evaluation mode.

    Args:
        folder: where it was written.
        download: fetch a pretrained encoder that is not on this machine; None does as it was once built.

    Raises:
        CheckpointError: a file is missing or damaged, or the pretrained encoder is not the one that was there.
        MissingDataError: the pretrained encoder is not on this machine.
    """
    folder = Path(folder)
    try:
        described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if described["format"] != _FORMAT or described["model_type"] not in (CLASSIFIER, SEQ2SEQ):
            raise ValueError(f"it is of {described['model_type']}, format {described['format']}")
        classes, settings = tuple(map(str, described["classes"])), dict(described["settings"])
        state = load_file(folder / "model.safetensors")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"there is no model in {folder} that can be read ({error}): expected what save_slu wrote"
        ) from None
    encoder = rebuild_encoder(described, folder, download=download)
    model: SLUClassifier | SLUSeq2Seq
    try:
        if described["model_type"] == SEQ2SEQ:
            model = SLUSeq2Seq(encoder, FrameTokenizer.load(folder / "tokenizer.json"), **settings)
        else:
            model = SLUClassifier(encoder, **settings)
            model.grow(range(len(classes)))
            model.classes = classes
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"config.json in {folder} describes no model ({error}): copy it again") from None
    shapes = {name: each.shape for name, each in _stored(model, whole_encoder=described["fingerprint"] is None).items()}
    if {name: tensor.shape for name, tensor in state.items()} != shapes:
        raise CheckpointError(f"model.safetensors in {folder} is of another model: expected what config.json says")
    model.load_state_dict(state, strict=False)
    return model.eval()


def _stored(model: SLUClassifier | SLUSeq2Seq, *, whole_encoder: bool) -> dict[str, Tensor]:
    """What the file of weights holds."""
    state = {name: tensor for name, tensor in trainable_state(model).items() if not _is_text_side(model, name)}
    return state | (model.encoder.state_dict(prefix="encoder.") if whole_encoder else {})


def _is_text_side(model: nn.Module, name: str) -> bool:
    return isinstance(model, SLUClassifier) and name.startswith(_TEXT_SIDE)


def _settings_of(model: SLUClassifier | SLUSeq2Seq) -> dict[str, Any]:
    """What the model was made with, beside its encoder and tokenizer."""
    if isinstance(model, SLUClassifier):
        linear, _, dropout = model.trunk
        return {"hidden": linear.out_features, "dropout": dropout.p}
    config = model.transformer.config
    return {
        "dim": config.d_model,
        "layers": config.decoder_layers,
        "heads": config.decoder_attention_heads,
        "feedforward": config.decoder_ffn_dim,
        "encoder_layers": config.encoder_layers,
        "summary": model.summary is not None,
        "dropout": config.dropout,
        "tied": config.tie_word_embeddings,
        "projection": model.audio_projection.out_features,
        "entities": model.entities,
        "beams": model.beams,
        "length_penalty": model.length_penalty,
        "max_tokens": model.max_tokens,
    }
