"""Export of speech models as ONNX graphs from waveforms, checked against torch on real recordings."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmcl.batch import Batch, collate
from mmcl.data.base import SAMPLE_RATE, Dataset
from mmcl.encoders.waveforms import SHORTEST
from mmcl.errors import ConfigError, ExportError, MissingDataError, MMCLError
from mmcl.models import SLUClassifier, TwoTower
from mmcl.objectives.kernel.unit import directions

TOLERANCE = 1e-4  #: largest allowed difference between a graph and torch
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_PER_DATASET = 4  # recordings
_MAX_SECONDS = 30.0  # longest recording that a graph is checked on


class Graph(NamedTuple):
    """An exported graph and its check against torch.

    Attributes:
        path: The file.
        output: Name of the output.
        recordings: Number of recordings that it was checked on.
        shortest: Duration of the shortest recording in seconds.
        longest: Duration of the longest recording in seconds.
        difference: Largest absolute difference from torch.
    """

    path: Path
    output: str
    recordings: int
    shortest: float
    longest: float
    difference: float


class SpeechTower(nn.Module):
    """Map ``audio`` ``(batch, samples)`` and ``lengths`` ``(batch,)`` in samples to unit vectors ``(batch, dim)``."""

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        self.tower = model.tower("audio")

    def forward(self, audio: Tensor, lengths: Tensor) -> Tensor:
        return directions(self.tower(Batch(audio=audio, audio_lengths=lengths)))


class ClassProbabilities(nn.Module):
    """Map ``audio`` ``(batch, samples)`` and ``lengths`` ``(batch,)`` to probabilities ``(batch, classes)``."""

    def __init__(self, model: SLUClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, audio: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = self.model(Batch(audio=audio, audio_lengths=lengths)).logits
        return logits.softmax(1)


def check_onnx() -> None:
    """Raise ConfigError if a package of the extra ``onnx`` is not installed."""
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise ConfigError(f"--onnx needs {package}, which is not installed: pip install 'mmcl[onnx]'")


def check_listens(model: nn.Module) -> None:
    """Raise ConfigError if a classifier is not for speech."""
    modality = getattr(getattr(model, "encoder", None), "modality", "audio")
    if modality != "audio":
        raise ConfigError(f"--onnx supports models of speech, but this one is for {modality}: export without --onnx")


def export_onnx(model: nn.Module, folder: str | Path, recordings: Sequence[Tensor]) -> Graph:
    """Export the speech tower of a two-tower model, ``speech_tower.onnx``, or a classifier, ``classifier.onnx``.

    Inputs are ``audio``, float32 ``(batch, samples)`` at 16 kHz, padded with zeros, and ``lengths``, int64
    ``(batch,)``. Both dimensions are dynamic. The output is ``speech_embedding``, of unit length, or ``probabilities``.

    Args:
        model: The model in evaluation mode, on the CPU.
        folder: Folder of the file.
        recordings: Waveforms ``(samples,)`` to check the graph on, one by one and in one batch.

    Raises:
        ConfigError: A package is missing, or the model is of another kind.
        ExportError: torch cannot export the encoder, or the graph differs from the model.
    """
    check_onnx()
    module: nn.Module
    if isinstance(model, TwoTower):
        module, name, output = SpeechTower(model).eval(), "speech_tower.onnx", "speech_embedding"
    elif isinstance(model, SLUClassifier):
        module, name, output = ClassProbabilities(model).eval(), "classifier.onnx", "probabilities"
    else:
        raise ConfigError(
            f"--onnx supports two-tower models and classifiers, not {type(model).__name__}: export without --onnx"
        )
    path = Path(folder) / name
    recordings = sorted([recordings[0][:SHORTEST], *recordings], key=len)
    write_graph(module, path, output, recordings)
    difference = check_graph(module, path, recordings)
    lengths = len(recordings[0]) / SAMPLE_RATE, len(recordings[-1]) / SAMPLE_RATE
    return Graph(path, output, len(recordings), *lengths, difference)


def write_graph(module: nn.Module, path: Path, output: str, recordings: Sequence[Tensor]) -> None:
    """Export ``module`` of audio and lengths; raises ExportError if torch cannot."""
    example = _batch(recordings[-2:])
    axes = {"audio": {0: "batch", 1: "samples"}, "lengths": {0: "batch"}}
    any_size = {name: dict.fromkeys(sizes, torch.export.Dim.DYNAMIC) for name, sizes in axes.items()}
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(module, example, dynamic_shapes=any_size, strict=False)
            exported: Any = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["audio", "lengths"],
                output_names=[output],
                dynamic_shapes=axes,
                external_data=False,
                verbose=False,
            )
            exported.model.metadata_props["sample_rate"] = str(SAMPLE_RATE)
            exported.save(str(path))
    except Exception as error:  # torch raises any type for unsupported operations
        reason = " ".join(str(error).split())[:120]
        raise ExportError(
            f"torch cannot export this model as ONNX ({type(error).__name__}: {reason}): export without --onnx"
        ) from error


def check_graph(module: nn.Module, path: Path, recordings: Sequence[Tensor]) -> float:
    """Return the largest difference between a graph and ``module``, on recordings one by one and in one batch.

    Raises:
        ExportError: The difference is larger than :data:`TOLERANCE`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures are raised
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in (*([each] for each in recordings), recordings):
        audio, lengths = _batch(batch)
        with torch.no_grad():
            expected = module(audio, lengths)
        (actual,) = session.run(None, {"audio": audio.numpy(), "lengths": lengths.numpy()})
        difference = float((torch.from_numpy(actual) - expected).abs().max())
        if not difference <= TOLERANCE:
            what = f"a batch of {len(batch)}" if len(batch) > 1 else f"{len(audio[0]) / SAMPLE_RATE:.2f} s"
            raise ExportError(
                f"the ONNX graph differs from the model by {difference:.2g} on {what}, expected at most {TOLERANCE:g}: "
                "export without --onnx"
            )
        worst = max(worst, difference)
    return worst


def max_audio_seconds(model: nn.Module) -> float:
    """Return the maximum duration that the audio encoder accepts, at most 30 seconds."""
    encoder = model.tower("audio").encoder if isinstance(model, TwoTower) else getattr(model, "encoder", None)
    return min(float(getattr(encoder, "max_seconds", _MAX_SECONDS)), _MAX_SECONDS)


def real_recordings(config: Mapping[str, Any], *, max_seconds: float = _MAX_SECONDS) -> list[Tensor]:
    """Return recordings of different lengths from FSDD and Barista, or from the data of a run if both are missing.

    Args:
        config: Config of a run with audio data.
        max_seconds: Maximum duration.

    Raises:
        MissingDataError: There are no recordings on this machine.
    """
    with _quiet():
        found = [each for name in ("fsdd", "barista") for each in _some_of(name, "test", max_seconds)]
        for section in (config.get("data"), config.get("pairs"), *config.get("evaluations", ())):
            if section and not found:
                split = section.get("test") or section.get("valid") or section.get("split")
                found = _some_of(section["name"], split, max_seconds, section.get("root"), **section.get("options", {}))
    if not found:
        raise MissingDataError(
            "--onnx needs recordings to check the graph, but neither fsdd nor barista nor the data of this run is on "
            "this machine: expected one of them in MMCL_DATA"
        )
    return found


def _some_of(name: str, split: str, max_seconds: float, root: str | None = None, **options: Any) -> list[Tensor]:
    """Return a few recordings of a data set from short to long, or [] if it has none or is missing."""
    from mmcl.data import Captions, open_dataset

    try:
        if name == "captions":
            data: Dataset = Captions(options[split])
        else:
            data = open_dataset(name, split, root, **options)
        samples = [data[row] for row in range(0, len(data), max(1, len(data) // 24))]
    except (MMCLError, KeyError):
        return []
    audio = sorted((each["audio"] for each in samples if "audio" in each), key=len)
    audio = [each for each in audio if SHORTEST <= len(each) <= max_seconds * SAMPLE_RATE]
    return [audio[i * (len(audio) - 1) // (_PER_DATASET - 1)] for i in range(_PER_DATASET)] if audio else []


def _batch(recordings: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    batch = collate([{"audio": each} for each in recordings])
    return batch["audio"], batch["audio_lengths"]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch, and disable the attention fast path, which cannot be exported."""
    fast, off = torch.backends.mha.get_fastpath_enabled(), logging.root.manager.disable
    torch.backends.mha.set_fastpath_enabled(False)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        logging.disable(off)
