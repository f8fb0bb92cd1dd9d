"""Find the models in the folder of a run or of an exported model, and open them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcl.errors import CheckpointError, ConfigError
from mmcl.files.plain_files import check_plain
from mmcl.files.plain_json import read_json
from mmcl.text.suggest import nearest

if TYPE_CHECKING:
    from mmcl.models.two_tower import TwoTower
    from mmcl.predict.recognizer import Recognizer
    from mmcl.runs.run import Run


@dataclass(frozen=True)
class StoredModel:
    """A model on disk.

    Attributes:
        name: its name in the run, such as ``replay-seed0``; the name of the folder if it was exported.
        folder: folder with its ``calibration.json``, and with its weights if they are not in a checkpoint.
        is_towers: whether it has two towers.
        modality: ``"audio"``, ``"image"`` or ``"text"`` for a classifier or a sequence model of one, else empty.
        load: loads it, and returns the model with its class names (none for two towers).
    """

    name: str
    folder: Path
    is_towers: bool
    modality: str
    load: Callable[[], tuple[Any, tuple[str, ...]]]

    def towers(self) -> TwoTower:
        """Load a model of two towers."""
        return self.load()[0]

    def recognizer(self, threshold: float | None = None) -> Recognizer:
        """Load a classifier or a sequence model, with its calibration.

        Args:
            threshold: confidence below which an answer is rejected; None for the one chosen on validation data.

        Raises:
            ConfigError: it is another kind of model, or the threshold is out of range.
            CheckpointError: a file is missing or damaged.
        """
        from mmcl.models.saved_calibration import read_calibration
        from mmcl.predict.recognizer import Recognizer, RecognizingModel

        model, classes = self.load()
        if not isinstance(model, RecognizingModel):
            raise ConfigError(
                f"'{self.name}' is a {type(model).__name__}, expected a classifier or a sequence model: load it with "
                "mmcl.models.from_pretrained"
            )
        return Recognizer(model, classes, read_calibration(self.folder), threshold=threshold)


def open_recognizer(folder: str | Path, model: str | None = None, *, threshold: float | None = None) -> Recognizer:
    """Open a classifier or a sequence model of a run, or an exported one.

    Args:
        folder: folder of the run or of the exported model.
        model: name of the model in the run, ``<strategy>-seed<seed>``; None for the first.
        threshold: confidence below which the answer is "none of these"; None for the one chosen on validation data.

    Raises:
        CheckpointError: there is no model, or it cannot be read.
        ConfigError: there is no model of this name, or it has two towers.
        RunError: the run is damaged.
        MissingDataError: a pretrained encoder is not on this machine.

    Example::

        recognizer = open_recognizer("runs/slu_incremental/demo")
        answer = recognizer.recognize_file("order.wav")
        print(answer.label, answer.confidence)
    """
    stored = choose_model(folder, model)
    if stored.is_towers:
        raise ConfigError(f"'{stored.name}' has two towers: use mmcl.predict.predict with the possible intents")
    return stored.recognizer(threshold)


def choose_model(folder: str | Path, name: str | None) -> StoredModel:
    """Return a model of a folder by its name; None for the first.

    Raises:
        ConfigError: there is no model of this name; or, if it cannot be used without its run, the reason.
        CheckpointError: there is no model.
    """
    models = stored_models(folder)
    if name is None:
        return next(iter(models.values()))
    if name not in models:
        expected = f"expected {', '.join(models)}"
        if (reason := _unusable(Path(folder).expanduser(), name)) is not None:
            raise ConfigError(f"'{name}' cannot be used: {reason}; {expected}")
        raise ConfigError(f"{folder} has no model '{name}'{nearest(name, models)}: {expected}")
    return models[name]


def stored_models(folder: str | Path) -> dict[str, StoredModel]:
    """Return the finished models of a run by name, or the model of an exported folder.

    Raises:
        CheckpointError: there is no model.
        RunError: the folder is a damaged run, or holds links, pipes or devices.
    """
    folder = Path(folder).expanduser()
    is_run = (folder / "config.yaml").exists()
    if is_run:  # folders from a hub are not checked, they may link to a cache
        check_plain(folder)
    if (stored := _folder_model(folder)) is not None:
        return {stored.name: stored}
    places = (_folder_model(path) for path in sorted(folder.glob("models/*")))
    found = {stored.name: stored for stored in places if stored is not None}
    if not found and is_run:
        found = _checkpoints(folder)
    if not found:
        raise CheckpointError(
            f"{folder} has no finished model: expected a run with one, such as that of slu_incremental or "
            "speech_to_intent, or a folder written by mmcl export"
        )
    return found


def _folder_model(folder: Path) -> StoredModel | None:
    """Return the model in a folder that mmcl saved; None if there is none."""
    for file in ("model.json", "config.json"):
        if (folder / file).is_file():
            content: dict[str, Any] = read_json(folder / file, error=CheckpointError)
            is_towers = file == "model.json" or content.get("model_type") == "mmcl_two_tower"
            is_towers = is_towers or "mmcl_two_tower" in content
            modality = "" if is_towers else _modality(content)
            return StoredModel(folder.resolve().name, folder, is_towers, modality, partial(_load_folder, folder))
    return None


def _modality(content: dict[str, Any]) -> str:
    """Return the modality of a classifier or a sequence model from its description; empty for other models."""
    kind, encoder = str(content.get("model_type")), content.get("encoder")
    if kind.startswith("mmcl_slu_") and "views" not in content:
        return str(encoder.get("modality", "audio")) if isinstance(encoder, dict) else "audio"
    return {"mmcl_text_classifier": "text", "mmcl_image_classifier": "image"}.get(kind, "")


def _load_folder(folder: Path) -> tuple[Any, tuple[str, ...]]:
    from mmcl.models import SLUSeq2Seq, TwoTower, from_pretrained

    if (folder / "model.json").is_file() and not (folder / "config.json").is_file():
        return TwoTower.load(folder), ()
    model: Any = from_pretrained(folder)
    if isinstance(model, SLUSeq2Seq):
        return model, model.tokenizer.intents
    return model, getattr(model, "names", getattr(model, "classes", ()))


def _checkpoints(folder: Path) -> dict[str, StoredModel]:
    """Return the models in the checkpoints of a run."""
    from mmcl.predict.checkpoints import KeepsCheckpoints, finished_models, strategy_of, task_config
    from mmcl.runs.run import Run

    run = Run.read(folder)
    if not (finished := finished_models(run)):
        return {}
    config = task_config(run)
    if not isinstance(config, KeepsCheckpoints):
        return {}
    names = [name for name in finished if strategy_of(name) not in config.not_exported]
    return {
        name: StoredModel(name, folder / "models" / name, False, "audio", partial(_load_checkpoint, run, config, name))
        for name in names
    }


def _load_checkpoint(run: Run, config: Any, name: str) -> tuple[Any, tuple[str, ...]]:
    from mmcl.predict.checkpoints import class_names, load_checkpoint_model

    return load_checkpoint_model(run, config, name), tuple(class_names(run, name))


def _unusable(folder: Path, name: str) -> str | None:
    """Return why a finished model of a run cannot be used without the run; None if it can, or there is none."""
    from mmcl.predict.checkpoints import finished_models, strategy_of, task_config
    from mmcl.runs.run import Run

    if not (folder / "config.yaml").exists() or name not in finished_models(run := Run.read(folder)):
        return None
    reasons: dict[str, str] = getattr(task_config(run), "not_exported", {})
    return reasons.get(strategy_of(name))
