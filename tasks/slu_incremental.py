"""Class-incremental spoken language understanding: accuracy and forgetting of continual learning strategies.

For each seed, classes arrive in experiences. Each strategy trains a classifier or a sequence-to-sequence model on one
after the other, and is tested on all after each. Features of frozen encoder layers are computed once and cached.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mmcl.sections import slu as sections
from mmcl.sections import task_checks
from mmcl.sections.incremental import IncrementalParts, IncrementalSection, run_strategies

if TYPE_CHECKING:
    from mmcl.runs.run import Run


class Config(IncrementalSection):  # has further settings
    rebuild_model = sections.rebuild_model

    encoder: sections.AudioSection = sections.AudioSection()
    model: Literal["classifier", "seq2seq"] = Field("classifier", description="classifier, or seq2seq to generate text")
    seq2seq: sections.Seq2SeqSection = sections.Seq2SeqSection()
    knowledge_distillation: sections.KnowledgeDistillationSection = sections.KnowledgeDistillationSection()


check = task_checks.slu_incremental  # of `mmcl validate`


def main(config: Config, run: Run) -> None:
    """Train every strategy with every seed; a resumed run skips finished ones."""
    run_strategies(config, run, partial(prepare, config, run))


def prepare(config: Config, run: Run) -> IncrementalParts:
    """Open the data, with cached features, and build the encoder and the tokenizer."""
    from mmcl import distributed
    from mmcl.encoders import cached_features

    encoder, is_seq2seq = config.encoder.build(), config.model == "seq2seq"
    sections.check_frozen_encoder(config.strategy, is_trained=not encoder.frozen)
    options = {"keep": "sequence" if is_seq2seq else "auto", **config.model_dump(include={"device", "precision"})}
    with distributed.main_first():
        train, test = (cached_features(split, encoder, **options) for split in config.data.build())
        valid = config.data.validation(train.classes, lambda split: cached_features(split, encoder, **options))
        tokenizer = config.seq2seq.tokenizer(train, run.folder / "tokenizer.json") if is_seq2seq else None

    def scale(model, rows):
        if model.encoder.frozen:
            model.standardize(train.vectors(rows))

    def build_model(strategy, encoder):
        return sections.build_model(config, strategy, encoder, tokenizer)

    return IncrementalParts(train, test, valid, encoder, config.encoder.build, build_model, scale)
