"""Saved models: a description in JSON and weights in safetensors, both with digests.

:func:`write_model` and :func:`load_model` serve every kind of model. :func:`save_slu` and :func:`load_slu` use them for
models of spoken language understanding, and :meth:`mmcl.models.TwoTower.save` for two towers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mmcl.config.described import checked_settings
from mmcl.encoders.base import Encoder
from mmcl.encoders.bounded import Sizes, bounded
from mmcl.encoders.gate import model_file, wrap_errors
from mmcl.encoders.saved import describe_encoder, described_encoders, rebuild_views
from mmcl.errors import CheckpointError
from mmcl.files.atomic import written_whole
from mmcl.files.digests import check_content, check_files, check_tensor, check_tensors, stamped, tensor_digest
from mmcl.files.plain_json import read_json
from mmcl.freeze import trainable_state
from mmcl.models.classifier import SLUClassifier
from mmcl.models.readouts.described import STATISTICS, describe_read_out, rebuild_read_out

if TYPE_CHECKING:
    from mmcl.models.seq2seq import SLUSeq2Seq

WEIGHTS = "model.safetensors"  #: name of the weight file
CLASSIFIER, SEQ2SEQ = "mmcl_slu_classifier", "mmcl_slu_seq2seq"  #: values of ``model_type`` in ``config.json``
_SLU_FORMAT = 1
_NOT_SETTINGS = ("encoder", "tokenizer", "text_encoder", "readout")  # arguments that have their own entry or file
# Used in training only.
_TRAINING = ("text_encoder.", "audio_projection.", "text_projection.", *(f"readout.{part}" for part in STATISTICS))

SavedT = TypeVar("SavedT", bound=nn.Module)
Description: TypeAlias = dict[str, Any]  #: content of the JSON file


def write_model(
    folder: Path, name: str, content: Mapping[str, object], state: Mapping[str, Tensor], others: Iterable[Path] = ()
) -> None:
    """Write the weights and the description of a model, with digests of both.

    Args:
        folder: created if missing.
        name: file name of the description, such as ``config.json``.
        content: description, plain data.
        state: weights.
        others: further files of the model that exist already; their digests are stored as well.

    Raises:
        CheckpointError: a file cannot be written.
    """
    # Clones, because safetensors does not store tensors that share memory, such as tied matrices.
    state = {name: each.detach().cpu().clone(memory_format=torch.contiguous_format) for name, each in state.items()}
    text = _text(stamped(content, {name: tensor_digest(tensor) for name, tensor in state.items()}, others))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / WEIGHTS) as temporary:
            save_file(state, temporary)
        with written_whole(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write the model to {folder} ({error}): choose another folder") from None


def seal(folder: Path) -> None:
    """Store digests of all files in a model folder, which must be complete and undamaged, in its ``config.json``.

    Raises:
        CheckpointError: a file cannot be read.
    """
    path, others = folder / "config.json", []
    state: dict[str, str] = {}
    content: Description = read_json(path, error=CheckpointError)
    for file in sorted(each for each in folder.iterdir() if each.is_file() and each != path):
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as weights:
                state |= {name: tensor_digest(weights.get_tensor(name)) for name in weights.keys()}  # noqa: SIM118
        elif file.suffix != ".md":
            others.append(file)
    with written_whole(path) as temporary:
        temporary.write_text(_text(stamped(content, state, others)), encoding="utf-8")


def read_model(folder: Path, name: str) -> tuple[Description, dict[str, Tensor]]:
    """Read the description and the weights of a model, and check the weights against their digests.

    Raises:
        CheckpointError: a file is missing, damaged, or a link to a place outside the folder.
    """
    for file in (name, WEIGHTS):
        if model_file(folder, file, error=CheckpointError) is None:
            raise CheckpointError(f"no model in {folder}: {file} is missing; copy the folder again")
    described: Description = read_json(folder / name, error=CheckpointError)
    check_files(described, folder / name)
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            state = {tensor: file.get_tensor(tensor) for tensor in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"no model in {folder}: cannot read {WEIGHTS} ({error}); copy the folder again") from None
    check_tensors(described, folder / name, state, state.__getitem__)
    return described, state


def put_state(model: nn.Module, state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Load weights into a model.

    Args:
        model: built from the description.
        state: weights from the file.
        expected: entries of the model's state that the file must hold.
        path: file of the description, for errors.

    Raises:
        CheckpointError: a name, shape or dtype differs, or a weight is not finite.
    """
    weights, other = path.parent / WEIGHTS, f"is of another model than {path.name}"
    for name in sorted(state.keys() ^ expected.keys()):
        kind = "unexpected" if name in state else "missing"
        raise CheckpointError(f"{weights} {other}: {kind} tensor '{name}'; copy both files again")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{weights} {other}: tensor '{name}' has shape {tuple(tensor.shape)}, expected "
                f"{tuple(expected[name].shape)}"
            )
        check_tensor(name, tensor, expected[name], weights)
    model.load_state_dict(dict(state), strict=False)


def stored_state(
    model: nn.Module, encoders: Mapping[str, Mapping[str, Any]], skip: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """Return the part of a model's state that its weight file holds.

    The part is all trained state, and the whole state of encoders that cannot be rebuilt. These have no fingerprint,
    because their weights are random and frozen.

    Args:
        model: a model.
        encoders: description of each encoder, by the prefix of its names in the state.
        skip: prefixes of names to leave out.
    """
    whole = tuple(prefix for prefix, described in encoders.items() if described["fingerprint"] is None)
    trained = {name for name in trainable_state(model) if not name.startswith(skip)}
    return {name: each for name, each in model.state_dict().items() if name in trained or name.startswith(whole)}


def load_model(
    folder: Path, name: str, build: Callable[[Description, Sizes], tuple[SavedT, Mapping[str, Tensor]]]
) -> SavedT:
    """Build a model from its description, load its weights, and return it in evaluation mode.

    Args:
        folder: folder of the model.
        name: file name of the description.
        build: takes the description and the sizes of the weights. It returns the model, and the entries of its state
            that the weight file must hold.

    Raises:
        CheckpointError: a file is missing, damaged or changed, or the description is invalid.
    """
    with wrap_errors(f"the model in {folder}", error=CheckpointError):
        described, state = read_model(folder, name)
        model, expected = build(described, Sizes.of(state.values()))
        put_state(model, state, expected, folder / name)
        check_content(described, folder / name)
        return model.eval()


def save_slu(model: SLUClassifier | SLUSeq2Seq, folder: str | Path, classes: Sequence[str]) -> None:
    """Write ``config.json``, ``model.safetensors`` and, for a sequence model, ``tokenizer.json`` to a folder.

    Pretrained frozen weights are not stored, only their fingerprint. The text space of a classifier is left out,
    because it serves training alone.

    Args:
        model: trained model.
        folder: created if missing.
        classes: class names by label.

    Raises:
        CheckpointError: a file cannot be written, the encoder was not made by ``build_encoder``, or the number of class
            names differs from the model's.
    """
    folder = Path(folder)
    labels = len(model.head.seen) if isinstance(model, SLUClassifier) else len(model.tokenizer.intents)
    if len(classes) != labels:
        raise CheckpointError(f"got names of {len(classes)} classes, but the model has {labels} classes")
    encoder = describe_encoder(model.encoder)
    content = {
        "model_type": CLASSIFIER if isinstance(model, SLUClassifier) else SEQ2SEQ,
        "format": _SLU_FORMAT,
        "classes": list(classes),
        **encoder,
        "settings": _settings_of(model),
    }
    if (readout := getattr(model, "readout", None)) is not None:
        content["readout"] = describe_read_out(readout)
    others = []
    if not isinstance(model, SLUClassifier):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"cannot write the model to {folder} ({error}): choose another folder") from None
        others = [folder / "tokenizer.json"]
        model.tokenizer.save(others[0])
    write_model(folder, "config.json", content, _slu_state(model, encoder), others)


def load_slu(
    folder: str | Path, *, download: bool = False, encoders: Sequence[Encoder] = ()
) -> SLUClassifier | SLUSeq2Seq:
    """Load a model that :func:`save_slu` wrote, in evaluation mode.

    Args:
        folder: folder of the model.
        download: fetch a pretrained encoder that is not on this machine.
        encoders: encoders to use in place of the described one, if of its modality.

    Raises:
        CheckpointError: a file is missing, damaged or changed, or names a place outside the folder; or the pretrained
            encoder is not the one that the model was saved with.
        MissingDataError: the pretrained encoder is not on this machine.
    """
    from mmcl.models.seq2seq import SLUSeq2Seq
    from mmcl.models.tokenizer import FrameTokenizer

    folder = Path(folder)
    path = folder / "config.json"

    def build(described: Description, sizes: Sizes) -> tuple[SLUClassifier | SLUSeq2Seq, Mapping[str, Tensor]]:
        kind, classes = described.get("model_type"), described.get("classes")
        if described.get("format") != _SLU_FORMAT or kind not in (CLASSIFIER, SEQ2SEQ):
            raise CheckpointError(
                f"no model in {folder}: type {kind!r:.60}, format {described.get('format')!r:.60}; expected a folder "
                "that save_slu wrote"
            )
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise CheckpointError(f"no model in {folder}: classes is {classes!r:.60}, expected a list of names")
        made: type[SLUClassifier | SLUSeq2Seq] = SLUClassifier if kind == CLASSIFIER else SLUSeq2Seq
        settings = checked_settings(made, described.get("settings"), f"settings of {path}", without=_NOT_SETTINGS)
        encoder = rebuild_views(described, folder, download=download, encoders=encoders, sizes=sizes)
        model: SLUClassifier | SLUSeq2Seq
        with bounded(sizes, path, error=CheckpointError):
            if made is SLUClassifier:
                model = SLUClassifier(encoder, **settings)
                model.grow(range(len(classes)))
                model.readout = rebuild_read_out(described.get("readout"), model.head.weight.shape, path)
                model.classes = tuple(classes)
            else:
                model_file(folder, "tokenizer.json", error=CheckpointError)
                tokenizer = FrameTokenizer.load(folder / "tokenizer.json")
                if tokenizer.intents != tuple(classes):
                    raise CheckpointError(f"classes in {path} are not the intents of tokenizer.json: copy both again")
                if not isinstance(encoder, Encoder):
                    raise CheckpointError(f"{path} has several views for a decoder, expected one: copy it again")
                model = SLUSeq2Seq(encoder, tokenizer, **settings)
        return model, _slu_state(model, described)

    return load_model(folder, path.name, build)


def _slu_state(model: SLUClassifier | SLUSeq2Seq, encoder: Description) -> dict[str, Tensor]:
    return stored_state(model, described_encoders(encoder), _TRAINING if isinstance(model, SLUClassifier) else ())


def _settings_of(model: SLUClassifier | SLUSeq2Seq) -> dict[str, object]:
    """Return the constructor arguments other than the encoder and the tokenizer."""
    if isinstance(model, SLUClassifier):
        return model.settings
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


def _text(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
