"""Export a model of a run as a folder for a model hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmcl import __version__
from mmcl.errors import CheckpointError, ConfigError, ExportError, RunError
from mmcl.files.atomic import folder_written_whole
from mmcl.files.digests import check_content
from mmcl.files.plain_files import check_plain
from mmcl.files.plain_json import read_json
from mmcl.models.saved import CLASSIFIER
from mmcl.models.saved_classifiers import IMAGES, TEXTS
from mmcl.predict.checkpoints import (
    KeepsCheckpoints,
    class_names,
    finished_models,
    load_checkpoint_model,
    strategy_of,
    task_config,
)
from mmcl.runs.run import Run
from mmcl.text.escape import encodable
from mmcl.text.suggest import nearest

if TYPE_CHECKING:
    from mmcl.publishing.onnx import Graph

_COPIED = (".json", ".safetensors", ".model", ".txt")  # of a model in the layout of transformers; never a pickle


class Exported(NamedTuple):
    """The result of an export.

    ``model`` is the exported one of ``models``, all models of the run. ``paths`` are local folders that
    ``config.json`` names.
    """

    folder: Path
    model: str
    models: list[str]
    paths: list[str]
    graph: Graph | None


def export_run(
    run: str | Path, folder: str | Path, *, model: str | None = None, onnx: bool = False, license: str = "apache-2.0"
) -> Exported:
    """Export a model of a run: ``config.json``, weights as safetensors, and a model card, ``README.md``.

    The folder is written atomically, after :func:`~mmcl.models.from_pretrained` has loaded it once.

    Args:
        run: Folder of the run.
        folder: A new or empty folder.
        model: Name of the model in the run, ``<strategy>-seed<seed>``; None for the first.
        onnx: Also write an ONNX graph, see :func:`~mmcl.publishing.onnx.export_onnx`.
        license: License of the weights as the hub abbreviates it.

    Raises:
        RunError: ``run`` is not a run.
        CheckpointError: The run has no model, or it cannot be read.
        ConfigError: The run has no model of this name, or ``onnx`` does not support the model or lacks a package.
        ExportError: The folder is not empty or cannot be written, or the graph cannot be made or is wrong.
        MissingDataError: A pretrained encoder, or recordings to check the graph, are not on this machine.
    """
    opened, folder = Run.read(run), Path(folder).expanduser()
    check_plain(opened.folder, shared=False)  # links could publish any other file
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ExportError(f"{folder} is not an empty folder: choose another, or remove it first")
    if onnx:
        from mmcl.publishing.onnx import check_onnx

        check_onnx()
    models = run_models(opened)
    name = _chosen(opened, model, models)
    try:
        with folder_written_whole(folder) as temporary:
            models[name](temporary)
            graph = _complete(opened, name, temporary, folder.absolute().name, onnx, license)
    except OSError as error:
        raise ExportError(f"cannot write {folder} ({error.strerror or error}): choose another path") from None
    graph = graph._replace(path=folder / graph.path.name) if graph else None
    return Exported(folder, name, list(models), _local_paths(folder / "config.json"), graph)


def run_models(run: Run) -> dict[str, Callable[[Path], None]]:
    """Return a function for each model of a run that writes it into a folder, by the name of the model.

    Raises:
        CheckpointError: The run has no model.
    """
    found: dict[str, Callable[[Path], None]] = {}
    for source in sorted(run.folder.glob("models/*")):
        if (source / "model.json").is_file():
            found[source.name] = partial(_write_two_tower, source)
        elif (source / "config.json").is_file():
            if _read(source / "config.json").get("model_type") in (CLASSIFIER, TEXTS, IMAGES):
                found[source.name] = partial(_write_classifier, source)
            else:
                found[source.name] = partial(_write_transformers, source, _student_length(run))
    if not found and (finished := finished_models(run)):
        config = task_config(run)
        if isinstance(config, KeepsCheckpoints):
            names = [name for name in finished if strategy_of(name) not in config.not_exported]
            found = {name: partial(_write_checkpoint, run, config, name) for name in names}
    if not found:
        raise CheckpointError(
            f"{run.folder}, a run of {run.task}, has no finished model that can be exported: resume the run if it is "
            "not finished, or choose another one"
        )
    return found


def _chosen(run: Run, model: str | None, models: Mapping[str, object]) -> str:
    """Return the name of the model to export, or raise ConfigError if the run has no such model."""
    if model is None or model in models:
        return model or next(iter(models))
    expected = f"expected {', '.join(models)}"
    if model in finished_models(run):
        reason = getattr(task_config(run), "not_exported", {}).get(strategy_of(model))
        if reason is not None:
            raise ConfigError(f"'{model}' cannot be exported: {reason}; {expected}")
    raise ConfigError(f"{run.folder} has no model '{model}'{nearest(model, models)}: {expected}")


def _student_length(run: Run) -> int:
    """Return the number of tokens that a student reads at most."""
    student = run.config.get("student")
    longest = student.get("longest") if isinstance(student, dict) else None
    if type(longest) is not int:
        raise RunError(f"config.yaml of {run.folder} has no student.longest: restore the file from a copy")
    return longest


def _complete(run: Run, model: str, folder: Path, name: str, onnx: bool, license: str) -> Graph | None:
    """Load an exported model to check it, then add the ONNX graph, digests and the card."""
    from mmcl.models import from_pretrained
    from mmcl.models.saved import seal
    from mmcl.publishing.card import model_card

    try:
        loaded, graph = from_pretrained(folder), None
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(str(folder), f"{model} of {run.folder}")) from None
    if onnx:
        from mmcl.publishing.onnx import check_listens, export_onnx, max_audio_seconds, real_recordings

        check_listens(loaded)
        graph = export_onnx(loaded, folder, real_recordings(run.config, max_seconds=max_audio_seconds(loaded)))
    seal(folder)
    card = model_card(run, model, folder, name, license, graph)
    (folder / "README.md").write_text(encodable(card), encoding="utf-8")
    return graph


def _write_two_tower(source: Path, folder: Path) -> None:
    from mmcl.models.pretrained import TWO_TOWER

    _write_config(folder, {"model_type": TWO_TOWER, **_read(source / "model.json")})
    if not (source / "model.safetensors").is_file():
        raise CheckpointError(f"{source} has no model.safetensors: restore the file, or choose another model")
    shutil.copyfile(source / "model.safetensors", folder / "model.safetensors")


def _write_transformers(source: Path, longest: int, folder: Path) -> None:
    for path in sorted(source.iterdir()):
        if path.suffix in _COPIED and path.is_file():
            shutil.copyfile(path, folder / path.name)
    content = _read(source / "config.json")
    check_content(content, source / "config.json")
    _write_config(folder, {**content, "mmcl_longest": longest})


def _write_classifier(source: Path, folder: Path) -> None:
    shutil.copytree(source, folder, dirs_exist_ok=True)
    _write_config(folder, _read(folder / "config.json"))


def _write_checkpoint(run: Run, config: KeepsCheckpoints, name: str, folder: Path) -> None:
    """Write the model in the last checkpoint of a strategy and seed, with its calibration."""
    from mmcl.models.saved import save_slu
    from mmcl.models.saved_calibration import CALIBRATION_FILE

    model = load_checkpoint_model(run, config, name)
    save_slu(model, folder, class_names(run, name))
    _write_config(folder, _read(folder / "config.json"))
    if (calibration := run.folder / "models" / name / CALIBRATION_FILE).is_file():
        shutil.copyfile(calibration, folder / CALIBRATION_FILE)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(path, error=CheckpointError)
    return content


def _write_config(folder: Path, content: dict[str, Any]) -> None:
    for part in _encoded(content):
        if isinstance(part.get("encoder"), dict):
            part["encoder"].pop("download", None)  # whoever loads the model decides
    text = json.dumps({**content, "mmcl_version": __version__}, indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def _encoded(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a description that have an encoder: a model, each of its towers, or each of its views."""
    parts = (content, content.get("first"), content.get("second"), *(content.get("views") or {}).values())
    return [part for part in parts if isinstance(part, dict)]


def _local_paths(config: Path) -> list[str]:
    """Return the options of encoders that are paths on this machine."""
    encoders = [part.get("encoder") for part in _encoded(_read(config))]
    values = [str(value) for each in encoders if each for value in each.values()]
    return [value for value in values if "/" in value and Path(value).expanduser().exists()]
