"""FrameScores: the Avalanche plugin that compares decoded frames with what was said."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from mmcl import distributed
from mmcl.errors import InputError
from mmcl.metrics.slu import slu_f1, word_error_rate
from mmcl.models.frame import Frame
from mmcl.strategies.after_training import AfterTraining

_MEASURES = ("word_error_rate", "sequence_error_rate", "slu_f1", "without_intent")


class FrameScores(AfterTraining):
    """Note error rates and SLU-F1 on all experiences seen so far, at every ``strategy.eval``.

    After training on experience ``t`` those up to ``t`` count, in whatever order or parts they are evaluated; what is
    evaluated again takes the place of what was there. Before any training nothing is noted.

    Args:
        stream: name of the stream whose experiences count; evaluation on others is not noted.

    Attributes:
        rows: one dictionary per experience that was trained: ``word_error_rate`` of the transcripts (None where none
            has a word), ``sequence_error_rate`` of the words of whole sequences, intent and entities included (which
            the published tables call WER), ``slu_f1`` (None where no frame has entities), and ``without_intent``, the
            share of sequences that name none. All are None where not all experiences seen so far were evaluated.
    """

    def __init__(self, stream: str = "test") -> None:
        super().__init__(stream)
        self.rows: list[dict[str, float | None]] = []
        self._pairs: dict[int, list[tuple[Frame, Frame]]] = {}  # by experience, of the row that is being filled

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Begin a row."""
        super().before_training_exp(strategy)
        self._pairs = {}

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Begin with an experience."""
        if self._counts(strategy.experience):
            self._pairs[int(strategy.experience.current_experience)] = []

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Take what was said and what was decoded."""
        if self._counts(strategy.experience):
            said = strategy.model.frames(strategy.mbatch)
            pairs = zip(said, strategy.output.frames, strict=True)
            self._pairs[int(strategy.experience.current_experience)] += pairs

    def after_eval(self, strategy: Any, **kwargs: Any) -> None:
        """Compare."""
        if self.trained < 0 or not self._pairs:
            return
        self.rows += [dict.fromkeys(_MEASURES) for _ in range(self.trained + 1 - len(self.rows))]
        own = [self._pairs[number] for number in sorted(self._pairs)]
        if len(own) == self.trained + 1:
            everyones = distributed.all_gather_object([pair for part in own for pair in part])
            self.rows[self.trained] = frame_scores([pair for part in everyones for pair in part])

    def average(self) -> dict[str, float | None]:
        """Mean of each measure over experiences.

        Raises:
            InputError: there is no row, or one lacks experiences that had been seen.
        """
        lacking = [number for number, row in enumerate(self.rows) if row["without_intent"] is None]
        if lacking or not self.rows:
            number = lacking[0] if lacking else 0
            raise InputError(
                f"after training on experience {number} not all experiences up to it were evaluated: expected "
                "strategy.eval(benchmark.test_stream) after each"
            )
        average: dict[str, float | None] = {}
        for name in _MEASURES:
            there = [value for row in self.rows if (value := row[name]) is not None]
            average[name] = fmean(there) if there else None
        return average

    def state_dict(self, strategy: Any) -> dict[str, Any]:
        """All rows so far."""
        return {"rows": [dict(row) for row in self.rows], "trained": self.trained}

    def load_state_dict(self, state: dict[str, Any], strategy: Any) -> None:
        """Take up rows that :meth:`state_dict` gave."""
        self.rows = [dict(row) for row in state["rows"]]
        self.trained = state.get("trained", len(self.rows) - 1)
        self._pairs = {}

    def _counts(self, experience: Any) -> bool:
        return self.is_scored(experience) and experience.current_experience <= self.trained


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
