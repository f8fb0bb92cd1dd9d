"""Speech encoders with networks of SpeechBrain: ECAPA-TDNN, and wav2vec 2.0, HuBERT and WavLM."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, TDNNBlock
from speechbrain.nnet.CNN import Conv1d
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmcl.batch import length_mask
from mmcl.data.base import SAMPLE_RATE
from mmcl.encoders.base import Encoded, Encoder, check_subsampling, pool, weights_hash
from mmcl.encoders.gate import HUB_NAME, local_file, local_path, model_file
from mmcl.encoders.tuning import freeze_below, is_frozen
from mmcl.encoders.waveforms import checked_lengths
from mmcl.encoders.weights import hub_file, load_weights, read_weights
from mmcl.errors import ConfigError, MissingDataError, ShapeError
from mmcl.freeze import freeze

_HOP = 160  # samples: 10 ms
_FILES = ("embedding_model.safetensors", "embedding_model.ckpt")  # SpeechBrain writes the second
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
    """Build SpeechBrain's ECAPA-TDNN, which embeds speaker and speaking style.

    Args:
        weights: a file, a folder with ``embedding_model.ckpt``, or ``"speechbrain/spkrec-ecapa-voxceleb"`` on the hub;
            None gives random weights. Weights replace ``channels``, ``dim`` and ``mels``.
        channels: channels of each of the 4 layers. The pooled sequence has 3 times as many.
        dim: size of the embedding.
        mels: number of mel bands.
        frozen: train nothing. None means True with weights, unless ``tune_from`` is given. False trains all.
        tune_from: train the layers from this one (0 to 3) on, and the pooling layers after them.
        pooling: ``"own"`` is the embedding; or pooling over the sequence before it, see
            :func:`~mmcl.encoders.base.pool`.
        download: download missing weights from the hub.

    Raises:
        ConfigError: if a size is invalid, or there is no layer ``tune_from``.
        MissingDataError: if the weights are not on this machine.
        DataError: if the weights cannot be read, or are not those of an ECAPA-TDNN.

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
            f"an ECAPA-TDNN cannot have channels={channels}, dim={dim}, mels={mels}: expected channels divisible by 8, "
            "and at least 1 for dim and mels"
        )
    network = ECAPA_TDNN(mels, lin_neurons=dim, channels=[channels] * _LAYERS + [3 * channels])
    if values is not None:
        load_weights(network, values, "speechbrain:ecapa")
    frozen = is_frozen(frozen, weights is not None, tune_from)
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
    """Build the encoder of SpeechBrain's wav2vec 2.0 lobe, which also loads HuBERT and WavLM.

    SpeechBrain's ``forward`` normalizes the whole batch, padding included, and rounds relative lengths. Here the
    network runs as :class:`~mmcl.encoders.wav2vec.Wav2VecEncoder`, which encodes each utterance as if it were alone.

    Args:
        source: a folder in the layout of transformers, or ``"owner/model"`` on the hub.
        frozen: train nothing. None means True, unless ``tune_from`` is given. False trains all layers.
        tune_from, pooling, subsampling, download: as in :func:`~mmcl.encoders.pretrained.pretrained_audio`.

    Raises:
        ConfigError: if there is no ``source``, or the model type is not supported.
        MissingDataError, DataError: as in :func:`~mmcl.encoders.pretrained.pretrained_audio`.
    """
    from speechbrain.integrations.huggingface.wav2vec2 import Wav2Vec2

    from mmcl.encoders.pretrained import waveform_folder
    from mmcl.encoders.wav2vec import Wav2VecEncoder

    if source is None:
        raise ConfigError("'speechbrain:wav2vec2' has no source, expected a folder or \"owner/model\" on the hub")
    check_subsampling(subsampling)
    # The lobe alone would access the hub for local models, and initialize missing weights randomly.
    with waveform_folder(source, download) as (clean, attention):
        folder = str(clean)
        if not (clean / "preprocessor_config.json").is_file():
            raise MissingDataError(f"'{source}' has no preprocessor_config.json, which SpeechBrain needs: copy it")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`gradient_checkpointing_disable` is deprecated", FutureWarning)
            lobe = Wav2Vec2(folder, folder, dtype=torch.float32, attn_implementation=attention, weights_only=True)
        lobe.model.config.name_or_path = lobe.model.name_or_path = str(source)
        return Wav2VecEncoder(
            lobe.model,
            normalize=lobe.normalize_wav,
            tune_from=None if is_frozen(frozen, True, tune_from) else tune_from or 0,
            pooling=pooling,
            subsampling=subsampling,
        )


class EcapaEncoder(Encoder):
    """Encode speech with ECAPA-TDNN (Desplanques et al., 2020), 100 steps per second.

    An utterance gives the same encoding alone and in a padded batch. SpeechBrain reflects the end of the batch instead
    of the end of each utterance. Its front-end measures loudness relative to the whole batch. Here each utterance has
    its own spectrogram, and is reflected at its own end. The exception is training, where BatchNorm includes the
    padding.

    Args:
        network: SpeechBrain's ``ECAPA_TDNN`` with 4 layers.
        mels: number of mel bands. The front-end computes log power minus its mean over the utterance.
        frozen: train nothing.
        tune_from: train the layers from this one on, and the pooling layers. None trains all, unless frozen.
        pooling: ``"own"``, or see :func:`~mmcl.encoders.base.pool`.

    Raises:
        ConfigError: if there is no layer ``tune_from``.
        ShapeError: (when called) if an utterance is too short to be reflected.
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
        self.reflecting = [each for each in network.modules() if isinstance(each, Conv1d) and each.kernel_size > 1]
        self.margin = max((each.kernel_size - 1) // 2 * each.dilation for each in self.reflecting)
        if frozen:
            freeze(self)
        elif tune_from is not None:
            freeze_below("speechbrain:ecapa", tune_from, [], network.blocks)

    @torch.no_grad()
    def frozen_features(self, inputs: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the pooled sequence if frozen, else the input of the trained layers, ``(batch, time, channels)``.

        The input of layer 0 is the log-mel frames. The input of later layers is all outputs from layer 1 on.
        """
        samples = checked_lengths(inputs, lengths)
        lengths = samples // _HOP + 1
        if int(lengths.min()) <= self.margin:
            shortest = self.margin * _HOP
            raise ShapeError(
                f"utterance {int(lengths.argmin())} of the batch has {int(samples.min())} samples, expected at least "
                f"{shortest} ({1000 * shortest // SAMPLE_RATE} ms): remove it"
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
        """Identify the front-end, the frozen weights and, if all is frozen, the pooling."""
        name = f"ecapa 1: {self.front_end.compute_fbanks.n_mels} bands"
        if self.frozen:
            return f"{name}; {weights_hash(self.network)} {self.pooling}"
        return f"{name}; {weights_hash(*self.network.blocks[: self.start])} to {self.start}"

    def _layers(self, features: Tensor, lengths: Tensor, first: int, last: int) -> Tensor:
        """Apply layers ``first`` to ``last - 1``.

        The input ``features`` of layer 0 are the frames, and of layer 1 the output of layer 0. Later layers take the
        concatenated outputs from layer 1 on.
        """
        steps = features.shape[1]
        relative = _relative(lengths, steps)
        source = _reflected_steps(lengths, steps)
        hooks = [
            module.register_forward_pre_hook(lambda _, inputs: (_reflected(inputs[0], *source),))
            for module in self.reflecting
        ]
        try:
            channels = features.transpose(1, 2)
            outputs = list(channels.split(self.channels, dim=1)) if first > 1 else []
            hidden = outputs[-1] if outputs else channels
            for index in range(first, last):
                layer = self.network.blocks[index]
                hidden = layer(hidden) if isinstance(layer, TDNNBlock) else layer(hidden, lengths=relative)
                outputs += [hidden] if index else []
            return (torch.cat(outputs, dim=1) if outputs else hidden).transpose(1, 2)
        finally:
            for hook in hooks:
                hook.remove()


def _relative(lengths: Tensor, steps: int) -> Tensor:
    """Convert lengths to SpeechBrain's relative lengths, which it applies as ``step < relative * steps``.

    Half a step is subtracted so that rounding cannot add or remove a step.
    """
    return (lengths - 0.5) / steps


def _reflected_steps(lengths: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return the source of each step when rows are reflected at their ends, and its validity, ``(batch, steps)``."""
    step = torch.arange(steps, device=lengths.device).expand(len(lengths), -1)
    last = lengths[:, None] - 1
    source = torch.where(step > last, 2 * last - step, step)
    return source.clamp(min=0), source >= 0


def _reflected(channels: Tensor, source: Tensor, valid: Tensor) -> Tensor:
    """Reflect the rows of ``(batch, channels, steps)`` at their own ends."""
    return channels.gather(2, source[:, None, :].expand_as(channels)) * valid[:, None, :]


def _weights_file(weights: str | Path, download: bool) -> Path:
    path = local_path(weights)
    if path is not None and path.is_dir():
        for name in _FILES:
            if (file := model_file(path, name)) is not None:
                return file
        raise MissingDataError(f"folder '{weights}' has no {' or '.join(_FILES)}: expected a model of SpeechBrain")
    if path is not None or not HUB_NAME.fullmatch(str(weights)) or Path(weights).suffix in _SUFFIXES:
        return local_file(weights)
    return hub_file(str(weights), _FILES, f"speechbrain:ecapa {weights}", download=download)
