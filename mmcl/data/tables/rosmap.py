"""ROSMAP: omics of the brains of 351 people, 182 of them with Alzheimer's disease."""

from __future__ import annotations

from typing import ClassVar

from mmcl.data.base import Source
from mmcl.data.tables.mogonet import MogonetDataset


class Rosmap(MogonetDataset):
    """Read ROSMAP as prepared by MOGONET's authors: 3 views of 200 features, 245 samples for training, 106 for test.

    Arguments, samples and errors are those of :class:`~mmcl.data.tables.mogonet.MogonetDataset`.
    """

    source: ClassVar[Source | None] = Source(
        name="rosmap",
        folder="rosmap",
        marker=("1_tr.csv",),
        owner="Rush Alzheimer's Disease Center, prepared by Wang and others (MOGONET)",
        license="none is stated",
        size="351 samples, 5 MB",
        url="https://github.com/txWang/MOGONET",
        note="Alzheimer's disease or none, from 3 views of 200 features",
    )
    classes: ClassVar[tuple[str, ...]] = ("normal control", "Alzheimer's disease")
