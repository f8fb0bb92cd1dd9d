"""Description of read-outs as plain data, for configs and the JSON of saved models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmcl.config.described import checked_settings
from mmcl.errors import CheckpointError
from mmcl.models.readouts.base import STATISTICS as STATISTICS
from mmcl.models.readouts.base import ReadOut
from mmcl.models.readouts.fecam import FeCAM
from mmcl.models.readouts.nearest_class_mean import NearestClassMean
from mmcl.models.readouts.ranpac import RanPAC
from mmcl.models.readouts.streaming_lda import StreamingLDA

#: Read-outs by the name of their strategy.
READOUTS: dict[str, type[ReadOut]] = {
    "ncm": NearestClassMean,
    "slda": StreamingLDA,
    "ranpac": RanPAC,
    "fecam": FeCAM,
}


def describe_read_out(readout: ReadOut) -> dict[str, Any]:
    """Return the name and the settings of a read-out.

    >>> describe_read_out(StreamingLDA(shrinkage=0.3))
    {'name': 'slda', 'settings': {'shrinkage': 0.3}}
    """
    name = next(name for name, kind in READOUTS.items() if kind is type(readout))
    return {"name": name, "settings": readout.settings}


def rebuild_read_out(described: object, shape: Sequence[int], path: Path) -> ReadOut | None:
    """Build a read-out from its description, with an empty solution; None if the model has none.

    Args:
        described: value of ``readout`` in the description of a model.
        shape: number of classes, and dimension of the embeddings.
        path: file of the description, for errors.

    Raises:
        CheckpointError: the description is invalid.
    """
    if described is None:
        return None
    if not isinstance(described, dict) or described.get("name") not in READOUTS:
        raise CheckpointError(
            f"readout in {path} is {described!r:.60}, expected one named {', '.join(READOUTS)}: copy the file again"
        )
    kind = READOUTS[described["name"]]
    readout = kind(**checked_settings(kind, described.get("settings"), f"readout.settings of {path}"))
    classes, dim = shape
    readout.expect(dim, classes)
    return readout
