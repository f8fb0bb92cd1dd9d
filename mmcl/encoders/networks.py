"""Networks on log-mel frames that map a padded sequence to a shorter one, independent of the padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.models import Conformer

from mmcl.batch import length_mask
from mmcl.encoders.base import weights_hash
from mmcl.encoders.tracing import max_length


class ConvolutionNetwork(nn.Module):
    """Two strided convolutions (4 frames per step), then residual convolutions with dilations 1, 2, 4, ..."""

    def __init__(self, mels: int, dim: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.dim = dim
        self.subsampling = Subsampling(mels, dim)
        self.blocks = nn.ModuleList(Convolution(dim, dim, kernel=3, dilation=2**number) for number in range(blocks))
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        sequence, lengths = self.subsampling(frames, lengths)
        for block in self.blocks:
            sequence = sequence + block(sequence, lengths)[0]
        return self.dropout(sequence), lengths  # once: dropout in every block took a tenth of the time

    def fingerprint(self) -> str:
        """Identify the weights."""
        return weights_hash(self)


class ConformerNetwork(nn.Module):
    """Two strided convolutions (4 frames per step), then torchaudio's Conformer.

    Differs from the paper: the convolution modules normalize each step on its own (LayerNorm), and padding is zero.
    torchaudio normalizes over the batch or over all steps, padding included. The encoding of an utterance would then
    depend on the rest of its batch, and on the classes seen last.
    """

    def __init__(self, mels: int, dim: int, layers: int, heads: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.dim = dim
        self.heads = heads
        self.subsampling = Subsampling(mels, dim)
        self.conformer = Conformer(dim, heads, 4 * dim, layers, kernel, dropout=dropout)
        self.padding = _ZeroPadding()
        for layer in self.conformer.conformer_layers:
            convolution = layer.conv_module.sequential
            convolution[3] = _ChannelNorm(dim)
            convolution.insert(2, self.padding)  # before the depthwise convolution, which mixes steps

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        sequence, lengths = self.subsampling(frames, lengths)
        steps = sequence[:, : max_length(lengths, sequence.shape[1])].transpose(0, 1)
        mask = length_mask(lengths, steps.shape[0])
        self.padding.mask = mask[:, None, :]
        for layer in self.conformer.conformer_layers:  # the mask of Conformer.forward cannot be exported
            steps = layer(steps, ~mask)
        return steps.transpose(0, 1), lengths

    def fingerprint(self) -> str:
        """Identify the weights, and the number of heads, which no weight shows."""
        return f"{weights_hash(self)} {self.heads} heads"


class Subsampling(nn.Module):
    """Two convolutions over 5 frames with stride 2: ``time`` becomes ``ceil(time / 4)``."""

    def __init__(self, mels: int, dim: int) -> None:
        super().__init__()
        self.first = Convolution(mels, dim // 2, kernel=5, stride=2)
        self.second = Convolution(dim // 2, dim, kernel=5, stride=2)

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.second(*self.first(frames, lengths))


class Convolution(nn.Module):
    """Convolution over time, LayerNorm per step, and ReLU, independent of padding and of the rest of the batch.

    Computed as one matrix product on ``(batch, time, channels)``, a third faster on the CPU than ``nn.Conv1d``.
    """

    def __init__(self, channels: int, dim: int, *, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride, self.dilation = kernel, stride, dilation
        self.linear = nn.Linear(kernel * channels, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, sequence: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        time, margin = sequence.shape[1], (self.kernel - 1) // 2 * self.dilation
        sequence = sequence * length_mask(lengths, time)[:, :, None]
        sequence = nn.functional.pad(sequence, (0, 0, margin, margin))
        taps = [sequence[:, tap * self.dilation :][:, : time : self.stride] for tap in range(self.kernel)]
        return self.norm(self.linear(torch.cat(taps, dim=-1))).relu(), (lengths - 1) // self.stride + 1


class _ZeroPadding(nn.Module):
    """Zero the padding of ``(batch, channels, time)``; ``mask`` is set before each batch."""

    mask: Tensor

    def forward(self, channels: Tensor) -> Tensor:
        return channels * self.mask


class _ChannelNorm(nn.Module):
    """LayerNorm over the channels of ``(batch, channels, time)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, channels: Tensor) -> Tensor:
        return self.norm(channels.transpose(1, 2)).transpose(1, 2)
