"""Class-incremental spoken language understanding: what does each strategy remember?

For each seed the classes of a data set arrive in groups (experiences). Each strategy trains a model on one after the
other, and after each the model is tested on all of them. What is frozen in the encoder is computed once and cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mmcl import sections
from mmcl.config import OneOrMore, StrictModel

if TYPE_CHECKING:
    from mmcl.runs import Run


class Config(StrictModel):
    data: sections.DataSection = sections.DataSection()
    experiences: int = Field(5, ge=1, description="groups in which the classes arrive")
    initial: int | None = Field(None, ge=1, description="classes in the first group; none: equal groups")
    class_order: tuple[int, ...] | None = Field(None, description="labels in order of arrival; none: random by seed")
    strategy: OneOrMore[Literal["naive", "replay", "lwf", "icarl", "coconut", "joint"]] = Field(
        ("naive", "replay", "coconut", "joint"), min_length=1, description="one or more"
    )
    seeds: OneOrMore[int] = Field((0,), min_length=1, description="one or more: class order, weights, memory, batches")
    encoder: sections.AudioSection = sections.AudioSection()
    text: sections.TextSection = sections.TextSection()
    hidden: int = Field(256, ge=1, description="width of the hidden layer")
    dropout: float = Field(0.0, ge=0, lt=1, description="after the hidden layer")
    optimizer: sections.OptimizerSection = sections.OptimizerSection()
    epochs: int = Field(10, ge=1, description="passes over each experience")
    batch_size: int = Field(32, ge=1, description="samples a step")
    memory_size: int = Field(50, ge=0, description="samples rehearsed, all classes together")
    selection: Literal["random", "herding"] = Field("random", description="of these samples")
    coconut: sections.CoconutSection = sections.CoconutSection()
    distillation: sections.DistillationSection = sections.DistillationSection()
    device: Literal["cpu", "cuda"] = Field("cpu", description="where the model is trained")
    threads: int = Field(2, ge=1, description="CPU threads, which change results in their last digits")
    tensorboard: bool = Field(False, description="write TensorBoard logs as well")


def main(config: Config, run: Run) -> None:
    """Train every strategy with every seed; what a resumed run has finished is not done again."""
    import torch

    from mmcl.encoders import cached_features
    from mmcl.progress import progress_display
    from mmcl.strategies.tracking import unit_name

    torch.set_num_threads(config.threads)
    encoder = config.encoder.build()
    train, test = (cached_features(part, encoder, device=config.device) for part in config.data.build())
    with progress_display() as progress:
        for seed in config.seeds:
            for name in config.strategy:
                saved = run.restore(unit_name(name, seed)) or {"finished": False, "training": None}
                if not saved["finished"]:
                    learn(config, run, name, seed, train, test, encoder, saved["training"], progress)


def learn(
    config: Config, run: Run, name: str, seed: int, train: Any, test: Any, encoder: Any, saved: Any, progress: Any
) -> None:
    """Train one strategy with one seed, from its last checkpoint if there is one, and log what it remembers."""
    import torch

    from mmcl import metrics, strategies
    from mmcl.data import class_incremental
    from mmcl.freeze import trainable_state
    from mmcl.metrics.accuracy_matrix import AccuracyMatrix
    from mmcl.models import SLUClassifier
    from mmcl.seeding import seed_everything
    from mmcl.strategies.tracking import Tracking

    unit = {"strategy": name, "seed": seed}
    benchmark = class_incremental(train, test, config.experiences, config.class_order, seed, config.initial)
    seed_everything(seed)
    encoder = encoder if encoder.frozen else config.encoder.build()
    text = {"text_encoder": config.text.build(), "projection": config.text.projection}
    model = SLUClassifier(encoder, hidden=config.hidden, dropout=config.dropout, **text)
    if encoder.frozen:
        model.standardize(train.batch(torch.tensor(benchmark.train_stream[0].dataset.rows[:]))["features"])
    accuracy = AccuracyMatrix()
    tracking = Tracking(run, name, seed, progress, epochs=config.experiences * config.epochs)
    strategy = getattr(strategies, name)(
        model,
        config.optimizer.build(model, encoder),
        **settings(config, name),
        epochs=config.epochs,
        batch_size=config.batch_size,
        scheduler=config.optimizer.scheduler(),
        clip_norm=config.optimizer.clip_norm,
        device=config.device,
        plugins=[accuracy, tracking],
    )
    first = 0
    if saved is None:
        run.log("stream", **unit, **benchmark.description)
    else:
        strategy.load_state_dict(saved)
        first = saved["experience"]

    for experience in benchmark.train_stream[first:]:
        strategy.train(experience, eval_streams=[])
        strategy.eval(benchmark.test_stream)
        row, classes = accuracy.matrix[-1], {train.classes[label]: a for label, a in accuracy.per_class[-1].items()}
        seen = metrics.seen_accuracy(accuracy.matrix, accuracy.sizes)[-1]
        number = experience.current_experience
        run.log("evaluation", **unit, experience=number, accuracy=row, seen_accuracy=seen, per_class=classes)

    matrix, sizes = accuracy.matrix, accuracy.sizes
    run.log(
        "result",
        **unit,
        average_accuracy=metrics.average_accuracy(matrix, sizes),
        last_accuracy=metrics.last_accuracy(matrix, sizes),
        forgetting=metrics.forgetting(matrix),
        backward_transfer=metrics.backward_transfer(matrix),
        forward_transfer=metrics.forward_transfer(matrix),
        seconds=tracking.seconds,
    )
    run.checkpoint(tracking.unit, {"finished": True, "model": trainable_state(model)})


def settings(config: Config, name: str) -> dict[str, Any]:
    """What the strategy of this name takes from the config."""
    memory = {"memory_size": config.memory_size}
    return {
        "replay": {**memory, "selection": config.selection},
        "icarl": {**memory, **config.distillation.model_dump()},
        "lwf": config.distillation.model_dump(),
        "coconut": {**memory, "selection": config.selection, **config.coconut.model_dump()},
    }.get(name, {})
