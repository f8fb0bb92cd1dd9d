"""Small runs of every task, which tests compare between devices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

_CNN = "{dim: 32, dropout: 0, spec_augment: false}"
_PARTS = "[coconut+audio_kd+token_kd+sequence_kd]"


class SmallRun(NamedTuple):
    """A run that takes seconds."""

    config: str  #: task and config
    settings: tuple[str, ...]
    plain: tuple[str, ...]  #: further settings, with which the device draws no random numbers
    has_precision: bool = True  #: the task can run in mixed precision
    has_data: bool = False  #: the run needs MMCL_DATA
    lines: int = 1  #: number of logged lines after which tests interrupt the run

    @property
    def arguments(self) -> tuple[str, ...]:
        """Arguments of ``mmcl run``."""
        return (self.config, *self.settings)


QUICK = ("towers", "views", "intents", "classifiers")  #: runs that CI can afford
RUNS = {
    "classifiers": SmallRun(
        "slu_incremental/tiny",
        ("strategy=[replay,coconut]", "seeds=[3]", "epochs=3"),
        (f"encoder.options={_CNN}",),
        lines=11,
    ),
    "images": SmallRun(
        "class_incremental/tiny",
        ("strategy=[replay,coconut@slda]", "seeds=[3]"),
        ("encoder.options={dim: 16, blocks: 2, dropout: 0}",),
        has_data=True,
        lines=4,
    ),
    "digits": SmallRun(
        "class_incremental/tiny",
        (
            "data={name: spoken_written_digits, options: {}, train: [valid]}",
            "encoder.options={}",
            "fusion=gated",
            "dim=16",
            "strategy=[der_pp]",
            "seeds=[3]",
            "epochs=1",
        ),
        (f"views={{audio: {{name: cnn, options: {_CNN}}}, image: {{modality: image, options: {{dropout: 0}}}}}}",),
        has_data=True,
        lines=3,
    ),
    "sequences": SmallRun(
        "slu_incremental/tiny_seq2seq",
        (f"strategy={_PARTS}", "seeds=[3]", "epochs=1"),
        (f"encoder.options={_CNN}", "seq2seq.dropout=0", "seq2seq.bpe_dropout=0"),
        lines=3,
    ),
    "towers": SmallRun(
        "contrastive_pretraining/tiny",
        ("objective=[clip]", "seeds=[3]", "learn_temperature=true"),
        (f"first.options={_CNN}",),
    ),
    "views": SmallRun(
        "contrastive_pretraining/tiny",
        ("objective=[sup_con]", "second=null", "views=2", "first.dropout=0.3", "seeds=[3]"),
        (f"first.options={_CNN}", "first.dropout=0"),
    ),
    "representations": SmallRun(
        "representation_learning/tiny",
        ("objective=[mv_dhel]", "seeds=[3]"),
        (
            f"encoder.options={_CNN}",
            "augment.audio={smallest: 1, time_masks: 0, band_masks: 0}",
        ),
        lines=2,
    ),
    "embeddings": SmallRun(
        "text_embedding/tiny",
        ("objective=[clip]", "evaluations=[]", "seeds=[3]"),
        (),
        has_data=True,
        lines=3,
    ),
    "intents": SmallRun(
        "speech_to_intent/tiny", ("objective=[cwcl]", "seeds=[3]"), (f"first.options={_CNN}",), lines=3
    ),
    "texts": SmallRun(
        "text_incremental/tiny",
        ("strategy=[replay]", "rationales=[dss,qcrd]", "seeds=[0]"),
        ("student.dropout=0", "rationales=[none,dss]"),
        has_precision=False,
        has_data=True,
        lines=4,
    ),
    "modalities": SmallRun(
        "multimodal_classification/tiny",
        ("method=[concat,m3col]", "seeds=[0]"),
        ("method=[concat]",),
        has_data=True,
        lines=2,
    ),
    "unlearning": SmallRun(
        "unlearning/tiny",
        ("method=[scrub,boundary_shrink,sisa,laf]", "seeds=[0]"),
        ("method=[fine_tune]",),
        has_precision=False,
        has_data=True,
        lines=3,
    ),
    "rationales": SmallRun(
        "rationale_distillation/tiny",
        ("method=[mi,qcrd]", "seeds=[0]"),
        ("student.dropout=0", "method=[dss,mi]"),
        has_data=True,
        lines=3,
    ),
}


@pytest.fixture(params=RUNS)
def small_run(request: pytest.FixtureRequest) -> SmallRun:
    """Each small run, if its data are there."""
    if RUNS[request.param].has_data:
        request.getfixturevalue("data_dir")
    return RUNS[request.param]


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield all logged numbers with their names, except times."""
    if isinstance(value, dict):
        for each in value:
            if not any(word in each for word in ("time", "seconds", "sampling / training")):
                yield from numbers(value[each], f"{name}.{each}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from numbers(each, f"{name}[{index}]")
    elif isinstance(value, int | float):
        yield name, value


def assert_near(found: list[dict], expected: list[dict], tolerance: float) -> None:
    """Check the losses of all epochs or, if a task logs no epochs, that accuracies differ by 0.05 at most."""
    one, other = (dict(numbers([_losses(row) for row in rows])) for rows in (found, expected))
    if not one:
        tolerance = 0.05
        one, other = (dict(numbers([_accuracies(row) for row in rows])) for rows in (found, expected))
    assert one and one == pytest.approx(other, rel=tolerance, abs=tolerance)


def _losses(row: dict) -> dict[str, float]:
    return (row.get("losses") or {"loss": row["loss"]}) if row["kind"] == "epoch" else {}


def _accuracies(row: dict) -> dict[str, float]:
    return {name: row["measures"][name] for name in ("Train_r", "Train_f", "Test")} if row["kind"] == "result" else {}


def assert_finite(rows: list[dict]) -> None:
    """Check that every logged number is finite."""
    assert [name for name, value in numbers(rows) if not math.isfinite(value)] == []
