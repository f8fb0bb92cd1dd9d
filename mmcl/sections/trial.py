"""Trial: a model, trained once, that every unlearning method is applied to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from mmcl.files.loading import entry, load_state, snapshot
from mmcl.freeze import trainable_state
from mmcl.sections.unlearning import UnlearningSection
from mmcl.seeding import seed_everything
from mmcl.unlearning.loop import OnEpoch
from mmcl.unlearning.measures import unlearning_measures
from mmcl.unlearning.methods import unlearn
from mmcl.unlearning.removal import speakers_of
from mmcl.unlearning.retraining import check_classes, train_classifier
from mmcl.unlearning.sisa import sisa, train_sharded

if TYPE_CHECKING:
    from avalanche.benchmarks.scenarios import CLExperience

    from mmcl.data.selection import Selection
    from mmcl.models.classifier import SLUClassifier
    from mmcl.strategies.rehearsal import Rehearsal
    from mmcl.strategies.template import MMCLTemplate


class Trial:
    """Train a model on all samples, and apply unlearning methods to it.

    Args:
        settings: config section.
        train, test: training and test data.
        seed: seed of the samples to forget, weights and batches.
        on_epoch: function called with phase, epoch and loss.
        saved: value of :attr:`saved` of an earlier trial, to skip the training; None for a stream.

    Raises:
        CheckpointError: ``saved`` belongs to another model.

    Attributes:
        removal: samples to forget and to keep.
        model: the model trained on all samples.
        seconds: time of its training.
        saved: state of the model and ``seconds``; None for a stream.
    """

    def __init__(
        self,
        settings: UnlearningSection,
        train: Any,
        test: Any,
        seed: int,
        *,
        on_epoch: OnEpoch | None = None,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings, self.train, self.test, self.seed, self.on_epoch = settings, train, test, seed, on_epoch
        self.removal = settings.removal.choose(train, test, seed)
        self._strategy: MMCLTemplate | None = None
        started = time.monotonic()
        if saved:
            model = settings.build(train, self.removal.train.rows)
            what = "the state of the model before forgetting"
            load_state(model, entry(saved, "model", what), what)
            self.model, self.seconds = model.eval(), float(entry(saved, "seconds", what))
            return
        self.model, self._strategy, self._last = self._learn(self.removal.train)
        self.seconds = time.monotonic() - started
        if self._strategy is not None:
            self._memory = _memory_of(self._strategy)

    @property
    def saved(self) -> dict[str, Any] | None:
        """State of the model and the seconds of its training; None for a stream."""
        if self._strategy is not None:
            return None
        return {"model": snapshot(trainable_state(self.model)), "seconds": self.seconds}

    def forget(self, method: str, **settings: Any) -> tuple[nn.Module, float, dict[str, Any] | None]:
        """Apply an unlearning method.

        ``retrain`` trains a new model without the samples to forget, in the stream if there is one.

        Returns:
            The model after forgetting, the seconds that it took, and in a stream the record of the removal, else None.
        """
        seed_everything(self.seed)
        started = time.monotonic()
        if method == "retrain":
            check_classes(self.removal.remain)
            model, *_ = self._learn(self.removal.remain)
            return model, time.monotonic() - started, None
        if method == "sisa":
            return *self._forget_shards(), None
        settings = {**settings, "device": self.settings.device, "on_epoch": self.on_epoch}
        remain, forget = self.removal.remain, self.removal.forget
        if self._strategy is None:
            model = unlearn(self.model, remain, forget, method=method, **settings)
            return model, time.monotonic() - started, None
        from mmcl.strategies.stream_unlearning import unlearn_in_stream

        strategy = self._strategy
        strategy.model.load_state_dict(self.model.state_dict())
        for plugin, memory in self._memory.items():
            plugin.memory = dict(memory)
        kept = remain.rows if self.settings.stream is not None and self.settings.stream.keep == "all" else None
        record = unlearn_in_stream(strategy, self._last, forget.rows, method=method, remain=kept, **settings)
        return deepcopy(strategy.model).eval(), time.monotonic() - started, record

    def _forget_shards(self) -> tuple[nn.Module, float]:
        """Train a model in shards and apply sisa; return it and the seconds of sisa."""
        data, settings, removal = self.removal.train, self.settings, self.removal
        sharded = train_sharded(
            lambda: settings.build(self.train, data.rows),
            data,
            shards=settings.shards,
            groups=speakers_of(data) if settings.shards_by == "speaker" else None,
            on_epoch=self.on_epoch,
            **settings.recipe(),
        )
        started = time.monotonic()
        model = sisa(sharded, removal.remain, removal.forget, device=settings.device, on_epoch=self.on_epoch)
        return model, time.monotonic() - started

    def measure(self, model: nn.Module) -> dict[str, float]:
        """Return a model's measures, see :func:`~mmcl.unlearning.measures.unlearning_measures`."""
        apart = self.settings.removal.kind in ("class", "speaker")
        return unlearning_measures(model, self.removal, apart=apart, seed=self.seed, device=self.settings.device)

    def _learn(self, data: Selection) -> tuple[nn.Module, MMCLTemplate | None, CLExperience | None]:
        """Train on ``data``; return the model and, for a stream, the strategy and the last experience."""
        seed_everything(self.seed)
        model = self.settings.build(self.train, data.rows)
        stream = self.settings.stream
        if stream is None:
            recipe = self.settings.recipe()
            return train_classifier(model, data, **recipe, phase="training", on_epoch=self.on_epoch), None, None
        absent = sorted(set(range(len(data.classes))) - set(data.labels))
        strategy, last = stream.learn(
            cast("SLUClassifier", model), data, self.test, self.seed, absent, self.settings.device
        )
        return deepcopy(strategy.model).eval(), strategy, last


def _memory_of(strategy: MMCLTemplate) -> dict[Rehearsal, dict[int, list[int]]]:
    from mmcl.strategies.rehearsal import Rehearsal

    return {plugin: dict(plugin.memory) for plugin in strategy.plugins if isinstance(plugin, Rehearsal)}
