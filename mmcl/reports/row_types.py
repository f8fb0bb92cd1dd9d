"""Typed rows of metrics: one model for each kind of row that reports read from ``metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mmcl.errors import RunError
from mmcl.runs.run import Run

_LARGEST = 1e100  # beyond any 32-bit number


def _not_too_large(value: float) -> float:
    if abs(value) > _LARGEST:
        raise ValueError("is too large")
    return value


Number = Annotated[float, Field(strict=True), AfterValidator(_not_too_large)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False), AfterValidator(_not_too_large)]
Index = Annotated[int, Field(strict=True, ge=0, le=10**6)]
Natural = Annotated[int, Field(strict=True, ge=0, le=10**15)]
Text = Annotated[str, Field(strict=True)]
Seed = int | Text
RowT = TypeVar("RowT", bound="Row")


class Row(BaseModel):
    """A row of any kind. Fields that reports do not read are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    kind: Text
    strategy: Text | None = None
    seed: Seed | None = None

    @property
    def unit(self) -> str:
        """The name of the strategy and seed, as in the names of models and checkpoints."""
        return f"{self.strategy}-seed{self.seed}"

    @model_validator(mode="after")
    def _check_seed(self) -> Row:
        if self.strategy is not None and self.seed is None:
            raise ValueError("has a strategy, but no seed")
        return self


class _StrategyRow(Row):
    strategy: Text
    seed: Seed


class StreamRow(Row):
    """The classes that arrive in each experience, in training order, and its domains if domains arrive."""

    experiences: list[list[Text]]
    domains: list[list[Text]] = []
    class_order: list[int] = []
    train_sizes: list[Natural] = []
    test_sizes: list[Natural] = []


class EvaluationRow(_StrategyRow):
    """Test accuracy after training on one experience: on each experience, on all classes seen, and per class."""

    experience: Index
    accuracy: list[Number | None]
    seen_accuracy: Number | None = None
    per_class: dict[str, Number] = {}


class ResultRow(_StrategyRow):
    """Final measures of one strategy with one seed.

    Class-incremental tasks log the titled fields below, other tasks log ``measures``. :attr:`values` has both.
    All are fractions except the last three. Error rates and SLU-F1 are averages over experiences, like accuracy, and
    only exist for models that generate text.
    """

    measures: dict[str, Number | None] = {}
    average_accuracy: Number | None = Field(None, title="average accuracy")
    last_accuracy: Number | None = Field(None, title="last accuracy")
    anytime_accuracy: Number | None = Field(None, title="anytime accuracy")
    word_error_rate: Number | None = Field(None, title="word error rate")
    sequence_error_rate: Number | None = Field(None, title="sequence error rate")
    slu_f1: Number | None = Field(None, title="SLU-F1")
    forgetting: Number | None = Field(None, title="forgetting")
    backward_transfer: Number | None = Field(None, title="backward transfer")
    forward_transfer: Number | None = Field(None, title="forward transfer")
    memory_bytes: Number | None = Field(None, title="memory kept (KiB)")
    trained_parameters: Number | None = Field(None, title="trained parameters (thousands)")
    seconds: Number | None = Field(None, title="time (s)")

    @property
    def values(self) -> dict[str, float | None]:
        """Every measure of the row by name; a titled field overrides an entry of ``measures`` with the same name."""
        titled = {name: getattr(self, name) for name in MEASURES}
        return self.measures | {name: value for name, value in titled.items() if value is not None}


#: Errors in the unit of a regression's targets.
_ERRORS = tuple(
    f"{name}{part}" for name in ("MAE", "MAE, many-shot", "MAE, few-shot", "RMSE") for part in ("", ", head")
)

_TEMPERATURES = ("temperature, most frequent class", "temperature, rarest class")

#: Factor of each measure in tables; others are fractions in percent.
SCALES = {
    "memory_bytes": 1 / 1024,
    "trained_parameters": 1e-3,
    "seconds": 1.0,
    "uniformity": 1.0,
    "alignment": 1.0,
    "effective rank": 1.0,
    **dict.fromkeys(_TEMPERATURES, 1.0),
    **dict.fromkeys(_ERRORS, 1.0),
}

#: Decimals of each measure in tables; others have one.
DECIMALS = dict.fromkeys((*_ERRORS, "alignment"), 2) | dict.fromkeys(_TEMPERATURES, 3)

#: Titles of the measures that class-incremental tasks log, by name.
MEASURES = {name: field.title for name, field in ResultRow.model_fields.items() if field.title}


class EpochRow(_StrategyRow):
    """The training loss of an epoch. Only class-incremental tasks log ``experience``."""

    epoch: Index
    loss: Number
    experience: Index | None = None
    valid_accuracy: Number | None = None


class ZeroShotRow(_StrategyRow):
    """Zero-shot classification of one data set. The confusion matrix has true classes as rows."""

    data: Text = ""
    classes: list[Text] = []
    confusion: list[list[Number]] = []

    @model_validator(mode="after")
    def _check_square(self) -> ZeroShotRow:
        if self.confusion and {len(self.classes)} != {len(self.confusion), *map(len, self.confusion)}:
            raise ValueError("has a confusion that is not classes by classes")
        return self


class SimilarityRow(_StrategyRow):
    """2-D histogram of text-text over speech-text cosines, and the mean of the second for bins of the first."""

    counts: list[list[Natural]]
    edges: list[Finite]
    centres: list[Number]
    means: list[Number]
    correlation: Number

    @model_validator(mode="after")
    def _check_lengths(self) -> SimilarityRow:
        sizes = {len(self.counts), *map(len, self.counts), len(self.edges) - 1}
        if len(sizes) != 1 or not self.counts or len(self.centres) != len(self.means):
            raise ValueError("has counts, edges, centres and means of different lengths")
        return self


class ViewsRow(_StrategyRow):
    """Test accuracy of each view alone, and of the remaining views without it."""

    alone: dict[str, Number]
    missing: dict[str, Number]

    @model_validator(mode="after")
    def _check_names(self) -> ViewsRow:
        if not self.alone or self.alone.keys() != self.missing.keys():
            raise ValueError("has views that are not those of 'missing'")
        return self


class RepresentationRow(_StrategyRow):
    """Measures of a representation after some epochs of training."""

    epoch: Index
    measures: dict[str, Number]


class MapRow(_StrategyRow):
    """2-D points of test samples with their labels; classes are ordered if they are bins of a target."""

    classes: list[Text]
    ordered: bool = False
    labels: list[Index]
    points: list[Annotated[list[Number], Field(min_length=2, max_length=2)]]

    @model_validator(mode="after")
    def _check_lengths(self) -> MapRow:
        if len(self.labels) != len(self.points) or not self.points:
            raise ValueError("has labels and points of different lengths")
        return self


#: The model of each kind of row; rows of other kinds are read as :class:`Row`.
ROW_TYPES: dict[str, type[Row]] = {
    "stream": StreamRow,
    "evaluation": EvaluationRow,
    "result": ResultRow,
    "epoch": EpochRow,
    "zero_shot": ZeroShotRow,
    "similarity": SimilarityRow,
    "views": ViewsRow,
    "representation": RepresentationRow,
    "map": MapRow,
}


def parse_row(row: Mapping[str, object]) -> Row:
    """Validate a row as the model of its kind.

    >>> parse_row({"kind": "result", "strategy": "replay", "seed": 0, "last_accuracy": 0.5}).values
    {'last_accuracy': 0.5}
    """
    return ROW_TYPES.get(str(row["kind"]), Row).model_validate(row)


def read_metrics(run: Run) -> list[Row]:
    """Read and validate the metrics of a run.

    Raises:
        RunError: A value is missing, too large or has the wrong type. The message names the file, row and value.
    """
    return [_read_row(run, number, row) for number, row in enumerate(run.metrics(), start=1)]


def rows_of_type(rows: Iterable[Row], row_type: type[RowT]) -> list[RowT]:
    """Select the rows of one type."""
    return [row for row in rows if isinstance(row, row_type)]


def _read_row(run: Run, number: int, row: Mapping[str, object]) -> Row:
    where = f"{run.folder / 'metrics.jsonl'} line {number}"
    try:
        return parse_row(row)
    except ValidationError as error:
        raise RunError(f"{where}: {_fault(row, error)}; restore the file from a copy") from None


def _fault(row: Mapping[str, object], error: ValidationError) -> str:
    """Describe the first fault of a row, such as "'accuracy.0' of the evaluation is 'x', expected a valid number"."""
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
