"""FrameScores: a plugin that scores decoded frames (intent, entities and transcript) against their references."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any

from mmcl import distributed
from mmcl.errors import ConfigError, InputError
from mmcl.metrics.slu import slu_f1, word_error_rate
from mmcl.models.frame import Frame
from mmcl.strategies.after_training import AfterTraining

if TYPE_CHECKING:
    from avalanche.benchmarks.scenarios import CLExperience

    from mmcl.strategies.template import MMCLTemplate

_MEASURES = ("word_error_rate", "sequence_error_rate", "slu_f1", "without_intent")


class FrameScores(AfterTraining):
    """Record error rates and SLU-F1 on all experiences seen so far, at every ``strategy.eval``.

    After training on experience ``t``, experiences up to ``t`` are scored together, in any order of evaluation.
    Evaluating an experience again overwrites it. Evaluation before any training is ignored.

    Args:
        stream: name of the stream that is scored; others are ignored.

    Attributes:
        rows: one dictionary per trained experience: ``word_error_rate`` of the transcripts (None if they have no
            words), ``sequence_error_rate`` of the words of whole sequences, intent and entities included (called WER
            in the published tables), ``slu_f1`` (None if no frame has entities), and ``without_intent``, the share of
            sequences without an intent. All are None unless all experiences seen so far were evaluated.

    Raises:
        ConfigError: when training begins, the model does not decode frames.
    """

    def __init__(self, stream: str = "test") -> None:
        super().__init__(stream)
        self.rows: list[dict[str, float | None]] = []
        self._pairs: dict[int, list[tuple[Frame, Frame]]] = {}  # of the current row, by experience

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the model decodes frames."""
        if not hasattr(strategy.model, "frames"):
            kind = type(strategy.model).__name__
            raise ConfigError(f"FrameScores got a {kind}, expected a model that decodes frames: SLUSeq2Seq")

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Start a row."""
        super().before_training_exp(strategy)
        self._pairs = {}

    def before_eval_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Clear the pairs of this experience."""
        if self._is_seen(strategy.experience):
            self._pairs[int(strategy.experience.current_experience)] = []

    def after_eval_iteration(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Collect references and decoded frames."""
        if self._is_seen(strategy.experience):
            references = strategy.model.frames(strategy.mbatch)
            pairs = zip(references, strategy.output.frames, strict=True)
            self._pairs[int(strategy.experience.current_experience)] += pairs

    def after_eval(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Score the row if all experiences seen so far were evaluated."""
        if self.trained < 0 or not self._pairs:
            return
        self.rows += [dict.fromkeys(_MEASURES) for _ in range(self.trained + 1 - len(self.rows))]
        local = [self._pairs[number] for number in sorted(self._pairs)]
        if len(local) == self.trained + 1:
            gathered = distributed.all_gather_object([pair for part in local for pair in part])
            self.rows[self.trained] = frame_scores([pair for part in gathered for pair in part])

    def average(self) -> dict[str, float | None]:
        """Return the mean of each measure over the rows.

        Raises:
            InputError: there is no row, or a row lacks experiences seen so far.
        """
        incomplete = [number for number, row in enumerate(self.rows) if row["without_intent"] is None]
        if incomplete or not self.rows:
            number = incomplete[0] if incomplete else 0
            raise InputError(
                f"after training on experience {number}, not all experiences up to it were evaluated: expected "
                "strategy.eval(benchmark.test_stream) after each training"
            )
        average: dict[str, float | None] = {}
        for name in _MEASURES:
            values = [value for row in self.rows if (value := row[name]) is not None]
            average[name] = fmean(values) if values else None
        return average

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return all rows."""
        return {"rows": [dict(row) for row in self.rows], "trained": self.trained}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore all rows."""
        self.rows = [dict(row) for row in state["rows"]]
        self.trained = state.get("trained", len(self.rows) - 1)
        self._pairs = {}

    def _is_seen(self, experience: CLExperience) -> bool:
        return self.is_scored(experience) and experience.current_experience <= self.trained


def frame_scores(pairs: list[tuple[Frame, Frame]]) -> dict[str, float | None]:
    """Score pairs of a reference and a hypothesis; see :class:`FrameScores`.

    >>> said, decoded = Frame("alarm set", (), "wake me at five"), Frame("alarm set", (), "wake me at nine")
    >>> frame_scores([(said, decoded)])
    {'word_error_rate': 0.25, 'sequence_error_rate': 0.16..., 'slu_f1': None, 'without_intent': 0.0}
    """
    references, hypotheses = [reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs]
    entities = [[frame.entities for frame in frames] for frames in (references, hypotheses)]
    spoken = [frame.transcript for frame in references]
    decoded = [frame.transcript for frame in hypotheses]
    return {
        "word_error_rate": word_error_rate(spoken, decoded) if "".join(spoken).strip() else None,
        "sequence_error_rate": word_error_rate([f.text() for f in references], [f.text() for f in hypotheses]),
        "slu_f1": slu_f1(*entities) if any(map(any, entities)) else None,
        "without_intent": fmean(not frame.intent for frame in hypotheses),
    }
