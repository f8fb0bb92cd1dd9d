"""Addition: base of weights that are trained in a frozen pretrained encoder, such as adapters or prompts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeVar

from mmcl.encoders.base import Encoder
from mmcl.errors import ConfigError
from mmcl.text.suggest import nearest

AdditionT = TypeVar("AdditionT", bound="Addition")


@dataclass(frozen=True)
class Addition(ABC):
    """Base of the settings of weights that are trained in a frozen pretrained encoder.

    A subclass is a dataclass with a field for each setting.

    Attributes:
        key: argument of :func:`~mmcl.encoders.build_encoder` that takes the settings.
    """

    key: ClassVar[str]

    @classmethod
    def of(cls: type[AdditionT], settings: AdditionT | Mapping[str, Any]) -> AdditionT:
        """Return the settings of a mapping, such as ``{"rank": 4}``.

        Raises:
            ConfigError: a name is unknown.
        """
        if isinstance(settings, cls):
            return settings
        known, given = [each.name for each in fields(cls)], dict(settings)  # type: ignore[arg-type]
        for name in given:
            if name not in known:
                raise ConfigError(
                    f"unknown setting '{name}' of {cls.key}{nearest(name, known)}, expected {', '.join(known)}"
                )
        return cls(**given)

    @property
    def spec(self) -> dict[str, Any]:
        """The settings as plain data."""
        return {name: list(each) if isinstance(each, tuple) else each for name, each in asdict(self).items()}

    def check(self) -> None:
        """Raise ConfigError if a library is missing; by default, none is needed."""
        return

    @abstractmethod
    def added_to(self, encoder: Encoder, name: str) -> Encoder:
        """Freeze an encoder, and return one with the added weights.

        Args:
            encoder: pretrained encoder, the layers of which are tuned from some layer on.
            name: name of the encoder, for errors.

        Raises:
            ConfigError: the encoder has no layers for the weights.
        """
