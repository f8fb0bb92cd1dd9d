"""cached_features: encode a data set once, then read the features from disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
from mmcl.text.suggest import nearest

if TYPE_CHECKING:
    from typing_extensions import Buffer

logger = logging.getLogger(__name__)

_KEEPS = ("auto", "pooled", "sequence")
_DECODING = 1  # raise it when mmcl decodes or resamples all files differently
_DECODED_ANEW = b"decoding 2"  # change it when that is so for files that are not plain


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
    precision: Literal["32", "bf16-mixed"] = "32",
) -> FeatureDataset:
    """Encode what ``encoder`` never changes of each sample, or read it from where an earlier call left it.

    Features are kept by the content of the file, the weights and the preprocessing: whatever of these changes, they are
    computed again. Runs may share the folder.

    Args:
        dataset: its samples are told apart by the content of ``utterances[i].path`` where it has that (what it yields
            must then depend on the file alone), by ``texts[i]`` for a text encoder, else by the waveform.
        encoder: made by :func:`~mmcl.encoders.build_encoder`.
        folder: where the features are kept; None for ``features`` in ``$MMCL_CACHE``, or else in ``~/.cache/mmcl``.
        keep: ``"pooled"`` keeps ``Encoded.pooled`` of a frozen encoder, ``"sequence"`` keeps ``frozen_features``,
            ``"auto"`` the first where the encoder is frozen.
        batch_size: samples encoded at a time.
        progress: show a bar on stderr while encoding.
        device: where to encode.
        half: keep sequences in float16; pooled vectors are kept in float32.
        precision: ``"bf16-mixed"`` encodes in bfloat16 where that is safe (``torch.autocast``): faster on processors
            that have it. Such features are kept apart from those in 32 bits.

    Raises:
        ConfigError: an unknown ``keep``, or ``"pooled"`` of an encoder that is trained.
        DataError: a file cannot be read, features are not finite, or the folder cannot be written.
    """
    if keep not in _KEEPS:
        raise ConfigError(f"unknown keep '{keep}'{nearest(keep, _KEEPS)}, expected one of {', '.join(_KEEPS)}")
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}, expected at least 1")
    if keep == "pooled" and not encoder.frozen:
        raise ConfigError("keep='pooled' of an encoder that is trained would go stale: expected keep='sequence'")
    if not len(dataset):
        raise DataError("the data set has 0 samples, expected at least 1 to encode: check its folder and split")
    pooled = encoder.frozen and keep != "sequence"
    description = f"{encoder.fingerprint()}; {'pooled' if pooled else f'sequence {half=}'}; decoding {_DECODING}"
    if precision != "32":
        description += f"; {precision}"
    name = blake2b(description.encode(), digest_size=16).hexdigest()
    store = FeatureStore((default_folder() if folder is None else Path(folder)) / name, description)

    samples = _Samples(dataset, encoder.modality)
    entries = store.entries(samples.keys)
    kept = sum(key in entries for key in samples.keys)
    logger.info("features of %d of %d samples are in %s", kept, len(samples.keys), store.folder)
    if kept < len(samples.keys):
        with store.writing():
            entries = store.entries(samples.keys)  # another run may have added some while this one waited
            rows = [row for key, row in samples.first_rows().items() if key not in entries]
            _encode(
                samples,
                rows,
                encoder,
                store,
                pooled=pooled,
                half=half,
                batch_size=batch_size,
                progress=progress,
                device=torch.device(device),
                precision=precision,
            )
            entries |= store.entries(samples.keys[row] for row in rows)
    return FeatureDataset(dataset, samples.ids, store.matrix(), [entries[key] for key in samples.keys], pooled)


def default_folder() -> Path:
    """Return the folder of cached features: ``features`` in :func:`~mmcl.files.cache_dir.cache_dir`."""
    return cache_dir() / "features"


class _Samples:
    """What is to be encoded of a data set: keys by content, lengths, and batches."""

    def __init__(self, dataset: Any, modality: str) -> None:
        self.dataset = dataset
        self.modality = modality
        self.texts = list(dataset.texts)
        self.utterances = attributes_of(dataset).utterances if modality == "audio" else None
        self.ids = [str(row) for row in range(len(dataset))]
        if self.utterances is not None:
            with ThreadPoolExecutor(4) as pool:
                self.keys = list(pool.map(_file_key, [utterance.path for utterance in self.utterances]))
            self.ids = [utterance.id for utterance in self.utterances]
        elif modality == "text":
            self.keys = [_key(text.encode()) for text in self.texts]
        else:
            self.keys = [_key(self.dataset[row][modality].contiguous().numpy()) for row in range(len(dataset))]

    def first_rows(self) -> dict[str, int]:
        """Where each key stands first: samples of equal content are encoded once."""
        return {key: row for row, key in reversed(list(enumerate(self.keys)))}

    def length(self, row: int) -> float:
        """How long a sample is, in a unit of its modality."""
        if self.modality == "text":
            return len(self.texts[row])
        if self.utterances is None:
            return len(self.dataset[row][self.modality])
        from mmcl.data.audio import audio_seconds

        return audio_seconds(self.utterances[row].path)

    def inputs(self, rows: Sequence[int], device: torch.device) -> tuple[Any, Tensor | None]:
        """What the encoder takes of ``rows``."""
        if self.modality == "text":
            return [self.texts[row] for row in rows], None
        batch = collate([{self.modality: self.dataset[row][self.modality]} for row in rows]).to(device)
        return batch[self.modality], batch.get(f"{self.modality}_lengths")


def _encode(
    samples: _Samples,
    rows: list[int],
    encoder: Encoder,
    store: FeatureStore,
    *,
    pooled: bool,
    half: bool,
    batch_size: int,
    progress: bool,
    device: torch.device,
    precision: str,
) -> None:
    """Add the features of ``rows`` to ``store``, the longest first so that little is padded."""
    lengths = {row: samples.length(row) for row in rows}
    rows = sorted(rows, key=lambda row: -lengths[row])
    columns = (TextColumn("encoding"), BarColumn(), TaskProgressColumn(), TextColumn("left"), TimeRemainingColumn())
    home = next(chain(encoder.parameters(), encoder.buffers())).device
    was_training = encoder.training
    encoder.to(device).eval()
    cast = torch.autocast(device.type, torch.bfloat16, precision == "bf16-mixed")
    try:
        with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar, torch.no_grad():
            task = bar.add_task("encoding", total=sum(lengths.values()))
            for start in range(0, len(rows), batch_size):
                chosen = rows[start : start + batch_size]
                inputs, input_lengths = samples.inputs(chosen, device)  # decoded in 32 bits
                with cast:
                    features = _features(encoder, inputs, input_lengths, pooled, half)
                for row, array in zip(chosen, features, strict=True):
                    if not np.isfinite(array).all():
                        raise DataError(
                            f"features of '{samples.ids[row]}' are not finite in {array.dtype}: check the recording"
                            + (", or pass half=False" if array.dtype == np.float16 else "")
                        )
                store.append((samples.keys[row], array) for row, array in zip(chosen, features, strict=True))
                bar.advance(task, sum(lengths[row] for row in chosen))
    finally:
        encoder.to(home).train(was_training)


def _features(
    encoder: Encoder, inputs: Any, lengths: Tensor | None, pooled: bool, half: bool
) -> list[NDArray[np.float16 | np.float32 | np.int32]]:
    """The features ``(rows, dim)`` of each sample: one row if pooled, else one a step."""
    if pooled:
        return list(encoder(inputs, lengths).pooled[:, None].float().cpu().numpy())
    sequence, steps = encoder.frozen_features(inputs, lengths)
    dtype = torch.int32 if not sequence.is_floating_point() else torch.float16 if half else torch.float32
    rows = zip(sequence.to(dtype).cpu().numpy(), steps.tolist(), strict=True)
    return [row[:length] for row, length in rows]


def _file_key(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        kind = MissingDataError if isinstance(error, FileNotFoundError) else AudioError
        raise kind(f"{path} cannot be read ({error.strerror}): copy it again from its source") from error
    return _key(content if _is_plain(content) else content + _DECODED_ANEW)


def _is_plain(content: bytes) -> bool:
    """Tell if a file is WAV in whole numbers or FLAC, of one channel: such files were always decoded alike."""
    if content[:4] == b"RIFF":
        return content[12:16] == b"fmt " and content[20:24] == b"\x01\x00\x01\x00"
    return content[:4] == b"fLaC" and len(content) > 20 and content[20] >> 1 & 7 == 0


def _key(content: Buffer) -> str:
    return blake2b(content, digest_size=16).hexdigest()
