"""Gradient caching: the gradient of a contrastive loss over a large batch, in the memory of a small one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from mmcl.errors import ConfigError, ShapeError

_Part = TypeVar("_Part")


def gradient_cached_backward(
    objective: Callable[[Tensor, Tensor], Tensor],
    towers: tuple[Callable[[_Part], Tensor], Callable[[_Part], Tensor]],
    parts: Sequence[tuple[_Part, _Part]],
) -> Tensor:
    """Add to the gradients of all parameters those of ``objective`` over all parts together; return the loss.

    A contrastive loss compares each row with those of the whole batch, so that it cannot be accumulated part by part.
    But given the embeddings of the whole batch, the parts do not need each other any more::

        1. e_p = tower(part p) for each part, without a graph       (what is random in it is remembered)
        2. loss = objective(all e), and g = d loss / d e            (no tower in this graph)
        3. tower(part p) again, and backward of sum <e_p, g_p>      (one part's graph at a time)

    By the chain rule that is the gradient of the whole batch, exactly. It costs one more pass forward, of towers that
    are trained alone: one without parameters to train, such as a locked one, is passed once. Gao et al. 2021 (arXiv
    2101.06983), section 3.

    Args:
        objective: a function of paired embeddings, ``(batch, dim)`` each; its own parameters get their gradients too.
        towers: two functions or modules from a part to embeddings ``(size, dim)``.
        parts: of the batch: what the first tower takes, and the second.

    Raises:
        ShapeError: there is no part, or the towers make different numbers of rows of one.
        ConfigError: a tower has batch normalisation that is trained, whose result would depend on the parts.

    >>> from mmcl.objectives import CLIPLoss
    >>> tower, batch = nn.Linear(3, 2), torch.randn(6, 3)
    >>> loss = gradient_cached_backward(CLIPLoss(), (tower, tower), [(part, -part) for part in batch.split(2)])
    >>> by_parts = tower.weight.grad.clone()
    >>> tower.zero_grad()
    >>> CLIPLoss()(tower(batch), tower(-batch)).backward()
    >>> torch.allclose(by_parts, tower.weight.grad, atol=1e-5)
    True
    """
    if not parts:
        raise ShapeError("there are 0 parts, expected at least 1: check that the batch is not empty")
    for tower in towers:
        _refuse_batch_norm(tower)
    states: list[list[_State]] = []
    embeddings: list[list[Tensor]] = []
    with torch.no_grad():
        for part in parts:
            states.append([])
            embeddings.append([])
            for tower, inputs in zip(towers, part, strict=True):
                states[-1].append(_random_state())
                embeddings[-1].append(tower(inputs))
            if len(embeddings[-1][0]) != len(embeddings[-1][1]):
                raise ShapeError(
                    f"part {len(embeddings) - 1} has {len(embeddings[-1][0])} rows of the first tower and "
                    f"{len(embeddings[-1][1])} of the second, expected pairs"
                )
    first, second = (torch.cat(side).requires_grad_() for side in zip(*embeddings, strict=True))
    loss = objective(first, second)
    loss.backward()
    sizes = [len(pair[0]) for pair in embeddings]
    del embeddings
    for side, (tower, whole) in enumerate(zip(towers, (first, second), strict=True)):
        if whole.grad is None or not _is_trained(tower):
            continue
        for part, state, gradient in zip(parts, states, whole.grad.split(sizes), strict=True):
            with _replayed(state[side]):
                again = tower(part[side])
            if again.requires_grad:
                again.backward(gradient.to(again.dtype))
    return loss.detach()


_State = tuple[Tensor, list[Tensor]]


def _random_state() -> _State:
    """Where the generators of random numbers stand: dropout must drop the same again."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    return torch.get_rng_state(), [torch.cuda.get_rng_state(device) for device in devices]


@contextmanager
def _replayed(state: _State) -> Iterator[None]:
    """Within it random numbers are those that came after ``state``; after it, as if none had been drawn."""
    cpu, cuda = state
    with torch.random.fork_rng(devices=range(len(cuda))):
        torch.set_rng_state(cpu)
        for device, values in enumerate(cuda):
            torch.cuda.set_rng_state(values, device)
        yield


def _is_trained(tower: object) -> bool:
    """A function may hold anything; a module says what is trained of it."""
    return not isinstance(tower, nn.Module) or any(parameter.requires_grad for parameter in tower.parameters())


def _refuse_batch_norm(tower: object) -> None:
    for name, part in tower.named_modules() if isinstance(tower, nn.Module) else ():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training:
            raise ConfigError(
                f"'{name}' of a tower is batch normalisation that is trained: its result depends on how a batch is "
                "parted, expected layer or group normalisation, or the whole batch at once"
            )
