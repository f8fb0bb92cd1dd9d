"""Experts: copies of a transformer's MLPs, of which each sample of a batch is sent to a given one."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from mmcl.batch import moved
from mmcl.config.whole_numbers import whole_numbers
from mmcl.errors import ConfigError, InputError, ShapeError

#: Names of modules that are an MLP within a layer, and of modules that are one together.
_SINGLE = ("mlp", "ffn", "feed_forward", "DenseReluDense")
_TOGETHER = (("attention", "intermediate", "output"), ("fc1", "fc2"))


def add_experts(model: nn.Module, count: int) -> ExpertRoute:
    """Replace each MLP of a transformer by experts, in place, and return the route that all layers share.

    Each expert starts as a copy of the MLP, so that all of them compute what the model did before. A whole sample goes
    to one expert in all layers, such as that of its domain or task. There is no router and no auxiliary loss. In a
    backward pass, experts without samples get no gradient, also no zeros, so that an optimizer leaves them as they are.

    Mixture of experts for precise embeddings (Gleghorn-Lab), with enforced routing, as its released code is described.
    Differs from the code: no token of the domain in place of the first one, and a wrong number is an error.

    Args:
        model: an encoder of transformers, such as BERT, DistilBERT, ModernBERT, ViT, CLIP, wav2vec 2.0, Whisper or T5.
        count: number of experts, 1 or more.

    Raises:
        ConfigError: the model has no MLP that is known by its name, or the count is below 1.

    >>> layer = nn.ModuleDict({"mlp": nn.Linear(2, 2)})
    >>> route = add_experts(layer, 3)
    >>> route.assign([2, 0])
    >>> layer["mlp"](torch.ones(2, 5, 2)).shape
    torch.Size([2, 5, 2])
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(f"count is {count!r}, expected 1 or more experts")
    found = list(_mlps(model))
    if not found:
        names = ", ".join((*_SINGLE, *(" + ".join(each) for each in _TOGETHER)))
        raise ConfigError(f"{type(model).__name__} has no MLP with one of the names {names}; use another encoder")
    route = ExpertRoute(count)
    for parent, name in found:
        experts = Experts(getattr(parent, name), route)
        setattr(parent, name, experts)
        route.layers.append(experts)
    return route


def _mlps(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield each MLP, or each of its parts, as the module that holds it and its name."""
    children = dict(module.named_children())
    names = [name for name in _SINGLE if name in children]
    for together in _TOGETHER:
        if set(together) <= children.keys():
            names += [name for name in together if name != "attention"]
    for name in names:
        yield module, name
    for name, child in children.items():
        if name not in names:
            yield from _mlps(child)


class ExpertRoute:
    """The expert of each sample, for all layers of a model; see :func:`add_experts`.

    Args:
        count: number of experts.
    """

    def __init__(self, count: int) -> None:
        self.count, self.size = count, 0
        self.layers: list[Experts] = []
        self.rows: dict[int, Tensor] = {}
        self.order = torch.zeros(0, dtype=torch.long)

    def assign(self, experts: Sequence[int] | Tensor) -> None:
        """Set the expert of each sample of the next batches, ``(batch,)``.

        Integers and tensors on the CPU do not wait for a GPU. The route stays until the next call.

        Raises:
            InputError: an expert that is not an integer from 0 to the number of experts less 1.
        """
        numbers = whole_numbers(experts, "experts")
        for place, number in enumerate(numbers):
            if not 0 <= number < self.count:
                raise InputError(f"experts: sample {place} has expert {number}, expected 0 to {self.count - 1}")
        chosen = sorted(set(numbers))
        places = {each: [place for place, number in enumerate(numbers) if number == each] for each in chosen}
        self.size, self.rows = len(numbers), {each: torch.tensor(found) for each, found in places.items()}
        self.order = torch.tensor([place for found in places.values() for place in found]).argsort()

    def grow(self, source: int) -> int:
        """Add a copy of an expert to each layer, such as for a new task, and return its number.

        Raises:
            InputError: there is no such expert.
        """
        self._check(source)
        for layer in self.layers:
            layer.experts.append(copy.deepcopy(layer.experts[source]))
        self.count += 1
        return self.count - 1

    def train_only(self, expert: int) -> None:
        """Freeze all experts but one, which is trained.

        Raises:
            InputError: there is no such expert.
        """
        self._check(expert)
        for layer in self.layers:
            for number, each in enumerate(layer.experts):
                each.requires_grad_(number == expert)

    def _check(self, expert: int) -> None:
        if not 0 <= expert < self.count:
            raise InputError(f"expert is {expert}, expected 0 to {self.count - 1}")


class Experts(nn.Module):
    """Copies of a module, each for its samples of a batch; see :func:`add_experts`.

    Args:
        module: a module whose inputs and output have the batch as their first dimension.
        route: the expert of each sample.
    """

    def __init__(self, module: nn.Module, route: ExpertRoute) -> None:
        super().__init__()
        self.route = route
        self.experts = nn.ModuleList([module, *(copy.deepcopy(module) for _ in range(route.count - 1))])

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the output of each sample's expert, in the order of the batch.

        Raises:
            ShapeError: the batch has another size than the route.
        """
        route, size = self.route, len(inputs[0])
        if size != route.size:
            raise ShapeError(
                f"the batch has {size} samples, and experts are assigned to {route.size}: call assign first"
            )
        if len(route.rows) == 1:
            ((number, _),) = route.rows.items()
            output: Tensor = self.experts[number](*inputs)
            return output
        outputs = []
        for number, rows in route.rows.items():
            chosen = moved(rows, inputs[0].device)
            outputs.append(self.experts[number](*(each.index_select(0, chosen) for each in inputs)))
        return torch.cat(outputs).index_select(0, moved(route.order, inputs[0].device))
