"""Publishing: a model of a run becomes a folder that can be put on a model hub as it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmcl import __version__
from mmcl.errors import CheckpointError, ConfigError, ExportError, RunError
from mmcl.files.atomic import folder_written_whole
from mmcl.files.digests import check_content
from mmcl.files.plain_files import check_plain
from mmcl.files.plain_json import read_json
from mmcl.reports.row_types import checked_rows
from mmcl.runs.run import Run
from mmcl.text.escape import encodable
from mmcl.text.suggest import nearest

if TYPE_CHECKING:
    from mmcl.publishing.onnx import Graph

_COPIED = (".json", ".safetensors", ".model", ".txt")  # of a model in the layout of transformers; never a pickle
_BY_MEMORY = "icarl-seed"
_SLU, _RATIONALES = "slu_incremental", "rationale_distillation"


class Exported(NamedTuple):
    """What was exported: the folder, the name of the model in its run, the names of all that the run has, the names of
    folders of this machine that ``config.json`` has, and the graph."""

    folder: Path
    model: str
    models: list[str]
    paths: list[str]
    graph: Graph | None


def export_run(
    run: str | Path, folder: str | Path, *, model: str | None = None, onnx: bool = False, license: str = "apache-2.0"
) -> Exported:
    """Write a model of a run into a folder: safetensors, ``config.json`` and ``README.md``, its card.

    The folder is there whole or not at all, and was loaded once by :func:`~mmcl.models.from_pretrained` before.

    Args:
        run: folder of a run.
        folder: a new folder, or an empty one.
        model: its name in the run, ``<strategy>-seed<seed>``; None is the first.
        onnx: write what it makes of speech as an ONNX graph as well, see :func:`~mmcl.publishing.onnx.export_onnx`.
        license: of the weights, as the hub abbreviates it.

    Raises:
        RunError: ``run`` is no run.
        CheckpointError: it has no model, or one that cannot be read.
        ConfigError: it has no model of that name, or ``onnx`` is of another kind of model or lacks a package.
        ExportError: the folder is not empty or cannot be written, or the graph cannot be made or is not the model.
        MissingDataError: a pretrained encoder is not on this machine, or there are no recordings to check a graph on.
    """
    opened, folder = Run.read(run), Path(folder).expanduser()
    check_plain(opened.folder, shared=False)  # what is copied could be anything, and is to be published
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ExportError(f"{folder} is not an empty folder: choose another, or remove it first")
    if onnx:
        from mmcl.publishing.onnx import check_onnx

        check_onnx()
    models = run_models(opened)
    if model is not None and model not in models:
        if opened.task == _SLU and model.startswith(_BY_MEMORY):
            raise ConfigError(
                f"'{model}' cannot be exported: icarl names classes by the samples in its memory, which are not in the "
                f"run; expected one of {', '.join(models)}"
            )
        raise ConfigError(f"{run} has no model '{model}'{nearest(model, models)}: expected {', '.join(models)}")
    name = model or next(iter(models))
    try:
        with folder_written_whole(folder) as temporary:
            models[name](temporary)
            graph = _completed(opened, name, temporary, folder.absolute().name, onnx, license)
    except OSError as error:
        raise ExportError(f"cannot write {folder} ({error.strerror or error}): choose another place") from None
    graph = graph._replace(path=folder / graph.path.name) if graph else None
    return Exported(folder, name, list(models), _paths_in(folder / "config.json"), graph)


def run_models(run: Run) -> dict[str, Callable[[Path], None]]:
    """Return what writes each model of a run into a folder, by the name of the model.

    Raises:
        CheckpointError: there is none.
    """
    found: dict[str, Callable[[Path], None]] = {}
    for path in sorted(run.folder.glob("models/*/model.json")):
        found[path.parent.name] = partial(_two_towers, path.parent)
    if run.task == _RATIONALES:
        for path in sorted(run.folder.glob("models/*/config.json")):
            longest = _longest(run)
            found[path.parent.name] = partial(_in_the_layout_of_transformers, path.parent, longest)
    if run.task == _SLU:
        found |= {name: partial(_slu, run, name) for name in _finished(run)}
    if not found:
        raise CheckpointError(
            f"{run.folder}, a run of {run.task}, has no model that can be exported: expected a run of "
            f"contrastive_pretraining, speech_to_intent, {_SLU} or {_RATIONALES} that has finished one"
        )
    return found


def _longest(run: Run) -> int:
    """How many tokens the student of a run reads."""
    student = run.config.get("student")
    longest = student.get("longest") if isinstance(student, dict) else None
    if type(longest) is not int:
        raise RunError(f"config.yaml of {run.folder} has no student.longest: put the file back from a copy")
    return longest


def _completed(run: Run, model: str, folder: Path, name: str, onnx: bool, license: str) -> Graph | None:
    """Load what is in a folder, as whoever is handed it will, and add the graph and the card."""
    from mmcl.models import from_pretrained
    from mmcl.models.saved import seal
    from mmcl.publishing.card import model_card

    try:
        loaded, graph = from_pretrained(folder), None
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(str(folder), f"{model} of {run.folder}")) from None
    if onnx:
        from mmcl.publishing.onnx import export_onnx, longest_heard, real_recordings

        graph = export_onnx(loaded, folder, real_recordings(run.config, max_seconds=longest_heard(loaded)))
    seal(folder)
    card = model_card(run, model, folder, name, license, graph)
    (folder / "README.md").write_text(encodable(card), encoding="utf-8")
    return graph


def _two_towers(source: Path, folder: Path) -> None:
    from mmcl.models.pretrained import TWO_TOWER

    _write_config(folder, {"model_type": TWO_TOWER, **_read(source / "model.json")})
    if not (source / "model.safetensors").is_file():
        raise CheckpointError(
            f"{source} has no model.safetensors: put the file of this run back, or choose another model"
        )
    shutil.copyfile(source / "model.safetensors", folder / "model.safetensors")


def _in_the_layout_of_transformers(source: Path, longest: int, folder: Path) -> None:
    for path in sorted(source.iterdir()):
        if path.suffix in _COPIED and path.is_file():
            shutil.copyfile(path, folder / path.name)
    content = _read(source / "config.json")
    check_content(content, source / "config.json")
    _write_config(folder, {**content, "mmcl_longest": longest})


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(path, error=CheckpointError)
    return content


def _write_config(folder: Path, content: dict[str, Any]) -> None:
    for part in (content, content.get("first"), content.get("second")):
        if isinstance(part, dict) and isinstance(part.get("encoder"), dict):
            part["encoder"].pop("download", None)  # for whoever loads it to say
    text = json.dumps({**content, "mmcl_version": __version__}, indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def _finished(run: Run) -> list[str]:
    """Names of the models that a class-incremental run has finished, and whose head names classes."""
    from mmcl.runs.checkpoint import peek_checkpoint

    names = sorted(path.stem for path in run.folder.glob("checkpoints/*.safetensors"))
    states: dict[str, dict[str, Any]] = {}
    for name in names:
        path = run.folder / "checkpoints" / f"{name}.safetensors"
        content = peek_checkpoint(path)
        state = content.get("state") if isinstance(content, dict) else None
        if not isinstance(state, dict):
            raise CheckpointError(f"{path} holds no state of training: put the file of this run back")
        states[name] = state
    return [name for name, state in states.items() if state.get("finished") and not name.startswith(_BY_MEMORY)]


def _slu(run: Run, name: str, folder: Path) -> None:
    """Write a class-incremental model, which a run keeps as the last checkpoint of its strategy and seed."""
    from mmcl.config.model import load_config
    from mmcl.config.tasks import load_task
    from mmcl.files.loading import load_state
    from mmcl.models import FrameTokenizer
    from mmcl.models.saved import save_slu

    _ = run.config  # is what the model was trained with, or says how it was changed
    config: Any = load_config(load_task(run.task).Config, run.folder / "config.yaml")
    encoder = config.encoder.build()
    if encoder.frozen and config.encoder.build().fingerprint() != encoder.fingerprint():
        raise CheckpointError(
            f"the encoder '{config.encoder.name}' of {run.folder} is frozen and random, and its weights are not in the "
            "run: expected one that is trained, or a pretrained one"
        )
    if config.model == "seq2seq":
        model = config.seq2seq.build(encoder, FrameTokenizer.load(run.folder / "tokenizer.json"))
    else:
        model = config.classifier.build(encoder)
    what = f"checkpoint {name} of {run.folder}"
    try:
        restored = run.restore(name)
        load_state(model, restored.get("model") if isinstance(restored, dict) else None, "it")
    except CheckpointError as error:
        raise CheckpointError(f"{what} is of another model ({error}): expected what config.yaml says") from None
    save_slu(model, folder, _class_names(run, name))
    _write_config(folder, _read(folder / "config.json"))


def _class_names(run: Run, name: str) -> list[str]:
    """Names of the classes by label."""
    for row in checked_rows(run, "stream"):
        names = [each for group in row["experiences"] for each in group]
        labels = row.get("class_order", [])
        if f"{row.get('strategy')}-seed{row.get('seed')}" == name and len(names) == len(labels):
            return [each for _, each in sorted(zip(labels, names, strict=True))]
    raise CheckpointError(f"metrics.jsonl of {run.folder} does not say which classes {name} learnt: put the file back")


def _paths_in(config: Path) -> list[str]:
    """Names of encoders that are folders of this machine."""
    content = _read(config)
    sides = (content, content.get("first"), content.get("second"))
    encoders = [side.get("encoder") for side in sides if isinstance(side, dict)]
    values = [str(value) for each in encoders if each for value in each.values()]
    return [value for value in values if "/" in value and Path(value).expanduser().exists()]
