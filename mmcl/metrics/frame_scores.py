"""FrameScores: the Avalanche plugin that compares decoded frames with what was said."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from avalanche.core import SupervisedPlugin

from mmcl import ranks
from mmcl.metrics.slu import slu_f1, word_error_rate
from mmcl.models.frame import Frame


class FrameScores(SupervisedPlugin):
    """Note error rates and SLU-F1 on all experiences seen so far, at every ``strategy.eval(benchmark.test_stream)``.

    Evaluate once after each experience: the first evaluation counts the first experience, the second two, and so on.

    Attributes:
        rows: one dictionary per evaluation: ``word_error_rate`` of the transcripts (None where none has a word),
            ``sequence_error_rate`` of the words of whole sequences, intent and entities included (which the published
            tables call WER), ``slu_f1`` (None where no frame has entities), and ``without_intent``, the share of
            sequences that name none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float | None]] = []
        self._pairs: list[tuple[Frame, Frame]] = []

    def before_eval(self, strategy: Any, **kwargs: Any) -> None:
        """Start anew."""
        self._pairs = []

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Take what was said and what was decoded."""
        if strategy.experience.current_experience <= len(self.rows):
            said = strategy.model.frames(strategy.mbatch)
            self._pairs += zip(said, strategy.output.frames, strict=True)

    def after_eval(self, strategy: Any, **kwargs: Any) -> None:
        """Compare."""
        self._pairs = [pair for part in ranks.everyones(self._pairs) for pair in part]
        self.rows.append(frame_scores(self._pairs))

    def average(self) -> dict[str, float | None]:
        """Mean of each measure over experiences."""
        average: dict[str, float | None] = {}
        for name in self.rows[0]:
            there = [value for row in self.rows if (value := row[name]) is not None]
            average[name] = fmean(there) if there else None
        return average

    def state_dict(self, strategy: Any) -> dict[str, Any]:
        """All rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any], strategy: Any) -> None:
        """Take up rows that :meth:`state_dict` gave."""
        self.rows = list(state["rows"])


def frame_scores(pairs: list[tuple[Frame, Frame]]) -> dict[str, float | None]:
    """Score pairs of a reference and a hypothesis; see :class:`FrameScores`.

    >>> said, decoded = Frame("alarm set", (), "wake me at five"), Frame("alarm set", (), "wake me at nine")
    >>> frame_scores([(said, decoded)])
    {'word_error_rate': 0.25, 'sequence_error_rate': 0.16..., 'slu_f1': None, 'without_intent': 0.0}
    """
    said, decoded = [reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs]
    entities = [[frame.entities for frame in frames] for frames in (said, decoded)]
    spoken = [frame.transcript for frame in said]
    heard = [frame.transcript for frame in decoded]
    return {
        "word_error_rate": word_error_rate(spoken, heard) if "".join(spoken).strip() else None,
        "sequence_error_rate": word_error_rate([f.text() for f in said], [f.text() for f in decoded]),
        "slu_f1": slu_f1(*entities) if any(map(any, entities)) else None,
        "without_intent": fmean(not frame.intent for frame in decoded),
    }
