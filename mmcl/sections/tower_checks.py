"""Checks of contrastive pretraining: pairs, towers and objectives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmcl.config.checks import Checks
from mmcl.errors import ConfigError
from mmcl.sections.checks import check_encoder, check_objectives, check_sizes, open_split

if TYPE_CHECKING:
    from mmcl.data.base import Dataset
    from mmcl.sections.towers import PairsSection, PretrainingSection


def check_pretraining(checks: Checks, config: PretrainingSection) -> None:
    """Check towers, pairs and objectives against each other."""
    train = check_pairs(checks, config.pairs)
    if train is not None:
        check_sides(checks, "pairs.name", train, config)
        config = config.following(train)
        check_objectives(checks, "objective", config.objective, train, momentum=config.momentum)
        check_sizes(checks, config, train)
    check_encoder(checks, "first", config.first, config.first.modality)
    if config.second is not None:
        check_encoder(checks, "second", config.second, config.second.modality)


def check_pairs(checks: Checks, pairs: PairsSection) -> Dataset | None:
    """Check both splits, and return the training split; None if it is faulty or not generated yet."""
    if pairs.name == "captions":
        train = checks.attempt("pairs.options", lambda: pairs.build("train"))
        return train if checks.passes("pairs.options", lambda: pairs.build("valid")) else None
    own = {"labelled": False} if pairs.name == "table" else {}
    splits: Sequence[tuple[str, dict[str, Any]]] = [
        *((name, {**own, **pairs.options}) for name in pairs.train),
        (pairs.valid, {**own, **pairs.options, **pairs.valid_options}),
    ]
    found = [open_split(checks, "pairs", pairs.name, name, pairs.root, options) for name, options in splits]
    if any(each is None for each in found):
        return None
    return checks.attempt("pairs", lambda: pairs.build("train"))


def check_sides(checks: Checks, key: str, data: Any, config: PretrainingSection) -> None:
    """Check that samples have the modality of each tower, and that an image encoder takes the channels of the data."""
    from mmcl.data.modalities import image_shape

    for name, tower in (("first", config.first), ("second", config.second)):
        if tower is None or not checks.passes(key, lambda tower=tower: check_tower(data, tower.modality)):  # type: ignore[misc]
            continue
        shape = image_shape(data) if tower.modality == "image" else None
        given = tower.options.get("channels")
        if shape is not None and isinstance(given, int) and shape[0] not in (1, given):
            checks.add(f"{name}.options", f"channels is {given}, but images have {shape[0]} channels: leave it out")


def check_tower(dataset: Any, modality: str) -> None:
    """Check that samples have the modality of a tower.

    Raises:
        ConfigError: they do not.
    """
    from mmcl.data.modalities import modalities_of

    if modality != "text" and modality not in (found := modalities_of(dataset)):
        raise ConfigError(
            f"a tower is for {modality}, but the samples have {' and '.join(found) or 'neither audio nor images'}: set "
            "the towers' modality, or choose another data set with pairs.name"
        )
