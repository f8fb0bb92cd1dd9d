"""Text embeddings, trained on pairs of texts and evaluated by semantic similarity and retrieval.

For each objective and seed, a text encoder is trained or tuned on pairs such as query and passage. It is evaluated
before and after training: on graded pairs by the correlation of cosines with scores, on collections by nDCG, MRR,
recall, pooled AUC and calibration. BM25, which ranks by shared words, is in the table too. Features of frozen encoder
layers are computed once and cached. Trained models are in the run's `models/`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from mmcl.config.model import OneOrMore
from mmcl.sections import task_checks
from mmcl.sections.augment import AugmentSection
from mmcl.sections.objectives import OBJECTIVE_HELP, ObjectiveName
from mmcl.sections.text_data import SplitName, TextDataSection, TextTowerSection
from mmcl.sections.towers import OneTowerSection

if TYPE_CHECKING:
    from mmcl.data.paired import PairedDataset
    from mmcl.data.texts.text_pairs import TextPairs
    from mmcl.models.two_tower import TwoTower
    from mmcl.runs.run import Run
    from mmcl.training.contrastive import Augmentation

BASELINES = ("bm25", "untrained")


class Config(OneTowerSection):
    data: TextDataSection = TextDataSection()
    least_score: float | None = Field(
        None, description="lowest score of graded pairs to train on, for objectives of pairs that match; none: all"
    )
    evaluations: OneOrMore[TextDataSection] = Field((), description="further data to evaluate on")
    encoder: TextTowerSection = TextTowerSection()
    dim: int | None = Field(None, ge=1, description="output dimension of the projection head; none: 512")
    objective: OneOrMore[ObjectiveName] = Field(("clip",), min_length=1, description=OBJECTIVE_HELP)
    augment: AugmentSection | None = Field(
        None, description="train without pairs: views are random crops of each text or document; none: train on pairs"
    )
    views: int = Field(
        2, ge=2, le=3, description="texts of a pair; 3 with the column negative, for objectives with hard negatives"
    )
    negatives: int | None = Field(
        500, ge=1, description="other documents of each query in the pooled AUC, the best ones; none: all"
    )
    evaluate_every: int = Field(5, ge=1, description="epochs between evaluations on validation data, for the curves")

    @model_validator(mode="after")
    def _check_names(self) -> Config:
        names = [self.data.name, *(each.name for each in self.evaluations)]
        if twice := {name for name in names if names.count(name) > 1} - {"table"}:
            raise ValueError(f"{min(twice)} is in data and evaluations twice, expected once: remove it")
        return self

    def augmentations(self) -> list[Augmentation]:
        """Return the functions that make each view: they crop a text, or choose query, passage and negative."""
        from mmcl.data.texts.text_pairs import view_of

        if self.augment is not None:
            return self.augment.build("text", self.views)
        return [view_of(number) for number in range(self.views)]

    def scored(self) -> TextPairs:
        """Open the training pairs with a score that is high enough."""
        pairs = self.data.open("train")
        return pairs if self.least_score is None else pairs.at_least(self.least_score)

    def pairs(self) -> PairedDataset:
        """Return the training pairs with cached features of frozen encoder layers, or the plain texts to crop."""
        from mmcl.data import PairedDataset
        from mmcl.encoders.encoded_pairs import EncodedPairs

        if self.augment is not None:
            return PairedDataset(self.scored().plain_texts())
        tower = self.build(self.seeds[0]).first
        options: dict[str, Any] = {"keep": tower.keep, "device": self.device, "precision": self.precision}
        return PairedDataset(EncodedPairs(self.scored().with_views(self.views), tower.encoder, **options))

    def evaluated(self, part: SplitName) -> dict[str, TextPairs]:
        """Open a split of all data to evaluate on, by name."""
        named = {"data": self.data, **{f"evaluations {row}": each for row, each in enumerate(self.evaluations)}}
        return {each.name if each.name != "table" else key: each.open(part) for key, each in named.items()}


check = task_checks.text_embedding  # of `mmcl validate`


def main(config: Config, run: Run) -> None:
    """Train and evaluate every objective with every seed; a resumed run skips finished ones."""
    import torch

    from mmcl import distributed
    from mmcl.models.text_measures import text_measures, word_measures
    from mmcl.progress import progress_display
    from mmcl.sections.contrastive import pretrain, standardize_heads

    torch.set_num_threads(config.threads)
    valid, test = config.evaluated("valid"), config.evaluated("test")
    with distributed.main_first():
        pairs = config.pairs()
    done = {(row["strategy"], row["seed"]) for row in run.metrics("result")}
    settings: dict[str, Any] = {"negatives": config.negatives, "device": config.device, "precision": config.precision}

    def result(model: TwoTower | None, strategy: str, seed: int) -> None:
        if (strategy, seed) in done:
            return
        found: dict[str, float] = {}
        for name, data in test.items():
            if model is None:
                own = word_measures(data, valid[name], negatives=config.negatives)
            else:
                own = text_measures(model.first, data, valid[name], **settings)
            found |= {f"{name} {measure}": value for measure, value in own.items()}
        if found:
            run.log("result", strategy=strategy, seed=seed, measures=found)

    def curve(place: dict[str, Any], model: TwoTower, epoch: int, objective: Any) -> None:
        if epoch % config.evaluate_every == 0 or epoch == config.epochs:
            measured = {name: text_measures(model.first, data, **settings) for name, data in valid.items()}
            measures = {f"{name} {measure}": value for name, own in measured.items() for measure, value in own.items()}
            run.log("representation", **place, epoch=epoch, measures=measures)

    with progress_display() as progress:
        result(None, "bm25", config.seeds[0])
        for seed in config.seeds:
            untrained = config.build(seed)
            standardize_heads(untrained, pairs)
            result(untrained, "untrained", seed)
            for name in config.objective:
                evaluate = partial(curve, {"strategy": name, "seed": seed})
                result(pretrain(config, name, seed, pairs, run, progress, evaluate), name, seed)
