"""AttentionPooling: multi-head attention pooling of a sequence into one vector."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu

from mmcl.arguments import takes_tensors
from mmcl.batch import length_mask


class AttentionPooling(nn.Module):
    """Convolution, transformer layers, attention-weighted means of the steps, and a projection.

    Each attention head has one learned query, which gives one weighted mean. The means are concatenated and projected.

    Args:
        source: dimension of the steps.
        dim: dimension of the output.
        hidden: width of the convolution and the transformer layers, divisible by ``heads``.
        kernel: steps of the convolution, odd.
        layers: number of transformer layers.
        heads: number of attention heads, of the pooling and of each transformer layer.
        dropout: dropout rate of the transformer layers and before the projection.

    >>> import torch
    >>> pooling = AttentionPooling(8, 5, hidden=16)
    >>> pooling(torch.zeros(2, 7, 8), torch.tensor([7, 4])).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        source: int,
        dim: int,
        *,
        hidden: int = 512,
        kernel: int = 3,
        layers: int = 0,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.input = nn.Conv1d(source, hidden, kernel, padding=kernel // 2)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                hidden, heads, 2 * hidden, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden)
        self.score = nn.Sequential(nn.Linear(hidden, hidden // heads), nn.Tanh(), nn.Linear(hidden // heads, heads))
        self.output = nn.Sequential(nn.Dropout(dropout), nn.Linear(heads * hidden, dim))

    @takes_tensors
    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Return one vector per sequence, ``(batch, dim)``.

        Args:
            steps: ``(batch, time, source)``.
            lengths: number of valid steps, ``(batch,)``.
        """
        padding = ~length_mask(lengths, steps.shape[1])
        steps = steps.masked_fill(padding[:, :, None], 0.0)  # the convolution reads past the last valid step
        hidden = gelu(self.input(steps.transpose(1, 2)).transpose(1, 2))
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=padding)
        hidden = self.norm(hidden)
        weights = self.score(hidden).masked_fill(padding[:, :, None], float("-inf")).softmax(1)
        return self.output((weights.transpose(1, 2) @ hidden).flatten(1))
