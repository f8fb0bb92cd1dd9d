"""Contrastive pretraining, evaluated by cross-modal retrieval or, with one modality, by a linear probe.

Two towers are trained on pairs for each objective and seed, and evaluated by retrieval among held-out pairs in both
directions. With `second: none`, one tower is trained on views of one modality; it is evaluated by a linear probe on the
labels, before and after training. Features of frozen encoder layers are computed once and cached. Trained models are in
the run's `models/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from mmcl.sections import task_checks
from mmcl.sections.towers import PretrainingSection

if TYPE_CHECKING:
    from mmcl.data.paired import PairedDataset
    from mmcl.models.two_tower import TwoTower
    from mmcl.runs.run import Run


class Config(PretrainingSection):  # has further settings
    candidates: int = Field(500, ge=2, description="largest number of held-out pairs to retrieve from")


check = task_checks.contrastive_pretraining  # of `mmcl validate`


def main(config: Config, run: Run) -> None:
    """Train and evaluate every objective with every seed; a resumed run skips finished ones."""
    import torch

    from mmcl import distributed
    from mmcl.progress import progress_display
    from mmcl.sections.contrastive import pretrain
    from mmcl.sections.towers import paired

    torch.set_num_threads(config.threads)
    opened = [config.pairs.build(split) for split in ("train", "valid")]
    config = config.following(opened[0])
    towers = config.build(config.seeds[0])
    with distributed.main_first():
        train, valid = (paired(split, towers, config) for split in opened)
    done = {(row["strategy"], row["seed"]) for row in run.metrics("result")}
    with progress_display() as progress:
        for seed in config.seeds:
            for name in config.objective:
                model = pretrain(config, name, seed, train, run, progress)
                if (name, seed) not in done:
                    if config.second is not None:
                        measures = retrieved(model, valid, config)
                    else:
                        measures = probed(model, seed, train, valid, config)
                    run.log("result", strategy=name, seed=seed, measures=measures)


def retrieved(model: TwoTower, pairs: PairedDataset, config: Config) -> dict[str, float]:
    """Return recall at 1 and 10 among the first held-out pairs, in both directions."""
    from mmcl.metrics.retrieval import retrieval
    from mmcl.models.two_tower import embed_rows

    rows = pairs.first_of_each_text()[: config.candidates]  # pairs with the same text are indistinguishable
    first, second = (
        embed_rows(tower, data, rows, device=config.device)
        for tower, data in zip(model.towers, pairs.sides, strict=True)
    )
    measures = {}
    one, other = model.first.modality, model.second.modality
    for direction, queries, keys in ((f"{one} to {other}", first, second), (f"{other} to {one}", second, first)):
        found = retrieval(queries, keys, at=(1, 10))
        measures |= {f"{direction}, first": found.recall[1], f"{direction}, first 10": found.recall[10]}
    return measures


def probed(model: TwoTower, seed: int, train: PairedDataset, valid: PairedDataset, config: Config) -> dict[str, float]:
    """Return the accuracy of a linear probe on a tower's features, and on those before training."""
    from mmcl.metrics.linear_probe import linear_probe
    from mmcl.models.two_tower import embed_rows
    from mmcl.sections.contrastive import standardize_heads

    untrained = config.build(seed)
    standardize_heads(untrained, train)

    found = {}
    for name, each in (("", model), (", untrained", untrained)):
        sides = [embed_rows(each.first, pairs.first, device=config.device) for pairs in (train, valid)]
        found[f"linear probe{name}"] = linear_probe(sides[0], train.labels.tolist(), sides[1], valid.labels.tolist())
    return found
