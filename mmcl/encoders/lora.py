"""Low-rank adapters (LoRA) in the layers of a pretrained encoder, by the library peft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from torch import nn

from mmcl.config.numbers import Count, Positive, Probability
from mmcl.data.base import SAMPLE_RATE
from mmcl.encoders.additions import Addition
from mmcl.encoders.base import Encoder
from mmcl.errors import ConfigError
from mmcl.text.suggest import nearest

_EXAMPLES: dict[str, Any] = {
    "audio": torch.zeros(1, SAMPLE_RATE // 10),
    "image": torch.full((1, 3, 32, 32), 0.5),
    "text": ["one text"],
}


@dataclass(frozen=True)
class LoRA(Addition):
    """Settings of low-rank adapters, LoRA, Hu et al. 2021, arXiv 2106.09685, equation 3.

    A linear layer ``W x + b`` of the encoder becomes ``W x + b + alpha / rank * B A dropout(x)``. Only A ``(rank, in)``
    and B ``(out, rank)`` are trained. B is zero at first, so the encoder starts as it was.

    Differs from the paper: all linear layers of a transformer layer have an adapter by default, and not the
    projections of queries and values alone.

    Args:
        rank: rank of the adapters.
        alpha: scale of the adapters; their output is multiplied by ``alpha / rank``.
        targets: names of the linear layers with an adapter, such as ``q_proj``; none: all that are not narrower than
            the rank.
        dropout: dropout rate of the adapters' input.

    Raises:
        ConfigError: a setting is out of range.

    >>> LoRA.of({"rank": 4}).spec
    {'rank': 4, 'alpha': 16.0, 'targets': None, 'dropout': 0.0}
    """

    key: ClassVar[str] = "lora"

    rank: Count = 8
    alpha: Positive = 16.0
    targets: Sequence[str] | None = None
    dropout: Probability = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"LoRA has rank={self.rank}, alpha={self.alpha}, dropout={self.dropout}: expected rank of 1 or more, "
                "alpha above 0, dropout of 0 or more and below 1"
            )

    def check(self) -> None:
        """Raise ConfigError if peft is not installed."""
        if find_spec("peft") is None:
            raise ConfigError("LoRA needs the package peft: pip install 'mmcl[peft]', or leave out encoder.lora")

    def added_to(self, encoder: Encoder, name: str) -> Encoder:
        """Freeze an encoder, and add adapters to the layers that were tuned."""
        import peft

        chosen = self._chosen(_linear_layers(encoder), name)
        encoder.requires_grad_(False)
        settings = peft.LoraConfig(
            r=self.rank, lora_alpha=self.alpha, target_modules=chosen, lora_dropout=self.dropout, bias="none"
        )
        peft.inject_adapter_in_model(settings, nn.ModuleList(encoder.tuned_layers()))
        return encoder

    def _chosen(self, linear: Mapping[str, nn.Linear], name: str) -> list[str]:
        """Return the names of the linear layers that get an adapter."""
        if not linear:
            raise ConfigError(
                f"'{name}' has no linear layers for LoRA: expected a Whisper, wav2vec 2.0, HuBERT, WavLM, ViT, DINOv2, "
                "CLIP or BERT from a folder or the hub; leave out lora"
            )
        ends = sorted({key.rpartition(".")[2] for key in linear})
        for target in self.targets or ():
            if target not in ends:
                raise ConfigError(
                    f"lora.targets of '{name}' has '{target}'{nearest(target, ends)}, expected {', '.join(ends)}"
                )
        asked = [key for key in linear if self.targets is None or key.rpartition(".")[2] in self.targets]
        wide = [key for key in asked if self.rank <= min(linear[key].weight.shape)]
        if not wide or (self.targets is not None and wide != asked):
            narrowest = min(min(linear[key].weight.shape) for key in asked)
            raise ConfigError(f"lora.rank is {self.rank}, but '{name}' has layers {narrowest} wide: set a lower rank")
        return wide


@torch.no_grad()
def _linear_layers(encoder: Encoder) -> dict[str, nn.Linear]:
    """Return the linear layers within the tuned layers, by name.

    Only those that are called are among them. Some attention layers, such as WavLM's, read the weights of a linear
    layer without calling it, and would ignore an adapter.
    """
    modules = nn.ModuleList(encoder.tuned_layers())
    linear = {name: each for name, each in modules.named_modules() if isinstance(each, nn.Linear)}
    called: set[str] = set()
    handles = [each.register_forward_hook(lambda *_, name=name: called.add(name)) for name, each in linear.items()]
    modes = [(module, module.training) for module in encoder.modules()]
    try:
        if linear:
            encoder.eval()(_EXAMPLES[encoder.modality])
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    return {name: each for name, each in linear.items() if name in called}
