"""Models of spoken language understanding in a folder, by which they are published and loaded again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmcl.config.described import checked_settings
from mmcl.encoders.base import Encoder
from mmcl.encoders.bounded import Sizes, bounded
from mmcl.encoders.gate import model_file, wrap_errors
from mmcl.encoders.saved import describe_encoder, rebuild_encoder
from mmcl.errors import CheckpointError
from mmcl.files.digests import check_content
from mmcl.freeze import trainable_state
from mmcl.models.classifier import SLUClassifier
from mmcl.models.files import put_state, read_model, write_model
from mmcl.models.seq2seq import SLUSeq2Seq
from mmcl.models.tokenizer import FrameTokenizer

CLASSIFIER, SEQ2SEQ = "mmcl_slu_classifier", "mmcl_slu_seq2seq"  #: kinds in ``config.json``
_FORMAT = 1
_PARTS = ("encoder", "tokenizer", "text_encoder")  # that are described apart from the settings
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
    tokenizer = folder / "tokenizer.json"
    if isinstance(model, SLUSeq2Seq):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"cannot write the model in {folder} ({error}): choose another folder") from None
        model.tokenizer.save(tokenizer)
    stored = _stored(model, whole_encoder=content["fingerprint"] is None)
    write_model(folder, "config.json", content, stored, [tokenizer] if writes else [])


def load_slu(
    folder: str | Path, *, download: bool = False, encoders: Sequence[Encoder] = ()
) -> SLUClassifier | SLUSeq2Seq:
    """Build the model that :func:`save_slu` wrote, in evaluation mode.

    Args:
        folder: where it was written.
        download: fetch a pretrained encoder that is not on this machine.
        encoders: built by the caller; one of the model's modality is taken in place of the one that is described.

    Raises:
        CheckpointError: a file is missing, damaged or changed, names a place outside the folder, or the pretrained
            encoder is not the one that was there.
        MissingDataError: the pretrained encoder is not on this machine.
    """
    folder = Path(folder)
    path = folder / "config.json"
    with wrap_errors(f"the model in {folder}", error=CheckpointError):
        described, state = read_model(folder, path.name)
        kind, classes = described.get("model_type"), described.get("classes")
        if described.get("format") != _FORMAT or kind not in (CLASSIFIER, SEQ2SEQ):
            raise CheckpointError(
                f"there is no model in {folder} that can be read (it is of type {kind!r:.60}, format "
                f"{described.get('format')!r:.60}): expected what save_slu wrote"
            )
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise CheckpointError(
                f"there is no model in {folder} that can be read (classes is {classes!r:.60}): expected a list of names"
            )
        made: Any = SLUSeq2Seq if kind == SEQ2SEQ else SLUClassifier
        settings = checked_settings(
            made, described.get("settings"), f"settings, which {path} describes no model by", without=_PARTS
        )
        sizes = Sizes.of(state.values())
        encoder = rebuild_encoder(described, folder, download=download, encoders=encoders, sizes=sizes)
        model: SLUClassifier | SLUSeq2Seq
        with bounded(sizes, path, error=CheckpointError):
            if made is SLUSeq2Seq:
                model_file(folder, "tokenizer.json", error=CheckpointError)
                model = SLUSeq2Seq(encoder, FrameTokenizer.load(folder / "tokenizer.json"), **settings)
                if model.tokenizer.intents != tuple(classes):
                    raise CheckpointError(f"classes of {path} are not the intents of tokenizer.json: copy both again")
            else:
                model = SLUClassifier(encoder, **settings)
                model.grow(range(len(classes)))
                model.classes = tuple(classes)
        put_state(model, state, _stored(model, whole_encoder=described["fingerprint"] is None), path)
        check_content(described, path)
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
