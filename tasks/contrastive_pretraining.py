"""Contrastive pretraining of two towers, evaluated by retrieval between the modalities.

Two towers are trained on pairs for each objective and seed, and evaluated by retrieval among held-out pairs in both
directions. Features of frozen encoder layers are computed once and cached. Trained models are in the run's `models/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from mmcl.sections.towers import PretrainingSection

if TYPE_CHECKING:
    from mmcl.data.paired import PairedDataset
    from mmcl.models.two_tower import TwoTower
    from mmcl.runs.run import Run


class Config(PretrainingSection):  # has further settings
    candidates: int = Field(500, ge=2, description="largest number of held-out pairs to retrieve from")


def main(config: Config, run: Run) -> None:
    """Train and evaluate every objective with every seed; a resumed run skips finished ones."""
    import torch

    from mmcl import distributed
    from mmcl.progress import progress_display
    from mmcl.sections.towers import paired, pretrain

    torch.set_num_threads(config.threads)
    towers = config.build(config.seeds[0])
    with distributed.main_first():
        train, valid = (paired(config.pairs.build(split), towers, config) for split in ("train", "valid"))
    done = {(row["strategy"], row["seed"]) for row in run.metrics("result")}
    with progress_display() as progress:
        for seed in config.seeds:
            for name in config.objective:
                model = pretrain(config, name, seed, train, run, progress)
                if (name, seed) not in done:
                    run.log("result", strategy=name, seed=seed, measures=retrieved(model, valid, config))


def retrieved(model: TwoTower, pairs: PairedDataset, config: Config) -> dict[str, float]:
    """Return recall at 1 and 10 among the first held-out pairs, in both directions."""
    from mmcl.metrics.retrieval import retrieval
    from mmcl.models.two_tower import embed_rows

    rows = pairs.first_of_each_text()[: config.candidates]  # pairs with the same text are indistinguishable
    first, second = (
        embed_rows(tower, data, rows, device=config.device)
        for tower, data in ((model.first, pairs.first), (model.second, pairs.second))
    )
    measures = {}
    one, other = model.first.modality, model.second.modality
    for direction, queries, keys in ((f"{one} to {other}", first, second), (f"{other} to {one}", second, first)):
        found = retrieval(queries, keys, at=(1, 10))
        measures |= {f"{direction}, first": found.recall[1], f"{direction}, first 10": found.recall[10]}
    return measures
