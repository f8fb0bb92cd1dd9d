"""Checks of sections against data, weights and other sections, for the function ``check`` of a task.

Only indexes of data are read (labels, texts, names of files), and no weights of pretrained models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmcl.config.checks import Checks
from mmcl.errors import MissingDataError
from mmcl.sections.objectives import name_and_temperature, objectives

if TYPE_CHECKING:
    from mmcl.data.base import Dataset
    from mmcl.objectives.objective import Objective
    from mmcl.sections.contrastive import ContrastiveSection
    from mmcl.sections.encoders import AudioSection, EncoderSection, TextSection
    from mmcl.sections.slu import DataSection


def open_split(
    checks: Checks, key: str, name: str, split: str, root: str | None, options: Mapping[str, Any]
) -> Dataset | None:
    """Open a split of a data set.

    A data set that mmcl generates is not generated; if it is missing, its generator is checked instead.

    Args:
        checks: collects the faults.
        key: key of the section, such as ``data``.
        name, split, root, options: as in :func:`mmcl.data.open_dataset`.

    Returns:
        The split; None if it is faulty, or not generated yet.
    """
    from mmcl.data import catalog

    if name != "table" and not checks.passes(f"{key}.name", lambda: catalog.find(name)):
        return None
    given: list[dict[str, Any]] = [{option: value} for option, value in options.items()]
    known = [
        checks.passes(f"{key}.options", lambda one=one: catalog.check_dataset_options(name, one))  # type: ignore[misc]
        for one in given
    ]
    if not all(known):
        return None
    if catalog.is_generated(name):
        return checks.attempt(key, lambda: _generated(name, split, root, options))
    return checks.attempt(key, lambda: catalog.open_dataset(name, split, root, **options))


def _generated(name: str, split: str, root: str | None, options: Mapping[str, Any]) -> Any | None:
    from mmcl.data import catalog
    from mmcl.data.synthesis.espeak import espeak_version

    entry = catalog.find(name)
    try:
        return catalog.open_dataset(name, split, root, **{**options, "make": False})
    except MissingDataError as error:
        if entry.source.offer() not in str(error):  # something that its generator needs
            raise
    espeak_version()
    return None


def check_data(
    checks: Checks, section: DataSection, modality: str | None = None, otherwise: str = "", key: str = "data"
) -> tuple[Dataset, Dataset] | None:
    """Check the splits of a data section, and that samples have a modality.

    Returns:
        The training data and the test data; None if a split is faulty or not generated yet.
    """
    from mmcl.data.modalities import check_modality

    splits = [open_split(checks, key, section.name, each, section.root, section.options) for each in section.train]
    test = open_split(checks, key, section.name, section.test, section.root, section.options)
    opened = [each for each in splits if each is not None]
    if test is None or len(opened) < len(splits):
        return None
    train = checks.attempt(f"{key}.train", lambda: section.join(opened))
    if train is None:
        return None
    setting = f"{key}.name={section.name}"
    if modality and not checks.passes(f"{key}.name", lambda: check_modality(train, modality, setting, otherwise)):
        return None
    return train, test


def check_encoder(
    checks: Checks, key: str, section: EncoderSection | AudioSection | TextSection, modality: str, **options: Any
) -> None:
    """Check an encoder's name and options, and that its weights are on this machine.

    Args:
        checks: collects the faults.
        key: key of the section.
        section: the encoder.
        modality: its modality.
        **options: options from the data; those of the config take precedence.
    """
    from mmcl.encoders.build import check_encoder as check

    common = {name: getattr(section, name, None) for name in ("frozen", "tune_from", "pooling")}
    common |= section.added_weights()
    checks.attempt(key, lambda: check(modality, section.name, **{**common, **options, **section.options}))


def check_stream(
    checks: Checks, data: tuple[Any, Any], seeds: Sequence[int], experiences: int, **settings: Any
) -> None:
    """Check that the classes of a data set can arrive in experiences, for every seed."""
    from mmcl.data.scenarios import plan_stream

    for seed in seeds:
        if not checks.passes("experiences", lambda seed=seed: plan_stream(*data, experiences, seed=seed, **settings)):  # type: ignore[misc]
            return


def check_objectives(
    checks: Checks,
    key: str,
    names: Sequence[str],
    data: Any,
    *,
    episodes: bool = False,
    momentum: float | None = None,
) -> None:
    """Check that the inputs of objectives are there: labels of two classes, bags, episodes, a momentum encoder."""
    from mmcl.data.attributes import attributes_of

    for name in names:
        takes = objective_inputs(name)
        if "labels" in takes and len(data.classes) < 2:
            checks.add(key, f"{name} needs labels, but the data has none: choose another objective, such as clip")
        for needed in ("bags", "targets"):
            if needed in takes and getattr(attributes_of(data), needed) is None:
                checks.add(key, f"{name} needs {needed}, but the data has none: choose another objective, such as clip")
        if "is_support" in takes and not episodes:
            checks.add(key, f"{name} needs episodes: set data.episodes of representation_learning, such as {{ways: 5}}")
        if "teacher" in takes and momentum is None:
            checks.add(key, f"{name} needs a momentum encoder: set momentum, such as momentum=0.99")
        if "is_target" in takes and attributes_of(data).is_target is None:
            checks.add(
                key,
                f"{name} needs is_target, which the data lacks: use digits_on_pictures, digits_over_speech or similar",
            )


def check_sizes(checks: Checks, config: ContrastiveSection, data: Any) -> None:
    """Check that the state of objectives has room for a batch, for all samples, and for all classes."""
    from mmcl.sections.objectives import name_and_temperature

    names = {name_and_temperature(term)[0] for name in config.objective for term in name.split("+")}
    settings: Any = config.objectives  # whose fields are made of the objectives' signatures
    batch = min(config.batch_size, len(data))
    for name in sorted(names & {"cacr", "mochi"}):
        queue = getattr(settings, name).queue
        if 0 < queue < batch:
            checks.add(f"objectives.{name}.queue", f"{queue} is fewer than the {batch} rows of a batch: raise it")
    if "isogclr" in names and settings.isogclr.samples < len(data):
        found = f"{settings.isogclr.samples} is fewer than the {len(data)} samples of the data: raise it"
        checks.add("objectives.isogclr.samples", found)
    if "simlap" in names and settings.simlap.classes < len(data.classes):
        found = f"{settings.simlap.classes} is fewer than the {len(data.classes)} classes of the data: raise it"
        checks.add("objectives.simlap.classes", found)


@cache
def takes_hard_negatives(name: str) -> bool:
    """Return whether an objective, or each of a sum, can use hard negatives, see ``Objective.optional``.

    >>> takes_hard_negatives("mw"), takes_hard_negatives("clip")
    (True, False)
    """
    return all("hard_negatives" in each.optional for each in _classes(name))


def _classes(name: str) -> list[type[Objective]]:
    """Return the classes of the objectives that ``name`` joins by ``+``."""
    stated = [objectives()[name_and_temperature(term)[0]].partition(":") for term in name.split("+")]
    return [getattr(import_module(module), kind) for module, _, kind in stated]


@cache
def objective_inputs(name: str) -> tuple[str, ...]:
    """Return the inputs of an objective or a sum of objectives, see ``Objective.takes``.

    >>> objective_inputs("sup_con")
    ('features', 'labels')
    """
    return tuple(dict.fromkeys(each for kind in _classes(name) for each in kind.takes))
