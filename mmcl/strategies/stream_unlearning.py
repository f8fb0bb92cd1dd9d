"""Unlearning in a class-incremental stream: from the model, its memory and its teacher, with a record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.avalanche_streams import rows_of, with_source
from mmcl.data.base import Dataset
from mmcl.data.selection import Selection, sample_ids
from mmcl.encoders.base import weights_hash
from mmcl.errors import ConfigError, DataError
from mmcl.files.atomic import written_whole
from mmcl.strategies.closed_form import ClosedForm
from mmcl.strategies.rehearsal import Rehearsal
from mmcl.strategies.teacher import Teacher
from mmcl.unlearning.methods import unlearn

if TYPE_CHECKING:
    from avalanche.benchmarks.scenarios import CLExperience

    from mmcl.strategies.template import MMCLTemplate


def unlearn_in_stream(
    strategy: MMCLTemplate,
    experience: CLExperience,
    forget: Sequence[int],
    *,
    method: str = "laf",
    remain: Sequence[int] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Unlearn samples between two experiences, in the model, the rehearsal memory and the teacher.

    By default, the method keeps the samples that the learner still has: the memory and the experience's samples,
    without the forgotten ones. If the method fails, the strategy is unchanged.

    Args:
        strategy: strategy of :mod:`mmcl.strategies`, after ``train`` on an experience.
        experience: the experience it was trained on last.
        forget: rows of the data set to forget, from experiences it was trained on.
        method: name of the method, see :func:`~mmcl.unlearning.unlearn`. Here ``retrain`` is not the gold standard,
            which is to train through the whole stream again.
        remain: rows to keep; None for the default above.
        **settings: settings of the method.

    Returns:
        Record for :func:`write_record`, with ``ids``, ``samples``, ``from_memory``, ``memory_before``,
        ``memory_after``, ``method``, ``settings``, ``weights_before`` and ``weights_after``. The last two are
        :func:`~mmcl.encoders.base.weights_hash` of the model.

    Raises:
        StreamError: the experience's stream is a generator.
        ConfigError: the strategy has a read-out, whose statistics would still count the samples.
        DataError: there are no samples to forget or to keep, a row is in both, or the memory still holds a row.
    """
    _check_no_read_out(strategy)
    experience = with_source(experience)
    source, rows = experience.source, list(dict.fromkeys(whole_numbers(forget, "forget", error=DataError)))
    memories = [plugin for plugin in strategy.plugins if isinstance(plugin, Rehearsal)]
    before, in_memory = weights_hash(strategy.model), [row for memory in memories for row in memory.rows]
    if remain is None:
        unwanted = set(rows)
        remain = list(dict.fromkeys(row for row in [*in_memory, *rows_of(experience)] if row not in unwanted))
    if not rows or not remain:
        lacking = "forget" if not rows else "keep"
        raise DataError(f"there are 0 samples to {lacking}, expected at least 1")
    model = unlearn(strategy.model, Selection(source, remain), Selection(source, rows), method=method, **settings)
    removed = [row for memory in memories for row in memory.purge(rows)]
    check_purged(strategy, rows, source)
    _replace_weights(strategy, model)
    return {
        "ids": sample_ids(source, rows),
        "samples": len(rows),
        "from_memory": len(removed),
        "memory_before": len(in_memory),
        "memory_after": sum(len(memory.rows) for memory in memories),
        "method": method,
        "settings": {name: value for name, value in settings.items() if isinstance(value, (int, float, str, bool))},
        "weights_before": before,
        "weights_after": weights_hash(strategy.model),
    }


def _check_no_read_out(strategy: MMCLTemplate) -> None:
    if any(isinstance(plugin, ClosedForm) for plugin in strategy.plugins):
        raise ConfigError(
            "the statistics of the strategy's read-out count the samples to forget: train without it, such as replay "
            "instead of replay@slda"
        )


def _replace_weights(strategy: MMCLTemplate, model: nn.Module) -> None:
    """Load the weights into the strategy's model and its teacher, which would otherwise teach the samples again."""
    strategy.model.load_state_dict(model.state_dict())
    for plugin in strategy.plugins:
        if isinstance(plugin, Teacher) and plugin.model is not None:
            plugin.model.load_state_dict(model.state_dict())


def check_purged(strategy: MMCLTemplate, rows: Sequence[int], source: Dataset) -> None:
    """Check that a strategy's memory holds none of ``rows`` of the data set ``source``.

    Raises:
        DataError: the memory holds some; names the samples.
    """
    unwanted = set(whole_numbers(rows, "rows", error=DataError))
    for plugin in strategy.plugins:
        if isinstance(plugin, Rehearsal) and (held := [row for row in plugin.rows if row in unwanted]):
            ids = ", ".join(sample_ids(source, held[:5]))
            raise DataError(f"the memory still holds {len(held)} samples to forget, first {ids}: purge them")


def write_record(path: str | Path, record: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Write a record as JSON, with entries in ``more`` such as metrics before and after, and return all of it.

    The entry ``digest`` is the SHA-256 of all other entries, which shows later changes.
    """
    whole: dict[str, Any] = {**record, **more}
    whole["digest"] = record_digest(whole)
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return whole


def record_digest(record: Mapping[str, Any]) -> str:
    """Return the digest of a record's other entries.

    >>> record_digest({"samples": 1, "digest": "whatever"}) == record_digest({"samples": 1})
    True
    """
    content = {name: value for name, value in record.items() if name != "digest"}
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
