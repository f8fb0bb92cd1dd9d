"""Gradient caching: the gradient of a contrastive loss over a large batch, in the memory of small chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from mmcl.errors import ConfigError, ShapeError

_Inputs = TypeVar("_Inputs")
_RandomState: TypeAlias = tuple[Tensor, list[Tensor]]


def gradient_cached_backward(
    objective: Callable[..., Tensor],
    towers: Sequence[Callable[[_Inputs], Tensor]],
    chunks: Sequence[Sequence[_Inputs]],
) -> Tensor:
    """Accumulate the gradients of ``objective`` over all chunks of a batch, and return the loss.

    A contrastive loss compares each row with the whole batch, so that gradients cannot be accumulated chunk by chunk.
    Given the embeddings of the whole batch, however, the chunks are independent::

        1. e_c = tower(chunk c) for each chunk, without a graph     (the random state is recorded)
        2. loss = objective(all e), and g = d loss / d e            (without a graph of the towers)
        3. tower(chunk c) again, and backward of sum <e_c, g_c>     (the graph of one chunk at a time)

    By the chain rule this is exactly the gradient of the whole batch. It costs one more forward pass of each trained
    tower. A tower without trained parameters, such as a locked one, runs once. Gao et al. 2021 (arXiv 2101.06983),
    section 3.

    Args:
        objective: function of one tensor of embeddings ``(batch, dim)`` per tower. Its own parameters get gradients
            too.
        towers: functions or modules that map inputs to embeddings ``(size, dim)``, usually two. The same one twice
            gives two views.
        chunks: for each chunk of the batch, the inputs of each tower.

    Raises:
        ShapeError: no chunk, or the towers return different numbers of rows for a chunk.
        ConfigError: a tower trains batch normalization, whose output would depend on the chunks.

    >>> from mmcl.objectives import CLIPLoss
    >>> tower, batch = nn.Linear(3, 2), torch.randn(6, 3)
    >>> loss = gradient_cached_backward(CLIPLoss(), (tower, tower), [(part, -part) for part in batch.split(2)])
    >>> by_chunks = tower.weight.grad.clone()
    >>> tower.zero_grad()
    >>> CLIPLoss()(tower(batch), tower(-batch)).backward()
    >>> torch.allclose(by_chunks, tower.weight.grad, atol=1e-5)
    True
    """
    if not chunks:
        raise ShapeError("got 0 chunks, expected at least 1: check that the batch is not empty")
    for tower in towers:
        _refuse_batch_norm(tower)
    embeddings, states = _embed(towers, chunks)
    sizes = [len(pair[0]) for pair in embeddings]
    sides = [torch.cat(side).requires_grad_() for side in zip(*embeddings, strict=True)]
    del embeddings
    loss = objective(*sides)
    loss.backward()
    for side, (tower, whole) in enumerate(zip(towers, sides, strict=True)):
        if whole.grad is not None and _is_trained(tower):
            inputs = [chunk[side] for chunk in chunks]
            _backward(tower, inputs, [pair[side] for pair in states], whole.grad.split(sizes))
    return loss.detach()


@torch.no_grad()
def _embed(
    towers: Sequence[Callable[[_Inputs], Tensor]], chunks: Sequence[Sequence[_Inputs]]
) -> tuple[list[list[Tensor]], list[list[_RandomState]]]:
    """Return the embeddings of each chunk by each tower, and the random state before each."""
    embeddings: list[list[Tensor]] = []
    states: list[list[_RandomState]] = []
    for index, chunk in enumerate(chunks):
        embeddings.append([])
        states.append([])
        for tower, inputs in zip(towers, chunk, strict=True):
            states[-1].append(_random_state())
            embeddings[-1].append(tower(inputs))
        sizes = [len(rows) for rows in embeddings[-1]]
        if len(set(sizes)) > 1:
            raise ShapeError(f"chunk {index} has {sizes} rows from the towers, expected equal numbers")
    return embeddings, states


def _backward(
    tower: Callable[[_Inputs], Tensor],
    inputs: Sequence[_Inputs],
    states: Sequence[_RandomState],
    gradients: Sequence[Tensor],
) -> None:
    """Backpropagate the gradients of embeddings through a tower, one chunk at a time."""
    for chunk, state, gradient in zip(inputs, states, gradients, strict=True):
        with _replayed(state):
            embedding = tower(chunk)
        if embedding.requires_grad:
            embedding.backward(gradient.to(embedding.dtype))


def _random_state() -> _RandomState:
    """Return the state of the random generators, so that dropout can be repeated."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    return torch.get_rng_state(), [torch.cuda.get_rng_state(device) for device in devices]


@contextmanager
def _replayed(state: _RandomState) -> Iterator[None]:
    """Restore a random state within the context, and the present one after it."""
    cpu, cuda = state
    with torch.random.fork_rng(devices=range(len(cuda))):
        torch.set_rng_state(cpu)
        for device, values in enumerate(cuda):
            torch.cuda.set_rng_state(values, device)
        yield


def _is_trained(tower: object) -> bool:
    """Whether a tower may have trained parameters; a plain function may."""
    return not isinstance(tower, nn.Module) or any(parameter.requires_grad for parameter in tower.parameters())


def _refuse_batch_norm(tower: object) -> None:
    for name, module in tower.named_modules() if isinstance(tower, nn.Module) else ():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise ConfigError(
                f"layer '{name}' of a tower is trained batch normalization, whose output depends on the chunks: use "
                "layer or group normalization, or train on the whole batch at once"
            )
