"""Low-rank adapters (LoRA) in the layers of a pretrained encoder, by the library peft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from mmcl.config.numbers import Count, Positive, Probability
from mmcl.data.base import SAMPLE_RATE
from mmcl.encoders.base import Encoder
from mmcl.errors import ConfigError
from mmcl.text.suggest import nearest

_EXAMPLES: dict[str, Any] = {
    "audio": torch.zeros(1, SAMPLE_RATE // 10),
    "image": torch.full((1, 3, 32, 32), 0.5),
    "text": ["one text"],
}


@dataclass(frozen=True)
class LoRA:
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
    """

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

    @classmethod
    def of(cls, settings: LoRA | Mapping[str, Any]) -> LoRA:
        """Return the settings of a mapping, such as ``{"rank": 4}``.

        Raises:
            ConfigError: a name is unknown.

        >>> LoRA.of({"rank": 4}).alpha
        16.0
        """
        if isinstance(settings, LoRA):
            return settings
        known = cls.__dataclass_fields__
        for name in settings:
            if name not in known:
                raise ConfigError(
                    f"unknown setting '{name}' of LoRA{nearest(name, known)}, expected {', '.join(known)}"
                )
        return cls(**settings)

    @property
    def spec(self) -> dict[str, Any]:
        """The settings as plain data."""
        return {**asdict(self), "targets": None if self.targets is None else list(self.targets)}


def require_peft() -> None:
    """Check that the library peft is installed.

    Raises:
        ConfigError: it is not.
    """
    if find_spec("peft") is None:
        raise ConfigError("LoRA needs the package peft: pip install 'mmcl[peft]', or leave out encoder.lora")


def add_adapters(encoder: Encoder, lora: LoRA, name: str) -> None:
    """Freeze an encoder, and add adapters to the layers that were trained.

    Args:
        encoder: encoder with :meth:`~mmcl.encoders.base.Encoder.tuned_layers`.
        lora: settings of the adapters.
        name: name of the encoder, for errors.

    Raises:
        ConfigError: the encoder has no such layers, a target is not among their linear layers, or the rank is too
            large.
    """
    import peft

    linear = _linear_layers(encoder)
    if not linear:
        raise ConfigError(
            f"'{name}' has no linear layers for LoRA: expected a Whisper, wav2vec 2.0, HuBERT, WavLM, ViT, DINOv2, "
            "CLIP or BERT from a folder or the hub; leave out lora"
        )
    fitting = {key: layer for key, layer in linear.items() if lora.rank <= min(layer.weight.shape)}
    if lora.targets is not None:
        ends = sorted({key.rpartition(".")[2] for key in linear})
        for target in lora.targets:
            if target not in ends:
                raise ConfigError(
                    f"lora.targets of '{name}' has '{target}'{nearest(target, ends)}, expected {', '.join(ends)}"
                )
        linear = {key: layer for key, layer in linear.items() if key.rpartition(".")[2] in lora.targets}
    chosen = linear if lora.targets is not None else fitting
    if not chosen.keys() <= fitting.keys() or not chosen:
        narrowest = min(min(layer.weight.shape) for layer in linear.values())
        raise ConfigError(f"lora.rank is {lora.rank}, but '{name}' has layers {narrowest} wide: set a lower rank")
    encoder.requires_grad_(False)
    settings = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=list(chosen), lora_dropout=lora.dropout, bias="none"
    )
    peft.inject_adapter_in_model(settings, nn.ModuleList(encoder.tuned_layers()))


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
