"""Calibrate the trained model of a run on the validation split, and keep the result beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from mmcl import distributed
from mmcl.batch import Batch
from mmcl.data.base import Dataset
from mmcl.data.own_rows import same_split
from mmcl.data.paired import batch_of
from mmcl.data.selection import Selection
from mmcl.errors import MMCLError
from mmcl.metrics.calibration import (
    Calibrated,
    NotCalibrated,
    calibrate_confidence,
    calibrate_logits,
)
from mmcl.models.saved_calibration import write_calibration
from mmcl.models.sequence_confidence import sequence_confidence
from mmcl.runs.run import Run

if TYPE_CHECKING:
    from mmcl.models.seq2seq import SLUSeq2Seq

logger = logging.getLogger(__name__)

VALID = "valid"  #: name of the validation split
MOST_SAMPLES = 1_000  #: largest number of validation samples that are used, which bounds the time
_BATCH = 64  # samples per step


class ValidationData(NamedTuple):
    """Samples to calibrate with; or None, and the reason."""

    dataset: Dataset | None
    reason: str = ""


def validation_data(
    open_split: Callable[[str], Any],
    used: Collection[str],
    classes: Sequence[str],
    encode: Callable[[Any], Any] = lambda dataset: dataset,
) -> ValidationData:
    """Open the validation split of a run's data.

    At most :data:`MOST_SAMPLES` samples are taken, drawn with a fixed seed that is independent of the run's. A split
    that cannot be read only costs the calibration, because training does not need it.

    Args:
        open_split: opens a split by its name.
        used: splits that the run trains and tests on.
        classes: class names of the training data.
        encode: adds cached features.
    """
    if any(same_split(VALID, [name]) for name in used):
        return ValidationData(None, f"the run trains or tests on the split '{VALID}'")
    try:
        dataset = open_split(VALID)
        if tuple(dataset.classes) != tuple(classes):
            return ValidationData(None, "the validation split has other classes than the training data")
        if len(dataset) > MOST_SAMPLES:
            order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
            dataset = Selection(dataset, sorted(order[:MOST_SAMPLES].tolist()))
        return ValidationData(encode(dataset))
    except MMCLError as error:
        return ValidationData(None, f"the data set has no validation split that can be read ({error})")


def calibrate_run(run: Run, unit: str, valid: ValidationData, model: nn.Module) -> None:
    """Calibrate a trained model, and write ``models/<unit>/calibration.json`` in the folder of the run.

    Random numbers and metrics of the run are the same as without it.

    Args:
        run: the run.
        unit: name of the model, ``<strategy>-seed<seed>``.
        valid: validation samples.
        model: the trained model; it has seen all classes.
    """
    if not distributed.is_main():
        return
    found: Calibrated = NotCalibrated(valid.reason)
    if valid.dataset is not None:
        try:
            found = calibrate(model, valid.dataset)
        except MMCLError as error:
            found = NotCalibrated(f"the model fails on the validation split ({error})")
    if isinstance(found, NotCalibrated):
        logger.info("%s is not calibrated: %s", unit, found.reason)
    write_calibration(run.folder / "models" / unit, found)


@torch.no_grad()
def calibrate(model: nn.Module, valid: Dataset) -> Calibrated:
    """Calibrate a model on validation samples.

    A sequence model is right if intent and entities are. Samples of classes that a classifier has not seen are left
    out.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        batches = (batch_of(valid, rows).to(device) for rows in torch.arange(len(valid)).split(_BATCH))
        if hasattr(model, "decode"):  # a SLUSeq2Seq; importing its module would take seconds
            answers = [_answers(cast("SLUSeq2Seq", model), batch) for batch in batches]
            raw, correct = (torch.cat(each).cpu() for each in zip(*answers, strict=True))
            return calibrate_confidence(raw, correct)
        scored = [(model(batch).logits.float(), batch["label"]) for batch in batches]
    finally:
        model.train(was_training)
    logits, labels = (torch.cat(each).cpu() for each in zip(*scored, strict=True))
    known = logits.gather(1, labels.clamp(max=logits.shape[1] - 1)[:, None])[:, 0].isfinite()
    known &= labels < logits.shape[1]
    return calibrate_logits(logits[known], labels[known])


def _answers(model: SLUSeq2Seq, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the raw confidence of each decoded sequence, and whether intent and entities are right."""
    encoded = model.encode(batch)
    sequences = model.decode(encoded)
    decoded = [model.tokenizer.decode(sequence)[:2] for sequence in sequences]
    correct = [frame[:2] == found for frame, found in zip(model.frames(batch), decoded, strict=True)]
    return sequence_confidence(model, encoded, sequences), torch.tensor(correct)
