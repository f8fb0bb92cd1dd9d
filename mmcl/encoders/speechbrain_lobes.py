"""Speech networks of speechbrain: ECAPA-TDNN, and wav2vec 2.0 and its kin by way of transformers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, TDNNBlock
from speechbrain.nnet.CNN import Conv1d
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmcl.batch import length_mask
from mmcl.encoders.base import Encoded, Encoder, check_subsampling, pool, weights_hash
from mmcl.encoders.gate import HUB_NAME, file_of, own_file, place
from mmcl.encoders.tuning import freeze_below
from mmcl.encoders.waveforms import checked_lengths
from mmcl.encoders.weights import hub_file, load_weights, read_weights
from mmcl.errors import ConfigError, MissingDataError, ShapeError
from mmcl.freeze import freeze

_HOP = 160  # samples: 10 ms
_FILES = ("embedding_model.safetensors", "embedding_model.ckpt")  # the second is how speechbrain calls it
_SUFFIXES = (".ckpt", ".pt", ".safetensors")
_LAYERS = 4


def ecapa(
    *,
    weights: str | Path | None = None,
    channels: int = 512,
    dim: int = 192,
    mels: int = 80,
    frozen: bool | None = None,
    tune_from: int | None = None,
    pooling: str = "own",
    download: bool = False,
) -> EcapaEncoder:
    """Build speechbrain's ECAPA-TDNN; ``pooling="own"`` is its embedding of the voice and manner of an utterance.

    Args:
        weights: a file, a folder with ``embedding_model.ckpt``, or ``"speechbrain/spkrec-ecapa-voxceleb"`` on the hub;
            None draws random ones. Sizes are those of the weights.
        channels: of each of the four layers; three times that are pooled.
        dim: of the embedding.
        mels: bands of the front-end.
        frozen: train nothing; None is True where there are weights and no ``tune_from``. False trains all.
        tune_from: train the layers from this one on, of four, and the end.
        pooling: ``"own"``, or over the sequence that it pools, see :func:`~mmcl.encoders.base.pool`.
        download: fetch weights that are not on this machine from the hub.

    Raises:
        ConfigError: sizes that cannot be, or no layer ``tune_from``.
        MissingDataError: the weights are not on this machine.
        DataError: the weights cannot be read, or are not those of an ECAPA-TDNN.

    >>> encoder = ecapa(channels=16, dim=8, frozen=True)
    >>> encoded = encoder(torch.randn(2, 16000), torch.tensor([16000, 8000]))
    >>> encoded.sequence.shape, encoded.lengths.tolist(), encoded.pooled.shape
    (torch.Size([2, 101, 48]), [101, 51], torch.Size([2, 8]))
    """
    values = None if weights is None else read_weights(_weights_file(weights, download))
    if values is not None and {"blocks.0.conv.conv.weight", "fc.conv.weight"} <= set(values):
        channels, mels = values["blocks.0.conv.conv.weight"].shape[:2]
        dim = len(values["fc.conv.weight"])
    if channels < 8 or channels % 8 or dim < 1 or mels < 1:
        raise ConfigError(
            f"an ECAPA-TDNN with channels={channels}, dim={dim}, mels={mels} cannot be built: expected channels that 8 "
            "divides, and at least 1 of the others"
        )
    network = ECAPA_TDNN(mels, lin_neurons=dim, channels=[channels] * _LAYERS + [3 * channels])
    if values is not None:
        load_weights(network, values, "speechbrain:ecapa")
    frozen = (weights is not None and tune_from is None) if frozen is None else frozen
    return EcapaEncoder(network, mels=mels, frozen=frozen, tune_from=tune_from, pooling=pooling)


def wav2vec2(
    *,
    source: str | Path | None = None,
    frozen: bool | None = None,
    tune_from: int | None = None,
    pooling: str = "mean",
    subsampling: int = 1,
    download: bool = False,
) -> Encoder:
    """Build the encoder of speechbrain's wav2vec 2.0 lobe, which also holds HuBERT and WavLM.

    speechbrain's own ``forward`` normalizes a batch as a whole, padding included, and takes relative lengths, which are
    rounded; here the lobe's network runs as :class:`~mmcl.encoders.wav2vec.Wav2VecEncoder`, where an utterance is
    encoded as it is alone.

    Args:
        source: a folder in the layout of transformers, or ``"owner/model"`` on the hub.
        frozen, tune_from, pooling, subsampling, download: as of a pretrained audio encoder.

    Raises:
        ConfigError: no ``source``, or a model of another kind.
        MissingDataError, DataError: as of a pretrained audio encoder.
    """
    from speechbrain.integrations.huggingface.wav2vec2 import Wav2Vec2

    from mmcl.encoders.pretrained import waveform_folder
    from mmcl.encoders.wav2vec import Wav2VecEncoder

    if source is None:
        raise ConfigError("'speechbrain:wav2vec2' has no source, expected a folder or \"owner/model\" on the hub")
    check_subsampling(subsampling)
    # The lobe would ask the hub even for what is here, and draw weights that are missing.
    end: dict[str, Any] = {"pooling": pooling, "subsampling": subsampling}
    end["tune_from"] = None if frozen or (frozen is None and tune_from is None) else tune_from or 0
    with waveform_folder(source, download) as (clean, attention):
        folder = str(clean)
        if not (clean / "preprocessor_config.json").is_file():
            raise MissingDataError(f"'{source}' has no preprocessor_config.json, which speechbrain needs: copy it")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`gradient_checkpointing_disable` is deprecated", FutureWarning)
            lobe = Wav2Vec2(folder, folder, dtype=torch.float32, attn_implementation=attention, weights_only=True)
        lobe.model.config.name_or_path = lobe.model.name_or_path = str(source)
        return Wav2VecEncoder(lobe.model, normalize=lobe.normalize_wav, **end)


class EcapaEncoder(Encoder):
    """Encode speech with ECAPA-TDNN (Desplanques et al., 2020), 100 steps a second.

    A batch gives what its utterances give alone. speechbrain's convolutions mirror the end of the batch, not that of an
    utterance, and its front-end measures loudness against the padding's company: here each utterance has its own
    spectrum, and is mirrored at its own end. Differs from that only in training, where BatchNorm counts the padding.

    Args:
        network: speechbrain's ``ECAPA_TDNN`` with four layers.
        mels: bands of the front-end: log power, from which the mean over the utterance is taken.
        frozen: train nothing.
        tune_from: train the layers from this one on, and the end; None, where not frozen, trains all.
        pooling: ``"own"``, or see :func:`~mmcl.encoders.base.pool`.

    Raises:
        ConfigError: there is no layer ``tune_from``.
        ShapeError: (when called) an utterance is too short to be mirrored.
    """

    modality = "audio"

    def __init__(
        self,
        network: ECAPA_TDNN,
        *,
        mels: int,
        frozen: bool,
        tune_from: int | None = None,
        pooling: str = "own",
    ) -> None:
        super().__init__()
        self.network = network
        self.front_end = Fbank(n_mels=mels)
        self.pooling = pooling
        self.channels, self.dim = network.channels[0], network.channels[-1]
        self.own_dim = network.fc.conv.out_channels
        self.frozen = frozen
        self.start = len(network.blocks) if frozen else tune_from or 0
        self.mirrors = [module for module in network.modules() if isinstance(module, Conv1d) and module.kernel_size > 1]
        self.widest = max((module.kernel_size - 1) // 2 * module.dilation for module in self.mirrors)
        if frozen:
            freeze(self)
        elif tune_from is not None:
            freeze_below("speechbrain:ecapa", tune_from, [], network.blocks)

    @torch.no_grad()
    def frozen_features(self, inputs: Any, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what is pooled, or where layers are trained what they need of those before, ``(batch, time,
        channels)``: of all layers that, or of the first the log-mel frames."""
        samples = checked_lengths(inputs, lengths)
        lengths = samples // _HOP + 1
        if int(lengths.min()) <= self.widest:
            shortest = self.widest * _HOP
            raise ShapeError(
                f"utterance {int(lengths.argmin())} of the batch has {int(samples.min())} samples, expected at least "
                f"{shortest} ({1000 * shortest // 16_000} ms): leave it out"
            )
        rows = []
        for row, length in zip(inputs, samples.tolist(), strict=True):
            frames = self.front_end(row[None, :length])[0].to(row.dtype)
            rows.append(frames - frames.mean(0))
        features = self._layers(pad_sequence(rows, batch_first=True), lengths, 0, self.start)
        if self.frozen:
            features = self.network.mfa(features.transpose(1, 2)).transpose(1, 2)
        return features * length_mask(lengths, features.shape[1])[:, :, None], lengths

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        if not self.frozen:
            features = self._layers(features, lengths, self.start, _LAYERS)
            features = self.network.mfa(features.transpose(1, 2)).transpose(1, 2)
            features = features * length_mask(lengths, features.shape[1])[:, :, None]
        if self.pooling != "own":
            return Encoded(features, lengths, pool(features, lengths, self.pooling))
        statistics = self.network.asp(features.transpose(1, 2), lengths=_relative(lengths, features.shape[1]))
        pooled = self.network.fc(self.network.asp_bn(statistics))[:, :, 0]
        return Encoded(features, lengths, pooled)

    def fingerprint(self) -> str:
        """Name the front-end, the frozen weights and, where all is frozen, the pooling."""
        name = f"ecapa 1: {self.front_end.compute_fbanks.n_mels} bands"
        if self.frozen:
            return f"{name}; {weights_hash(self.network)} {self.pooling}"
        return f"{name}; {weights_hash(*self.network.blocks[: self.start])} to {self.start}"

    def _layers(self, features: Tensor, lengths: Tensor, first: int, last: int) -> Tensor:
        """Run some layers. What goes into layer 0 are frames, into layer 1 its output, and into the others the outputs
        of all from layer 1 on, side by side."""
        steps = features.shape[1]
        relative = _relative(lengths, steps)
        place = _mirrored_places(lengths, steps)
        hooks = [
            module.register_forward_pre_hook(lambda _, inputs: (_mirrored(inputs[0], *place),))
            for module in self.mirrors
        ]
        try:
            channels = features.transpose(1, 2)
            outputs = list(channels.split(self.channels, dim=1)) if first > 1 else []
            hidden = outputs[-1] if outputs else channels
            for number in range(first, last):
                layer = self.network.blocks[number]
                hidden = layer(hidden) if isinstance(layer, TDNNBlock) else layer(hidden, lengths=relative)
                outputs += [hidden] if number else []
            return (torch.cat(outputs, dim=1) if outputs else hidden).transpose(1, 2)
        finally:
            for hook in hooks:
                hook.remove()


def _relative(lengths: Tensor, steps: int) -> Tensor:
    """Lengths as speechbrain takes them, of which it makes ``step < relative * steps``: half a step less, so that
    rounding neither adds nor takes a step."""
    return (lengths - 0.5) / steps


def _mirrored_places(lengths: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Which step to take for each, ``(batch, steps)``: beyond the end of a row its mirror image; and where one is."""
    place = torch.arange(steps, device=lengths.device).expand(len(lengths), -1)
    last = lengths[:, None] - 1
    source = torch.where(place > last, 2 * last - place, place)
    return source.clamp(min=0), source >= 0


def _mirrored(channels: Tensor, source: Tensor, there: Tensor) -> Tensor:
    """Mirror rows of ``(batch, channels, steps)`` at their own ends."""
    return channels.gather(2, source[:, None, :].expand_as(channels)) * there[:, None, :]


def _weights_file(weights: str | Path, download: bool) -> Path:
    path = place(weights)
    if path is not None and path.is_dir():
        for name in _FILES:
            if (file := own_file(path, name)) is not None:
                return file
        raise MissingDataError(f"folder '{weights}' has no {' or '.join(_FILES)}: expected a model of speechbrain")
    if path is not None or not HUB_NAME.fullmatch(str(weights)) or Path(weights).suffix in _SUFFIXES:
        return file_of(weights)
    return hub_file(str(weights), _FILES, f"speechbrain:ecapa {weights}", download=download)
