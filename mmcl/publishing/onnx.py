"""ONNX: what a model makes of speech as one graph, waveforms in, checked against torch on real recordings."""

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

TOLERANCE = 1e-4  #: largest difference of a graph from torch
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_EACH = 4  # recordings of a data set
_LONGEST = 30.0  # seconds of a recording that a graph is checked on


class Graph(NamedTuple):
    """A graph that was exported: its file, the name of what it gives, and how it was checked: on how many recordings,
    the seconds of the shortest and the longest, and the largest difference from torch."""

    path: Path
    output: str
    recordings: int
    shortest: float
    longest: float
    difference: float


class SpeechTower(nn.Module):
    """``audio`` ``(batch, samples)`` and its ``lengths`` ``(batch,)`` in samples -> unit vectors ``(batch, dim)``."""

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        self.tower = model.tower("audio")

    def forward(self, audio: Tensor, lengths: Tensor) -> Tensor:
        return directions(self.tower(Batch(audio=audio, audio_lengths=lengths)))


class NamedClasses(nn.Module):
    """``audio`` ``(batch, samples)`` and its ``lengths`` ``(batch,)`` -> probabilities ``(batch, classes)``."""

    def __init__(self, model: SLUClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, audio: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = self.model(Batch(audio=audio, audio_lengths=lengths)).logits
        return logits.softmax(1)


def check_onnx() -> None:
    """Raise ConfigError unless the packages of the extra ``onnx`` are installed."""
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise ConfigError(f"--onnx needs {package}, which is not installed: pip install 'mmcl[onnx]'")


def export_onnx(model: nn.Module, folder: str | Path, recordings: Sequence[Tensor]) -> Graph:
    """Write the speech tower of two towers, ``speech_tower.onnx``, or a classifier of speech, ``classifier.onnx``.

    A graph takes ``audio``, float32 ``(batch, samples)`` at 16 kHz, zero after each of the ``lengths``, int64
    ``(batch,)``; batch and samples are any. It gives ``speech_embedding``, of unit length, or ``probabilities``.

    Args:
        model: in evaluation mode, on the CPU.
        folder: where the file goes.
        recordings: waveforms ``(samples,)`` that the graph is checked on, each alone and all in one batch.

    Raises:
        ConfigError: a package is missing, or a model of another kind.
        ExportError: torch cannot make a graph of the encoder, or the graph differs from the model.
    """
    check_onnx()
    module: nn.Module
    if isinstance(model, TwoTower):
        module, name, output = SpeechTower(model).eval(), "speech_tower.onnx", "speech_embedding"
    elif isinstance(model, SLUClassifier):
        module, name, output = NamedClasses(model).eval(), "classifier.onnx", "probabilities"
    else:
        raise ConfigError(
            f"--onnx is for two towers and classifiers, and this is a {type(model).__name__}: leave it out"
        )
    path = Path(folder) / name
    recordings = sorted([recordings[0][:SHORTEST], *recordings], key=len)
    write_graph(module, path, output, recordings)
    difference = check_graph(module, path, recordings)
    lengths = len(recordings[0]) / SAMPLE_RATE, len(recordings[-1]) / SAMPLE_RATE
    return Graph(path, output, len(recordings), *lengths, difference)


def write_graph(module: nn.Module, path: Path, output: str, recordings: Sequence[Tensor]) -> None:
    """Write ``module`` of audio and lengths as ONNX; raises ExportError where torch cannot."""
    example = _batch(recordings[-2:])
    axes: Any = {"audio": {0: "batch", 1: "samples"}, "lengths": {0: "batch"}}
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
    except Exception as error:  # of any kind: torch tells of what an encoder does by whatever stumbles over it
        reason = " ".join(str(error).split())[:120]
        raise ExportError(
            f"torch makes no ONNX graph of this model ({type(error).__name__}: {reason}): export it without --onnx"
        ) from error


def check_graph(module: nn.Module, path: Path, recordings: Sequence[Tensor]) -> float:
    """Return the largest difference of a graph from ``module``, on recordings alone and in one batch.

    Raises:
        ExportError: it is larger than :data:`TOLERANCE`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for together in (*([each] for each in recordings), recordings):
        audio, lengths = _batch(together)
        with torch.no_grad():
            expected = module(audio, lengths)
        (given,) = session.run(None, {"audio": audio.numpy(), "lengths": lengths.numpy()})
        difference = float((torch.from_numpy(given) - expected).abs().max())
        if not difference <= TOLERANCE:
            what = f"a batch of {len(together)}" if len(together) > 1 else f"{len(audio[0]) / SAMPLE_RATE:.2f} s"
            raise ExportError(
                f"the ONNX graph differs from the model by {difference:.2g} on {what}, expected at most {TOLERANCE:g}: "
                "export it without --onnx"
            )
        worst = max(worst, difference)
    return worst


def longest_heard(model: nn.Module) -> float:
    """Return how many seconds a model's audio encoder takes at most, or a graph is checked on, whichever is less."""
    encoder = model.tower("audio").encoder if isinstance(model, TwoTower) else getattr(model, "encoder", None)
    return min(float(getattr(encoder, "max_seconds", _LONGEST)), _LONGEST)


def real_recordings(config: Mapping[str, Any], *, max_seconds: float = _LONGEST) -> list[Tensor]:
    """Return recordings of different lengths: of FSDD and barista where they are, else of the data of a run.

    Args:
        config: of a run that has audio.
        max_seconds: longer ones are left out.

    Raises:
        MissingDataError: there is none on this machine.
    """
    with _quiet():
        found = [each for name in ("fsdd", "barista") for each in _some_of(name, "test", max_seconds)]
        for section in (config.get("data"), config.get("pairs"), *config.get("evaluations", ())):
            if section and not found:
                split = section.get("test") or section.get("valid") or section.get("split")
                found = _some_of(section["name"], split, max_seconds, section.get("root"), **section.get("options", {}))
    if not found:
        raise MissingDataError(
            "--onnx checks the graph on recordings, and neither fsdd nor barista nor the data of this run is on this "
            "machine: expected one of them in MMCL_DATA"
        )
    return found


def _some_of(name: str, split: str, max_seconds: float, root: str | None = None, **options: Any) -> list[Tensor]:
    """A few recordings of a data set, from short to long; none where it is not here or has none."""
    from mmcl.data import Captions, open_dataset

    try:
        if name == "captions":
            data: Dataset = Captions(options[split])
        else:
            data = open_dataset(name, split, root, **options)
        some = [data[row] for row in range(0, len(data), max(1, len(data) // 24))]
    except (MMCLError, KeyError):
        return []
    audio = sorted((each["audio"] for each in some if "audio" in each), key=len)
    audio = [each for each in audio if SHORTEST <= len(each) <= max_seconds * SAMPLE_RATE]
    return [audio[place * (len(audio) - 1) // (_EACH - 1)] for place in range(_EACH)] if audio else []


def _batch(recordings: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    batch = collate([{"audio": each} for each in recordings])
    return batch["audio"], batch["audio_lengths"]


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing that torch prints of its own making, and attention in steps that a graph can hold."""
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
