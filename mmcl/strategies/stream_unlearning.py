"""Unlearning inside the class-incremental stream: the model, its memory and its teacher, and a record of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.selection import Selection, sample_ids
from mmcl.encoders.base import weights_hash
from mmcl.errors import DataError, StreamError
from mmcl.files.atomic import written_whole
from mmcl.strategies.rehearsal import Rehearsal
from mmcl.strategies.teacher import Teacher
from mmcl.unlearning.methods import unlearn


def unlearn_in_stream(
    strategy: Any,
    experience: Any,
    forget: Sequence[int],
    *,
    method: str = "laf",
    remain: Sequence[int] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Make a strategy forget samples between two experiences: its model, its rehearsal memory and its teacher.

    What is kept is what the learner then still has: the memory without them, and the other samples of the experience
    that it has just learnt. Where a method fails, the strategy stays as it was.

    Args:
        strategy: of :mod:`mmcl.strategies`, after ``train`` on an experience.
        experience: the last that it was trained on.
        forget: rows of the data set, all of experiences that it has been trained on.
        method: see :func:`~mmcl.unlearning.unlearn`; ``retrain`` is not the gold standard here, which is to train
            through the stream again.
        remain: rows to keep, in place of these.
        **settings: of the method.

    Returns:
        What was removed, to be completed and written by :func:`write_record`: ``ids``, ``samples``, ``from_memory``,
        ``memory_before`` and ``memory_after``, ``method``, ``settings``, and ``weights_before`` and ``weights_after``,
        :func:`~mmcl.encoders.base.weights_hash` of the model.

    Raises:
        StreamError: the experience is of another kind of benchmark.
        DataError: there is nothing to forget or to keep, rows are in both, or the memory still holds one after all.
    """
    if not hasattr(experience, "source"):
        raise StreamError("the experience has no 'source': make the benchmark with mmcl.data.class_incremental")
    source, rows = experience.source, list(dict.fromkeys(whole_numbers(forget, "forget", error=DataError)))
    memories = [plugin for plugin in strategy.plugins if isinstance(plugin, Rehearsal)]
    before, held = weights_hash(strategy.model), [row for memory in memories for row in memory.rows]
    if remain is None:
        unwanted = set(rows)
        remain = list(dict.fromkeys(row for row in [*held, *experience.dataset.rows[:]] if row not in unwanted))
    if not rows or not remain:
        lacking = "forget" if not rows else "keep"
        raise DataError(f"there are 0 samples to {lacking}, expected at least 1")
    kept, gone = Selection(source, remain), Selection(source, rows)
    unlearnt = unlearn(strategy.model, kept, gone, method=method, **settings)
    taken = [row for memory in memories for row in memory.purge(rows)]
    check_purged(strategy, rows, source)
    strategy.model.load_state_dict(unlearnt.state_dict())
    for plugin in strategy.plugins:
        if isinstance(plugin, Teacher) and plugin.model is not None:  # else the next experience would teach it again
            plugin.model.load_state_dict(unlearnt.state_dict())
    return {
        "ids": sample_ids(source, rows),
        "samples": len(rows),
        "from_memory": len(taken),
        "memory_before": len(held),
        "memory_after": sum(len(memory.rows) for memory in memories),
        "method": method,
        "settings": {name: value for name, value in settings.items() if isinstance(value, (int, float, str, bool))},
        "weights_before": before,
        "weights_after": weights_hash(strategy.model),
    }


def check_purged(strategy: Any, rows: Sequence[int], source: Any) -> None:
    """Refuse a strategy whose memory still holds some of ``rows`` of the data set ``source``.

    Raises:
        DataError: it does; names the samples.
    """
    unwanted = set(whole_numbers(rows, "rows", error=DataError))
    for plugin in strategy.plugins:
        if isinstance(plugin, Rehearsal) and (held := [row for row in plugin.rows if row in unwanted]):
            ids = ", ".join(sample_ids(source, held[:5]))
            raise DataError(
                f"the memory still holds {len(held)} samples that were to be forgotten, first {ids}: purge it"
            )


def write_record(path: str | Path, record: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Write what was removed as JSON, with ``more`` of it, such as metrics before and after; return all of it.

    Its ``digest`` is the SHA-256 of everything else, so that a record that was changed later is known.
    """
    whole: dict[str, Any] = {**record, **more}
    whole["digest"] = record_digest(whole)
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return whole


def record_digest(record: Mapping[str, Any]) -> str:
    """Return the digest that a record should have.

    >>> record_digest({"samples": 1, "digest": "whatever"}) == record_digest({"samples": 1})
    True
    """
    content = {name: value for name, value in record.items() if name != "digest"}
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
