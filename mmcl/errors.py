"""Every error that mmcl raises on purpose.

::

    MMCLError
    ├── ConfigError              a config that cannot be read or used; lists all faults at once
    ├── DataError                a data set that is not what it should be
    │   ├── MissingDataError     a folder or file that is not there; says what was looked for and how to get it
    │   └── AudioError           a file that is not readable audio; names the file
    ├── StreamError              a stream of experiences that cannot be made from this data
    ├── LabelError               a label outside the classes that the model or data set knows
    ├── ShapeError               tensors whose shapes do not fit together
    ├── InputError               numbers that a function has no answer for: not finite, out of range, no permutation
    ├── EndpointError            a service on the network that fails, or answers what cannot be used
    ├── TrainingError            training that cannot go on, such as a loss that is not finite
    ├── ExportError              a model that cannot be published, or not as it was asked for
    ├── ProcessError             another process of a run that is gone
    └── RunError                 a run folder that cannot be created, read or resumed
        └── CheckpointError      a checkpoint that is missing, damaged or of another model

A message is one line: the thing, its value, what was expected, the next step.
"""

from __future__ import annotations

from mmcl.text.escape import encodable


class MMCLError(Exception):
    """Base of all errors below: ``except MMCLError`` catches what mmcl raises on purpose.

    A message can be printed everywhere: of names of files that are not UTF-8, the bytes are shown escaped.

    >>> print(DataError("caf\\udce9.wav is empty"))
    caf\\udce9.wav is empty
    """

    def __str__(self) -> str:
        return encodable(super().__str__())


class ConfigError(MMCLError):
    """A config that cannot be read or used."""


class DataError(MMCLError):
    """A data set that is not what it should be."""


class MissingDataError(DataError):
    """A folder or file that is not there."""


class AudioError(DataError):
    """A file that is not readable audio."""


class StreamError(MMCLError):
    """A stream of experiences that cannot be made from this data."""


class LabelError(MMCLError):
    """A label outside the classes that the model or data set knows."""


class ShapeError(MMCLError):
    """Tensors whose shapes do not fit together."""


class InputError(MMCLError):
    """Numbers that a function has no answer for."""


class EndpointError(MMCLError):
    """A service on the network that fails, or answers what cannot be used."""


class TrainingError(MMCLError):
    """Training that cannot go on."""


class ExportError(MMCLError):
    """A model that cannot be published, or not as it was asked for."""


class ProcessError(MMCLError):
    """Another process of a run that is gone."""


class RunError(MMCLError):
    """A run folder that cannot be created, read or resumed."""


class CheckpointError(RunError):
    """A checkpoint that is missing, damaged or of another model."""
