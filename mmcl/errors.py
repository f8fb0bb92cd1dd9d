"""Exceptions of mmcl, as a tree.

::

    MMCLError
    ├── ConfigError              a config cannot be read or used; lists all faults
    ├── DataError                a data set is malformed
    │   ├── MissingDataError     a folder or file does not exist; says what was searched and how to get it
    │   └── AudioError           a file is not readable audio; names the file
    ├── StreamError              a stream of experiences cannot be created from this data
    ├── LabelError               a label is outside the classes of the model or data set
    ├── ShapeError               shapes of tensors do not match
    ├── InputError               values are invalid for a function: not finite, out of range, not a permutation
    ├── EndpointError            a network service fails, or its answer cannot be used
    ├── TrainingError            training cannot continue, for example because the loss is not finite
    ├── ExportError              a model cannot be published, or not as requested
    ├── ProcessError             another process of a run has ended
    └── RunError                 a run folder cannot be created, read or resumed
        └── CheckpointError      a checkpoint is missing, damaged or belongs to another model

A message is one line: what is wrong, its value, what was expected, the next step.
"""

from __future__ import annotations

from mmcl.text.escape import encodable


class MMCLError(Exception):
    """Base class of all exceptions that mmcl raises deliberately.

    Messages can always be printed: bytes of file names that are not UTF-8 are escaped.

    >>> print(DataError("caf\\udce9.wav is empty"))
    caf\\udce9.wav is empty
    """

    def __str__(self) -> str:
        return encodable(super().__str__())


class ConfigError(MMCLError):
    """A config cannot be read or used."""


class DataError(MMCLError):
    """A data set is malformed."""


class MissingDataError(DataError):
    """A folder or file does not exist."""


class AudioError(DataError):
    """A file is not readable audio."""


class StreamError(MMCLError):
    """A stream of experiences cannot be created from this data."""


class LabelError(MMCLError):
    """A label is outside the classes of the model or data set."""


class ShapeError(MMCLError):
    """Shapes of tensors do not match."""


class InputError(MMCLError):
    """Values are invalid for a function."""


class EndpointError(MMCLError):
    """A network service fails, or its answer cannot be used."""


class TrainingError(MMCLError):
    """Training cannot continue."""


class ExportError(MMCLError):
    """A model cannot be published, or not as requested."""


class ProcessError(MMCLError):
    """Another process of a run has ended."""


class RunError(MMCLError):
    """A run folder cannot be created, read or resumed."""


class CheckpointError(RunError):
    """A checkpoint is missing, damaged or belongs to another model."""
