"""Class-incremental classification of images, texts, recordings, tables or several views of each sample.

For each seed, the classes of a data set are split into experiences. Each strategy trains a classifier on one experience
after the other, and tests it on all of them after each. The encoders follow the modalities of the data, and features of
frozen layers are computed once and cached.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from mmcl.sections import task_checks
from mmcl.sections.incremental import IncrementalParts, run_strategies
from mmcl.sections.modalities import ModalitiesSection
from mmcl.sections.strategy_names import LINEAR, base_of

if TYPE_CHECKING:
    from mmcl.runs.run import Run


class Config(ModalitiesSection):
    model: ClassVar[str] = "classifier"  # which strategies are checked against


check = task_checks.class_incremental  # of `mmcl validate`


def main(config: Config, run: Run) -> None:
    """Train every strategy with every seed; a resumed run skips finished ones."""
    run_strategies(config, run, partial(prepare, config, run))


def prepare(config: Config, run: Run) -> IncrementalParts:
    """Open the data, with cached features, and build the encoder."""
    from mmcl import distributed
    from mmcl.encoders.fused_views import FusedViews
    from mmcl.models.saved import save_slu

    data = [config.open(splits) for splits in (config.data.train, [config.data.test])]
    encoder = config.build_encoder(data[0])
    config.check_frozen(is_trained=not encoder.frozen)
    frozen = {view: each for view, each in encoder.views() if each.frozen} if isinstance(encoder, FusedViews) else {}
    with distributed.main_first():
        train, test = (config.cached(each, encoder) for each in data)
        valid = config.validation(train.classes, encoder)

    def build_model(strategy, encoder):
        return config.classifier.build(encoder, trained=base_of(strategy) not in LINEAR, contrasts="+" in strategy)

    def scale(model, rows):
        if isinstance(model.encoder, FusedViews):
            model.encoder.fit_scaling(train, rows)
        elif model.encoder.frozen:
            model.standardize(train.vectors(rows))

    def keep(unit, model):
        if distributed.is_main():
            save_slu(model, run.folder / "models" / unit, train.classes[: len(model.head.seen)])

    build_encoder = partial(config.build_encoder, data[0], frozen)
    return IncrementalParts(train, test, valid, encoder, build_encoder, build_model, scale, keep)
