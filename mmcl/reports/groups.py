"""Groups of runs with comparable results: the same task, data, splits and stream of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from mmcl.runs.data import RunData
from mmcl.runs.run import Run

#: Settings that results depend on beyond the method: data, splits, and the order in which classes arrive.
_COMPARED = (
    "data",
    "pairs",
    "evaluations",
    "valid",
    "folds",
    "cuts",
    "candidates",
    "experiences",
    "initial",
    "by_superclass",
    "domain",
    "shots",
    "blur",
    "online",
    "class_order",
    "removal",
    "stream",
)
_OF_THE_STREAM = ("experiences",)  # other settings of a section `stream` belong to the method


@dataclass(frozen=True)
class RunGroup:
    """Runs with comparable results.

    Attributes:
        heading: settings in which the group differs from others, such as ``data.name=fsdd``; empty for a single group.
        runs: the runs.
    """

    heading: str
    runs: list[Run]


def comparable_groups(runs: Sequence[Run]) -> list[RunGroup]:
    """Group runs by task, data and stream of classes, in the order of their first run.

    Data sets are compared by their settings, and by the content of their samples if the runs recorded it.

    Raises:
        RunError: a file of a run is damaged.
    """
    settings, contents = [_settings(run) for run in runs], [_content(run) for run in runs]
    for row, own in enumerate(settings):
        if contents[row] is None:  # written by an older version: the content is that of the first run like it
            like = (content for other, content in zip(settings, contents, strict=True) if other == own and content)
            contents[row] = next(like, None)
    groups: dict[tuple[str, str | None], list[Run]] = {}
    for run, own, content in zip(runs, settings, contents, strict=True):
        groups.setdefault((_heading(own, settings), content), []).append(run)
    headings = [heading for heading, _ in groups]
    return [
        RunGroup(heading if headings.count(heading) == 1 else f"{heading or 'data'}, content {content}", group)
        for (heading, content), group in groups.items()
    ]


def _heading(own: Mapping[str, str], others: Sequence[Mapping[str, str]]) -> str:
    """Return the settings in which a run differs from others: its task, and those that differ within its task."""
    same_task = [other for other in others if other["task"] == own["task"]]
    keys = dict.fromkeys(key for other in same_task for key in other)
    different = [key for key in keys if len({other.get(key) for other in same_task}) > 1]
    shown = different if len(same_task) == len(others) else ["task", *different]
    return ", ".join(f"{key}={own.get(key, 'none')}" for key in shown)


def _settings(run: Run) -> dict[str, str]:
    compared = {key: value for key, value in run.config.items() if key in _COMPARED}
    if not isinstance(compared.get("pairs"), dict):
        compared.pop("pairs", None)  # of multimodal classification, where it belongs to the method
    if isinstance(stream := compared.get("stream"), dict):
        compared["stream"] = {key: value for key, value in stream.items() if key in _OF_THE_STREAM}
    return {"task": run.task, **{key: value for key, value in _flat(compared) if _identifies(key, compared)}}


def _identifies(key: str, compared: Mapping[str, object]) -> bool:
    """Return whether a setting tells data apart: the folder does not, except of files of the user."""
    section, _, name = key.partition(".")
    own = compared.get(section)
    return name != "root" or (isinstance(own, dict) and own.get("name") == "table")


def _content(run: Run) -> str | None:
    samples = sorted(samples for _, samples in RunData(run.folder).read().values())
    return blake2b(" ".join(samples).encode(), digest_size=4).hexdigest() if samples else None


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif value not in (None, "", [], ()):  # as if it were not set
            yield f"{prefix}{key}", str(value)
