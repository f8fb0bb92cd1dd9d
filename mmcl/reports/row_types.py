"""The rows of a run that tables and figures show: their values are of the types that are logged."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mmcl.errors import RunError
from mmcl.runs.run import Run

_LARGEST = 1e100  # beyond any number of 32 bits


def _within(value: float) -> float:
    if abs(value) > _LARGEST:
        raise ValueError("is too large")
    return value


Number = Annotated[float, Field(strict=True), AfterValidator(_within)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False), AfterValidator(_within)]
Place = Annotated[int, Field(strict=True, ge=0, le=10**6)]
Count = Annotated[int, Field(strict=True, ge=0, le=10**15)]
Text = Annotated[str, Field(strict=True)]


class _Row(BaseModel):
    """What is read of a row; it may hold more."""

    model_config = ConfigDict(strict=True, extra="ignore")

    strategy: Text | None = None
    seed: int | Text | None = None

    @model_validator(mode="after")
    def _seeded(self) -> _Row:
        if self.strategy is not None and self.seed is None:
            raise ValueError("has a strategy, but no seed")
        return self


class _Unit(_Row):
    strategy: Text
    seed: int | Text


class _Stream(_Row):
    experiences: list[list[Text]]
    class_order: list[int] = []
    train_sizes: list[Count] = []
    test_sizes: list[Count] = []


class _Evaluation(_Unit):
    experience: Place
    accuracy: list[Number | None]
    seen_accuracy: Number | None = None
    per_class: dict[str, Number] = {}


class _Result(_Unit):
    measures: dict[str, Number | None] = {}
    average_accuracy: Number | None = None
    last_accuracy: Number | None = None
    word_error_rate: Number | None = None
    sequence_error_rate: Number | None = None
    slu_f1: Number | None = None
    forgetting: Number | None = None
    backward_transfer: Number | None = None
    forward_transfer: Number | None = None
    seconds: Number | None = None


class _Epoch(_Unit):
    epoch: Place
    loss: Number
    valid_accuracy: Number = 0.0


class _ZeroShot(_Unit):
    data: Text = ""
    classes: list[Text] = []
    confusion: list[list[Number]] = []

    @model_validator(mode="after")
    def _square(self) -> _ZeroShot:
        if self.confusion and {len(self.classes)} != {len(self.confusion), *map(len, self.confusion)}:
            raise ValueError("has a confusion that is not classes by classes")
        return self


class _Similarity(_Unit):
    counts: list[list[Count]]
    edges: list[Finite]
    centres: list[Number]
    means: list[Number]
    correlation: Number

    @model_validator(mode="after")
    def _of_one_size(self) -> _Similarity:
        sizes = {len(self.counts), *map(len, self.counts), len(self.edges) - 1}
        if len(sizes) != 1 or not self.counts or len(self.centres) != len(self.means):
            raise ValueError("has counts, edges, centres and means of different lengths")
        return self


class _Views(_Unit):
    alone: dict[str, Number]
    missing: dict[str, Number]

    @model_validator(mode="after")
    def _of_one_kind(self) -> _Views:
        if not self.alone or self.alone.keys() != self.missing.keys():
            raise ValueError("has views that are not those of 'missing'")
        return self


class _Map(_Unit):
    classes: list[Text]
    labels: list[Place]
    points: list[Annotated[list[Number], Field(min_length=2, max_length=2)]]

    @model_validator(mode="after")
    def _of_one_size(self) -> _Map:
        if len(self.labels) != len(self.points) or not self.points:
            raise ValueError("has labels and points of different lengths")
        return self


_ROWS: dict[str, type[_Row]] = {
    "stream": _Stream,
    "evaluation": _Evaluation,
    "result": _Result,
    "epoch": _Epoch,
    "zero_shot": _ZeroShot,
    "similarity": _Similarity,
    "views": _Views,
    "map": _Map,
}


def checked_rows(run: Run, kind: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of a run, or those of one kind, if their values are of the types that are logged.

    Raises:
        RunError: a value is missing, of another type or too large; names the file, the row and the value.
    """
    rows = run.metrics()
    for number, row in enumerate(rows, start=1):
        where = f"{run.folder / 'metrics.jsonl'} line {number}"
        if not isinstance(row, dict) or not isinstance(row.get("kind"), str):
            raise RunError(f"{where}: not a row of metrics, put the file back from a copy")
        if kind is not None and row["kind"] != kind:
            continue
        try:
            _ROWS.get(row["kind"], _Row).model_validate(row)
        except ValidationError as error:
            raise RunError(f"{where}: {_fault(row, error)}; put the file back from a copy") from None
    return rows if kind is None else [row for row in rows if row["kind"] == kind]


def _fault(row: dict[str, Any], error: ValidationError) -> str:
    """What is wrong with a row, such as "'accuracy.0' of the evaluation is 'x', expected a valid number"."""
    first = error.errors(include_url=False)[0]
    of = f"of the {row['kind']}"
    if not first["loc"]:
        return f"the row {of} {first['msg'].removeprefix('Value error, ')}"
    name = ".".join(str(part) for part in first["loc"] if part not in ("int", "str", "float", "constrained-str"))
    if first["type"] == "missing":
        return f"'{name}' {of} is missing"
    value = repr(first["input"])
    value = value if len(value) <= 60 else f"{value[:57]}..."
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return (
        f"'{name}' {of} is {value}, expected {expected}" if expected != "is too large" else f"'{name}' {of} {expected}"
    )
