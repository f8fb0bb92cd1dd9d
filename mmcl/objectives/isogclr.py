"""iSogCLR: global contrast with moving averages and a temperature for each sample of the data set."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from mmcl.config.numbers import Count, Factor, NonNegative, Positive
from mmcl.errors import ConfigError, InputError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.info_nce import log_denominators
from mmcl.objectives.kernel.inputs import check_paired, precise
from mmcl.objectives.kernel.pairs import SameLabel
from mmcl.objectives.kernel.products import in_float32
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.memory import SampleNumbers
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, number_of, positive, temperature_of, weight_of

History = Literal["differences", "similarities"]


class ISogCLRLoss(Objective):
    """Contrast with all negatives of the data set by moving averages, with a learned temperature per sample.

    With s the cosine, p(i) the positive of anchor i, N_i its negatives and h_i(z) = <z_i, z> - <z_i, z_p(i)>::

        F = mean_i [ tau_i log mean_{z in data set} exp(h_i(z) / tau_i) + tau_i rho ],   lowest <= tau_i <= highest

    The mean over the data set is a moving average u_i, so that small batches suffice. In each step::

        g_i   = mean_{z in N_i} exp(h_i(z) / tau_i)
        u_i   = (1 - gamma) u_i + gamma g_i                                            u_i = g_i at the first visit
        v_i   = (1 - beta) v_i + beta [ log u_i + rho - mean_{z in N_i} exp(h_i(z) / tau_i) h_i(z) / tau_i / u_i ]
        tau_i = clip(tau_i - step v_i, lowest, highest)
        gradient of the loss = mean_i tau_i / u_i grad g_i

    The value is ``mean_i tau_i (log u_i + rho)``, with the temperature before the step. N_i are both views of all other
    samples; both views are anchors, and share u, v and tau by their mean. With ``bimodal``, anchors of each side are
    compared with the other side alone, and each side has its own numbers. With ``gamma=1`` and ``step=0`` this is DCL
    up to constants: ``temperature (DCL - log |N_i| + rho)``.

    The numbers are buffers. They change in each call in training mode, and are kept in evaluation mode. A single sample
    has no negatives and counts 0.

    Qiu et al. 2023 (arXiv 2305.11965), algorithms 1 and 2. Differs from the paper: mean over both views instead of
    their sum; a first visit is recognized for each sample. The authors' code differs from the paper: its unimodal loss
    averages exp(s / tau) instead of exp(h / tau) (``history="similarities"``, the same for gamma = 1). Its bimodal loss
    adds the positive to the sum of g, whose divisor stays (``count_positive=True``). They clip the gradients of
    temperatures (``clip``: 3 and 5).

    Args:
        temperature: initial temperature of each sample, a number; 0.01 in the paper's bimodal experiments.
        samples: number of samples of the data set.
        gamma: weight of the batch in the moving average, in (0, 1].
        rho: weight of the temperature, 0 or greater. Larger ones give smaller temperatures; 6 for ``bimodal``.
        step: learning rate of temperatures, 0 or greater; 0 keeps them, which is SogCLR.
        beta: weight of the batch in the momentum of temperatures, in (0, 1].
        lowest, highest: range of temperatures; 0.005 to 0.05 for ``bimodal``.
        clip: largest gradient of a temperature; None for no limit.
        bimodal: compare each side with the other side alone.
        history: what the moving average is of: ``"differences"`` h, or ``"similarities"`` s as the authors' code.
        count_positive: add the positive to the sum in g, with ``bimodal``.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; sides that are not paired;
            ``rows`` outside the data set; settings outside their range; a temperature that is not a number.

    >>> objective = ISogCLRLoss(temperature=0.5, samples=10, rho=0.0)
    >>> loss = objective(torch.eye(2), torch.eye(2), torch.tensor([3, 7]))
    >>> round(loss.item(), 4)  # 0.5 log exp((0 - 1) / 0.5)
    -1.0
    """

    takes = ("a", "b", "rows")

    def __init__(
        self,
        temperature: Temperature = 0.1,
        samples: Count = 65536,
        gamma: Factor = 0.9,
        rho: NonNegative = 0.3,
        step: NonNegative = 0.01,
        beta: Factor = 0.9,
        lowest: Positive = 0.05,
        highest: Positive = 0.7,
        clip: Positive | None = None,
        bimodal: bool = False,
        history: History = "differences",
        count_positive: bool = False,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        initial = None if callable(temperature) else number_of(temperature_of(temperature))
        if initial is None:
            raise ConfigError("iSogCLR learns a temperature per sample itself: pass its initial value, a number")
        super().__init__(initial, block_size=block_size, gather=gather)
        for name, share in (("gamma", gamma), ("beta", beta)):
            if number_of(share) is None or not 0 < share <= 1:
                raise InputError(f"{name} is {share!r}, expected a share in (0, 1]")
        for name, value in (("rho", rho), ("step", step)):
            weight_of(name, value)
        if positive("lowest", lowest) > positive("highest", highest):
            raise InputError(f"lowest is {lowest} and highest {highest}, expected lowest <= highest")
        if clip is not None:
            positive("clip", clip)
        if history not in ("differences", "similarities"):
            raise ConfigError(f"history is {history!r}, expected 'differences' or 'similarities'")
        if count_positive and not bimodal:
            raise ConfigError("count_positive has no meaning without bimodal: leave it out")
        self.gamma, self.rho, self.step, self.beta, self.clip = gamma, rho, step, beta, clip
        self.lowest, self.highest, self.bimodal = lowest, highest, bimodal
        self.history, self.count_positive = history, count_positive
        numbers = {"temperature": initial, "log_average": -math.inf, "momentum": 0.0}
        self.numbers = SampleNumbers(samples, **numbers)
        self.other_numbers = SampleNumbers(samples, **numbers) if bimodal else None

    def sample_temperatures(self) -> Tensor:
        """Return the present temperature of each sample, ``(samples,)``; with ``bimodal``, that of the first side.

        >>> ISogCLRLoss(temperature=0.5, samples=2).sample_temperatures()
        tensor([0.5000, 0.5000])
        """
        return self.numbers.get_buffer("temperature").clone()

    def forward(self, a: Tensor, b: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of paired sides.

        Args:
            a, b: ``(batch, dim)`` each.
            rows: index of each sample in its data set, ``(batch,)``.
        """
        check_paired(a=a, b=b)
        tile_size(a.device, self.block_size)
        rows = self.numbers.places(rows, len(a)).to(a.device)
        processes = Processes.of(rows) if self.gather else None
        count = processes.total if processes else len(a)
        if count < 2:
            return 0 * (precise(a)[0].sum() + precise(b)[0].sum())
        samples = torch.arange(len(a), device=a.device) + (processes.own.start if processes else 0)
        (a, b), products = in_float32(a, b)
        with products:
            own = (unit(a) * unit(b)).sum(1)
            if self.other_numbers is None:
                features = torch.cat([a, b])
                total = self._loss(self.numbers, rows, features, features, own, samples, processes)
            else:
                total = self._loss(self.numbers, rows, a, b, own, samples, processes)
                total = total + self._loss(self.other_numbers, rows, b, a, own, samples, processes)
            return total / (2 * count)

    def _loss(
        self,
        numbers: SampleNumbers,
        rows: Tensor,
        queries: Tensor,
        keys: Tensor,
        own: Tensor,
        samples: Tensor,
        processes: Processes | None,
    ) -> Tensor:
        """Return the sum of the losses of all queries, one or two views of each sample, and update the numbers."""
        views = len(queries) // max(len(rows), 1) or 1
        count = processes.total if processes else len(rows)
        ids, own = samples.repeat(views), own.repeat(views)
        temperature = numbers.read("temperature", rows).to(own.dtype).repeat(views)
        compared = None if self.count_positive else SameLabel(ids, ids).complement()
        sums = log_denominators(
            queries, keys, compared, temperature=temperature, block_size=self.block_size, gather=self.gather
        )
        shift = own / temperature if self.history == "differences" else 0 * own
        log_mean = sums - math.log(views * (count - 1)) - shift
        with torch.no_grad():
            log_average = self._averaged(numbers.read("log_average", rows).to(own.dtype).repeat(views), log_mean)
            share = (log_mean - log_average).exp()
            if self.training:
                expected = self._expected(queries, keys, ids, temperature) - shift
                slope = (log_average + self.rho - share * expected).view(views, -1).mean(0)
                self._update(numbers, rows, slope, log_average.view(views, -1), processes)
            value = temperature * (log_average + self.rho)
        # The gradient of tau g / u, with u constant. Without the positive in g, it is apart.
        surrogate = share * temperature * log_mean
        apart = own if self.history == "similarities" else 0
        return (value + surrogate - surrogate.detach() - apart).sum()

    def _averaged(self, old: Tensor, log_mean: Tensor) -> Tensor:
        if self.gamma == 1:
            return log_mean.detach()
        mixed = torch.logaddexp(old + math.log1p(-self.gamma), log_mean + math.log(self.gamma))
        return torch.where(old.isneginf(), log_mean, mixed)

    def _expected(self, queries: Tensor, keys: Tensor, ids: Tensor, temperature: Tensor) -> Tensor:
        """Return the mean of s / tau of each query's negatives, weighted by their exp(s / tau), ``(queries,)``."""
        q, k = precise(queries.detach(), keys.detach())
        q, k, key_ids = unit(q, 1 / temperature[:, None]), unit(k), ids
        if self.gather:
            gathered = Processes.of(k)
            k, key_ids = gathered.gather(k), gathered.gather(ids)
        size, means = tile_size(q.device, self.block_size), [q.new_empty(0)]
        for start in range(0, len(q), size):
            with torch.autocast(q.device.type, enabled=False):
                logits = q[start : start + size] @ k.T
            if not self.count_positive:
                logits = logits.masked_fill(ids[start : start + size, None] == key_ids, torch.finfo(q.dtype).min)
            means.append((logits.softmax(1) * logits).sum(1))
        return torch.cat(means)

    def _update(
        self, numbers: SampleNumbers, rows: Tensor, slope: Tensor, log_averages: Tensor, processes: Processes | None
    ) -> None:
        if self.clip is not None:
            slope = slope.clamp(-self.clip, self.clip)
        momentum = (1 - self.beta) * numbers.read("momentum", rows).to(slope) + self.beta * slope
        temperature = numbers.read("temperature", rows).to(slope) - self.step * momentum
        numbers.write(
            rows,
            processes,
            momentum=momentum,
            temperature=temperature.clamp(self.lowest, self.highest) if self.step else temperature,
            log_average=log_averages.logsumexp(0) - math.log(len(log_averages)),
        )
