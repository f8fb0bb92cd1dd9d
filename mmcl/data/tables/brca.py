"""BRCA: omics of 875 breast tumours with five subtypes."""

from __future__ import annotations

from typing import ClassVar

from mmcl.data.base import Source
from mmcl.data.tables.mogonet import MogonetDataset


class Brca(MogonetDataset):
    """Read TCGA's BRCA as prepared by the authors of MOGONET: views of 1,000, 1,000 and 503 features, with 612 samples
    for training and 263 for test.

    Arguments, samples and errors are those of :class:`~mmcl.data.tables.mogonet.MogonetDataset`.
    """

    source: ClassVar[Source | None] = Source(
        name="brca",
        folder="BRCA",
        marker=("1_tr.csv",),
        owner="The Cancer Genome Atlas, prepared by Wang and others (MOGONET)",
        license="none is stated",
        size="875 samples, 40 MB",
        url="https://github.com/txWang/MOGONET",
        note="5 subtypes of breast cancer, from 3 views of 503 to 1,000 features",
    )
    classes: ClassVar[tuple[str, ...]] = ("normal-like", "basal-like", "HER2-enriched", "luminal A", "luminal B")
