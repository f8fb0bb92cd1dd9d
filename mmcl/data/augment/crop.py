"""The range of crops, which all augmentations check alike."""

from __future__ import annotations

from mmcl.errors import ConfigError


def check_crop(smallest: float, largest: float) -> None:
    """Check the smallest and the largest share that a crop keeps.

    Raises:
        ConfigError: they are not ``0 < smallest <= largest <= 1``.

    >>> check_crop(0.5, 1.0)
    """
    if not 0 < smallest <= largest <= 1:
        raise ConfigError(f"smallest is {smallest} and largest {largest}, expected 0 < smallest <= largest <= 1")
