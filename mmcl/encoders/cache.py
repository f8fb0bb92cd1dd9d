"""Feature cache: encode a data set once, and then read the features from disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor

from mmcl.batch import collate
from mmcl.data.attributes import attributes_of
from mmcl.data.base import Dataset
from mmcl.encoders.base import Encoder
from mmcl.encoders.feature_dataset import FeatureDataset
from mmcl.encoders.feature_store import FeatureStore
from mmcl.errors import AudioError, ConfigError, DataError, MissingDataError
from mmcl.files.cache_dir import cache_dir
from mmcl.precision import Precision, resolved
from mmcl.text.suggest import nearest
from mmcl.threads import ThreadPool

if TYPE_CHECKING:
    from typing_extensions import Buffer

logger = logging.getLogger(__name__)

_KEEPS = ("auto", "pooled", "sequence")
_DECODING = 1  # version of audio decoding and resampling for all files
_DECODING_SUFFIX = b"decoding 2"  # its version for files that are not plain, see _is_plain


def cached_features(
    dataset: Dataset,
    encoder: Encoder,
    folder: str | Path | None = None,
    *,
    keep: str = "auto",
    batch_size: int = 8,
    progress: bool = True,
    device: str | torch.device = "cpu",
    half: bool = True,
    precision: Precision = "32",
) -> FeatureDataset:
    """Encode each sample with the frozen part of ``encoder``, or read features that an earlier call stored.

    Features are stored by the content of a sample and by the encoder's fingerprint, which holds its weights, options
    and preprocessing. If any of these change, the features are computed again. Runs may share the folder.

    Args:
        dataset: audio is identified by the content of the file ``utterances[i].path``, if the data set has utterances;
            the audio must then depend on that file alone. Texts are identified by ``texts[i]``, other samples by their
            values.
        encoder: an encoder of :func:`~mmcl.encoders.build_encoder`.
        folder: folder of the cache; None for ``$MMCL_CACHE/features``, or ``~/.cache/mmcl/features``.
        keep: ``"pooled"`` stores ``Encoded.pooled`` of a frozen encoder. ``"sequence"`` stores ``frozen_features``.
            ``"auto"`` is ``"pooled"`` for a frozen encoder, else ``"sequence"``.
        batch_size: number of samples to encode at a time.
        progress: show a progress bar on stderr.
        device: device to encode on.
        half: store sequences in float16. Pooled vectors are always stored in float32.
        precision: ``"bf16-mixed"`` encodes under ``torch.autocast`` in bfloat16, and ``"auto"`` does so on devices that
            compute in bfloat16. These features are cached separately.

    Raises:
        ConfigError: if ``keep`` is unknown, or ``"pooled"`` with a trained encoder, or ``batch_size`` is below 1.
        DataError: if a file cannot be read, features are not finite, or the folder cannot be written.
    """
    _check_options(dataset, encoder, keep, batch_size)
    form = _Form(encoder.frozen and keep != "sequence", half, resolved(precision, torch.device(device)))
    samples = _Samples(dataset, encoder.modality)
    description = f"{encoder.fingerprint()}; {form.describe()}" + ("" if form.pooled else samples.layout())
    name = blake2b(description.encode(), digest_size=16).hexdigest()
    store = FeatureStore((default_folder() if folder is None else Path(folder)) / name, description)
    spans = store.spans(samples.keys)
    stored = sum(key in spans for key in samples.keys)
    logger.info("features of %d of %d samples are in %s", stored, len(samples.keys), store.folder)
    if stored < len(samples.keys):
        with store.writing():
            spans = store.spans(samples.keys)  # another run may have added some before this one got the lock
            rows = [row for key, row in samples.first_rows().items() if key not in spans]
            encoding = _Encoding(encoder, form, batch_size, torch.device(device), progress)
            encoding.run(samples, rows, store)
            spans |= store.spans(samples.keys[row] for row in rows)
    return FeatureDataset(dataset, samples.ids, store.matrix(), [spans[key] for key in samples.keys], form.pooled)


def default_folder() -> Path:
    """Return the folder of cached features: ``features`` in :func:`~mmcl.files.cache_dir.cache_dir`."""
    return cache_dir() / "features"


def _check_options(dataset: Dataset, encoder: Encoder, keep: str, batch_size: int) -> None:
    if keep not in _KEEPS:
        raise ConfigError(f"unknown keep '{keep}'{nearest(keep, _KEEPS)}, expected one of {', '.join(_KEEPS)}")
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}, expected at least 1")
    if keep == "pooled" and not encoder.frozen:
        raise ConfigError(
            "keep='pooled' needs a frozen encoder, since training changes its output: use keep='sequence'"
        )
    if not len(dataset):
        raise DataError("the data set has 0 samples, expected at least 1 to encode: check its folder and split")


class _Form(NamedTuple):
    """Form in which features are computed and stored."""

    pooled: bool
    half: bool
    precision: str

    def describe(self) -> str:
        kind = "pooled" if self.pooled else f"sequence half={self.half}"
        return f"{kind}; decoding {_DECODING}" + ("" if self.precision == "32" else f"; {self.precision}")


class _Samples:
    """Keys by content, lengths and batches of the samples of a data set."""

    def __init__(self, dataset: Dataset, modality: str) -> None:
        self.dataset = dataset
        self.modality = modality
        self.texts = list(dataset.texts)
        self.utterances = attributes_of(dataset).utterances if modality == "audio" else None
        self.ids = [str(row) for row in range(len(dataset))]
        if self.utterances is not None:
            with ThreadPool(4) as pool:
                self.keys = list(pool.map(_file_key, [utterance.path for utterance in self.utterances]))
            self.ids = [utterance.id for utterance in self.utterances]
        elif modality == "text":
            self.keys = [_key(text.encode()) for text in self.texts]
        else:
            self.keys = [_tensor_key(self.value(row)) for row in range(len(dataset))]

    def value(self, row: int) -> Tensor:
        """Return the waveform, image or vector of a sample."""
        sample: Any = self.dataset[row]
        if self.modality not in sample:
            raise ConfigError(
                f"the encoder is for {self.modality}, but samples have {', '.join(sample)}: choose another encoder or "
                "data set"
            )
        return sample[self.modality]

    def layout(self) -> str:
        """Describe the shape of images, since sequences of images of another width may have another ``dim``."""
        return f"; images {tuple(self.value(0).shape)}" if self.modality == "image" else ""

    def first_rows(self) -> dict[str, int]:
        """Return the first row of each key, since samples of equal content are encoded once."""
        return {key: row for row, key in reversed(list(enumerate(self.keys)))}

    def length(self, row: int) -> float:
        """Return the length of a sample, in a unit that depends on the modality."""
        if self.modality == "text":
            return len(self.texts[row])
        if self.utterances is None:
            return len(self.value(row))
        from mmcl.data.audio import audio_seconds

        return audio_seconds(self.utterances[row].path)

    def inputs(self, rows: Sequence[int], device: torch.device) -> tuple[Tensor | list[str], Tensor | None]:
        """Return the encoder's inputs for ``rows``, and their lengths."""
        if self.modality == "text":
            return [self.texts[row] for row in rows], None
        batch = collate([{self.modality: self.value(row)} for row in rows]).to(device)
        return batch[self.modality], batch.get(f"{self.modality}_lengths")


class _Encoding(NamedTuple):
    """Encoder and options with which missing features are computed."""

    encoder: Encoder
    form: _Form
    batch_size: int
    device: torch.device
    progress: bool

    def run(self, samples: _Samples, rows: Sequence[int], store: FeatureStore) -> None:
        """Encode ``rows`` into ``store``, in order of decreasing length to reduce padding."""
        lengths = {row: samples.length(row) for row in rows}
        rows = sorted(rows, key=lambda row: -lengths[row])
        columns = (TextColumn("encoding"), BarColumn(), TaskProgressColumn(), TextColumn("left"), TimeRemainingColumn())
        original_device = next(chain(self.encoder.parameters(), self.encoder.buffers())).device
        was_training = self.encoder.training
        self.encoder.to(self.device).eval()
        try:
            with Progress(*columns, console=Console(stderr=True), disable=not self.progress) as bar, torch.no_grad():
                task = bar.add_task("encoding", total=sum(lengths.values()))
                for start in range(0, len(rows), self.batch_size):
                    batch = rows[start : start + self.batch_size]
                    self._encode(samples, batch, store)
                    bar.advance(task, sum(lengths[row] for row in batch))
        finally:
            self.encoder.to(original_device).train(was_training)

    def _encode(self, samples: _Samples, rows: Sequence[int], store: FeatureStore) -> None:
        inputs, lengths = samples.inputs(rows, self.device)  # outside autocast, so that decoding stays in float32
        with torch.autocast(self.device.type, torch.bfloat16, self.form.precision == "bf16-mixed"):
            features = self._features(inputs, lengths)
        for row, array in zip(rows, features, strict=True):
            if not np.isfinite(array).all():
                raise DataError(
                    f"features of '{samples.ids[row]}' are not finite in {array.dtype}: check the recording"
                    + (", or pass half=False" if array.dtype == np.float16 else "")
                )
        store.append((samples.keys[row], array) for row, array in zip(rows, features, strict=True))

    def _features(
        self, inputs: Tensor | list[str], lengths: Tensor | None
    ) -> list[NDArray[np.float16 | np.float32 | np.int32]]:
        """Return the features ``(rows, dim)`` of each sample: one row if pooled, else one per step."""
        if self.form.pooled:
            return list(self.encoder(inputs, lengths).pooled[:, None].float().cpu().numpy())
        sequence, steps = self.encoder.frozen_features(inputs, lengths)
        dtype = torch.int32 if not sequence.is_floating_point() else torch.float16 if self.form.half else torch.float32
        arrays = zip(sequence.to(dtype).cpu().numpy(), steps.tolist(), strict=True)
        return [array[:length] for array, length in arrays]


def _file_key(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        kind = MissingDataError if isinstance(error, FileNotFoundError) else AudioError
        raise kind(f"{path} cannot be read ({error.strerror}): copy it again from its source") from error
    return _key(content if _is_plain(content) else content + _DECODING_SUFFIX)


def _is_plain(content: bytes) -> bool:
    """Return True for WAV in integers and FLAC, with one channel: all versions decode such files alike."""
    if content[:4] == b"RIFF":
        return content[12:16] == b"fmt " and content[20:24] == b"\x01\x00\x01\x00"
    return content[:4] == b"fLaC" and len(content) > 20 and content[20] >> 1 & 7 == 0


def _tensor_key(value: Tensor) -> str:
    """Hash type, shape and values; images of equal bytes may differ in shape."""
    layout = "" if value.dim() == 1 and value.dtype == torch.float32 else f"{value.dtype} {tuple(value.shape)} "
    return _key(layout.encode() + value.contiguous().numpy().tobytes())


def _key(content: Buffer) -> str:
    return blake2b(content, digest_size=16).hexdigest()
