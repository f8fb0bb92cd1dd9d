"""Checks of each task's config against data and weights, for `mmcl validate`; a task names its own as ``check``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmcl.config.checks import Checks
from mmcl.sections.checks import check_data, check_encoder, check_stream, open_split
from mmcl.sections.closed_form import check_frozen_encoder, trains_encoder
from mmcl.sections.scenarios import stream_settings


def slu_incremental(config: Any, checks: Checks) -> None:
    """Check a config of the task ``slu_incremental``."""
    check_encoder(checks, "encoder", config.encoder, "audio")
    is_trained = trains_encoder(config.encoder)
    checks.attempt("encoder", lambda: check_frozen_encoder(config.strategy, is_trained=is_trained))
    if config.model == "classifier":
        check_encoder(checks, "classifier.text", config.classifier.text, "text")
    data = check_data(checks, config.data, "audio")
    if data is not None:
        check_stream(checks, data, config.seeds, **stream_settings(config, ""))


def class_incremental(config: Any, checks: Checks) -> None:
    """Check a config of the task ``class_incremental``."""
    checks.attempt("strategy", lambda: config.check_frozen(is_trained=config.trains_encoder()))
    check_encoder(checks, "classifier.text", config.classifier.text, "text")
    data = config.check(checks)
    if data is not None:
        check_stream(checks, data, config.seeds, **stream_settings(config, ""))


def text_incremental(config: Any, checks: Checks) -> None:
    """Check a config of the task ``text_incremental``."""
    from mmcl.data import LabelledExercises

    needing = [each for each in config.rationales if each != "none"]
    opened = config.data.check(checks, (config.data.train, config.data.test), needing, "rationales=none")
    config.student.check(checks)
    if opened is not None:
        data = checks.attempt("data", lambda: (LabelledExercises(opened[0]), LabelledExercises(opened[1])))
        if data is not None:
            stream = {"by_superclass": config.by_superclass}
            check_stream(checks, data, config.seeds, config.experiences, **stream)


def rationale_distillation(config: Any, checks: Checks) -> None:
    """Check a config of the task ``rationale_distillation``."""
    needing = [each for each in config.method if each != "finetune"]
    config.data.check(checks, ("train", "valid", config.data.test), needing, "method=finetune")
    config.student.check(checks)


def contrastive_pretraining(config: Any, checks: Checks) -> None:
    """Check a config of the task ``contrastive_pretraining``."""
    from mmcl.sections.tower_checks import check_pretraining

    check_pretraining(checks, config)


def representation_learning(config: Any, checks: Checks) -> None:
    """Check a config of the task ``representation_learning``."""
    from mmcl.data.tabular_view import TabularView
    from mmcl.sections.checks import check_objectives, check_sizes

    modality = config.encoder.modality
    data = check_data(checks, config.data, None if modality == "tabular" else modality)
    checks.attempt("augment", config.augmentations)
    if data is not None:
        if modality == "tabular":
            checks.attempt("data.name", lambda: TabularView(data[0]))
        config = config.following(data[0])
        given = {"episodes": config.data.episodes is not None, "momentum": config.momentum}
        check_objectives(checks, "objective", config.objective, data[0], **given)
        check_sizes(checks, config, data[0])
        checks.attempt("data.held_out", lambda: config.data.check_held_out(data[0].classes))
        if config.data.episodes is not None:
            checks.attempt("data.episodes", lambda: config.data.pairs(config.data.select(data[0], config.seeds[0])))
    if modality != "tabular" or "features" in config.encoder.options:  # the number of features is that of the data
        check_encoder(checks, "encoder", config.encoder, modality)


def text_embedding(config: Any, checks: Checks) -> None:
    """Check a config of the task ``text_embedding``."""
    from mmcl.sections.checks import check_objectives, takes_hard_negatives

    check_encoder(checks, "encoder", config.encoder, "text")
    for number, each in enumerate(config.evaluations):
        each.check(checks, f"evaluations[{number}]")
    if config.data.check(checks, "data") is not None:
        pairs = checks.attempt("least_score", config.scored)
        if pairs is not None:
            check_objectives(checks, "objective", config.objective, pairs, momentum=config.momentum)
            checks.attempt("augment", config.augmentations)
            if config.augment is None:
                checks.attempt("views", lambda: pairs.with_views(config.views))
        for name in config.objective:
            if config.augment is None and config.views > 2 and not takes_hard_negatives(name):
                checks.add("views", f"{name} takes no hard negatives: set views=2, or choose an objective such as mw")


def speech_to_intent(config: Any, checks: Checks, candidates: Callable[[Any, Any], object]) -> None:
    """Check a config of the task ``speech_to_intent``; ``candidates`` finds those of an evaluation in its data."""
    from mmcl.sections.tower_checks import check_pretraining, check_sides
    from mmcl.sections.towers import model_folders

    folder = config.model
    if folder is None:
        check_pretraining(checks, config)
    else:
        checks.attempt("model", lambda: model_folders(folder))
    for number, each in enumerate(config.evaluations):
        key = f"evaluations[{number}]"
        data = open_split(checks, key, each.name, each.split, each.root, each.options)
        if data is not None:
            checks.attempt(key, lambda each=each, data=data: candidates(each, data))  # type: ignore[misc]
            if folder is None and config.second is not None:
                check_sides(checks, key, data, config)


def multimodal_classification(config: Any, checks: Checks) -> None:
    """Check a config of the task ``multimodal_classification``."""
    folds = {"fold": 0, "folds": config.folds, "seed": 0} if config.folds else {}
    selecting = config.data.train if folds else [config.valid]  # splits that select the epoch
    config.data.check(checks, [config.data.test])
    config.data.check(checks, selecting, **folds)
    train = config.data.check(checks, config.data.train)
    if train is not None:
        config.check(checks, train)


def unlearning(config: Any, checks: Checks) -> None:
    """Check a config of the task ``unlearning``."""
    from mmcl.unlearning.methods import check_settings

    for name, given in config.settings.items():
        for setting, value in given.items():
            checks.attempt(f"settings.{name}", lambda name=name, each={setting: value}: check_settings(name, each))  # type: ignore[misc]
    if config.model == "encoder":
        check_encoder(checks, "encoder", config.encoder, "audio")
    data = check_data(checks, config.data, *config.needed_modality())
    if data is None:
        return
    for seed in config.seeds:
        if not checks.passes("removal", lambda seed=seed: config.removal.choose(*data, seed)):  # type: ignore[misc]
            break
    if config.stream is not None:
        check_stream(checks, data, config.seeds, config.stream.experiences)
