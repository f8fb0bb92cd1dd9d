"""LAF: label-agnostic forgetting, which unlearns samples without reading labels.

The model is split into a feature extractor and a classifier. Unlearning has two stages:

1. Two autoencoders are trained on representations of the original model: one on all data, one on the forgotten samples.
2. The extractor is trained on batches of both data sets. On each batch it takes a step on L_UE
   (:func:`~mmcl.objectives.laf.extractor_unlearning`) and a step on L_RA
   (:func:`~mmcl.objectives.laf.representation_alignment`). L_UE moves representations of forgotten samples to where the
   second autoencoder fails, and keeps remaining ones where the first succeeds. L_RA restores the original
   representations of remaining samples.

The classifier is not trained, and the model stays in evaluation mode.

LAF, Shen et al., arXiv 2404.00506, phases (i) to (iii); defaults are those of the released code for its small network.
Differs from the released code: original representations are computed once, so data is not augmented.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcl.batch import Batch, moved
from mmcl.data.base import Dataset
from mmcl.data.selection import Selection
from mmcl.data.torch_dataset import Samples, as_dataset
from mmcl.errors import ConfigError
from mmcl.freeze import freeze
from mmcl.models.vae import RepresentationVAE
from mmcl.objectives.laf import extractor_unlearning, representation_alignment
from mmcl.unlearning.loop import OnEpoch, adam, checked_sets, shuffled_batches, train_epochs
from mmcl.unlearning.parts import Inputs, Parts


def unlearn_laf(
    model: nn.Module,
    remain: Samples,
    forget: Samples,
    *,
    classifier: str | None = None,
    epochs: int = 20,
    unlearning_learning_rate: float = 5e-5,
    alignment_learning_rate: float = 1e-4,
    temperature: float = 20.0,
    phi: bool = True,
    batch_size: int = 32,
    latent: int = 8,
    output: Literal["sigmoid", "linear"] = "sigmoid",
    vae_epochs: int = 10,
    vae_learning_rate: float = 1e-3,
    kl_weight: float = 0.025,
    vae_on: Literal["all", "remain"] = "all",
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> nn.Module:
    """Return a copy of ``model`` that has forgotten ``forget``; no label is read.

    LAF, Shen et al., arXiv 2404.00506; the top of this module describes the method.

    Args:
        model, remain, forget: trained model, samples to keep and to forget; see :func:`~mmcl.unlearning.unlearn`.
        classifier: name of the module that classifies; see :class:`~mmcl.unlearning.parts.Parts`.
        epochs: passes over the smaller data set.
        unlearning_learning_rate, alignment_learning_rate: learning rates of Adam for L_UE and L_RA.
        temperature, phi: temperature of L_RA; bound the reconstruction errors in L_UE, as the released code does.
        batch_size: samples of each data set per step, and samples per step of the autoencoders.
        latent, output: code size and output layer of :class:`~mmcl.models.vae.RepresentationVAE`.
        vae_epochs, vae_learning_rate, kl_weight: epochs, learning rate of Adam and KL weight of the autoencoders.
        vae_on: data of the first autoencoder: ``"all"``, as the paper approximates, or ``"remain"``.
        device, on_epoch: device to train on, and a function called with phase, epoch (from 1) and mean loss.

    Raises:
        DataError: a data set is empty, or a sample is in both.
        ConfigError: no classifier is found, or a setting is out of range.
        TrainingError: a loss is not finite.
    """
    remain, forget = checked_sets(remain, forget)
    if vae_on not in ("all", "remain") or batch_size < 1:
        raise ConfigError(f"vae_on={vae_on!r}, batch_size={batch_size}: expected all or remain, and 1 or more")
    parts, data = Parts(deepcopy(model).to(device), classifier), (remain, forget)
    original = tuple(parts.represent(each, device=device).representation.to(device) for each in data)
    training = _VAETraining(vae_epochs, vae_learning_rate, kl_weight, batch_size, on_epoch, data)
    fit = partial(_fit_vae, latent=latent, output=output, training=training)
    known = fit(torch.cat(original) if vae_on == "all" else original[0], f"autoencoder of {vae_on}")
    unwanted = fit(original[1], "autoencoder of forget")
    losses = _Losses(parts, (Inputs(remain), Inputs(forget)), original, known, unwanted, temperature, phi, device)
    extractor = parts.extractor_parameters()
    steps = [
        (losses.unlearning, adam(extractor, unlearning_learning_rate)),
        (losses.alignment, adam(extractor, alignment_learning_rate)),
    ]
    batches = partial(_row_pairs, len(remain), len(forget), batch_size)
    train_epochs("unlearning", epochs, batches, steps, on_epoch, begin=parts.model.eval, data=data)
    return parts.model.eval()


def repair(
    model: nn.Module,
    remain: Samples,
    *,
    classifier: str | None = None,
    samples: int | None = None,
    epochs: int = 1,
    learning_rate: float = 1e-4,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> nn.Module:
    """Return a copy of ``model`` with the classifier trained on labelled samples of ``remain``: the R of LAF+R.

    The paper does not give the settings of its repair; the defaults follow the released code.

    Args:
        model: model after unlearning.
        remain: labelled samples.
        classifier: name of the module that classifies; see :class:`~mmcl.unlearning.parts.Parts`.
        samples: number of samples, drawn at random; None for all.
        epochs: passes over these samples.
        learning_rate: learning rate of Adam, for the cross-entropy.
        batch_size: samples per step.
        device: where the model is trained.
        on_epoch: called after each epoch with phase, epoch and mean loss.

    Raises:
        DataError: there are 0 samples.
        ConfigError: no classifier is found.
        TrainingError: a loss is not finite.
    """
    remain = as_dataset(remain)
    count = len(remain) if samples is None else min(samples, len(remain))
    labelled = Selection(remain, torch.randperm(len(remain))[:count].tolist())
    parts = Parts(deepcopy(model).to(device), classifier)

    def loss_of(batch: Batch) -> Tensor:
        return cross_entropy(parts(batch).logits, batch["label"])

    steps = [(loss_of, adam(parts.classifier_parameters(), learning_rate))]
    batches = partial(shuffled_batches, labelled, batch_size, device)
    train_epochs("repair", epochs, batches, steps, on_epoch, begin=parts.model.eval, data=[labelled])
    return parts.model.eval()


class _VAETraining(NamedTuple):
    """Settings of the training of both autoencoders."""

    epochs: int
    learning_rate: float
    kl_weight: float
    batch_size: int
    on_epoch: OnEpoch | None
    data: Sequence[Dataset]


def _fit_vae(
    representations: Tensor,
    phase: str,
    latent: int,
    output: Literal["sigmoid", "linear"],
    training: _VAETraining,
) -> RepresentationVAE:
    """Return a frozen autoencoder trained on representations, ``(samples, dim)``."""
    vae = RepresentationVAE(representations.shape[1], latent, output).to(representations.device)

    def batches() -> list[Tensor]:
        rows = torch.randperm(len(representations)).split(training.batch_size)
        return [representations[moved(each, representations.device)] for each in rows]

    step = (lambda batch: vae.loss(batch, training.kl_weight), adam(list(vae.parameters()), training.learning_rate))
    train_epochs(phase, training.epochs, batches, [step], training.on_epoch, begin=vae.train, data=training.data)
    return freeze(vae)


def _row_pairs(remain: int, forget: int, batch_size: int) -> list[tuple[Tensor, Tensor]]:
    """Rows of the batches of an epoch, of both data sets given by their sizes."""
    return list(zip(*(torch.randperm(size).split(batch_size) for size in (remain, forget)), strict=False))


class _Losses(NamedTuple):
    """L_UE and L_RA as functions of a batch, given by its rows in both data sets."""

    parts: Parts
    inputs: tuple[Inputs, Inputs]
    original: tuple[Tensor, ...]  # representations by the original model, of remain and forget
    known: RepresentationVAE
    unwanted: RepresentationVAE
    temperature: float
    phi: bool
    device: str | torch.device

    def unlearning(self, rows: tuple[Tensor, Tensor]) -> Tensor:
        remain, forget = self._represent(rows)
        return extractor_unlearning(self.known.errors(remain), self.unwanted.errors(forget), phi=self.phi)

    def alignment(self, rows: tuple[Tensor, Tensor]) -> Tensor:
        remain, forget = self._represent(rows)
        before = [original[moved(each, original.device)] for original, each in zip(self.original, rows, strict=True)]
        return representation_alignment(remain, before[0], forget, before[1], self.temperature)

    def _represent(self, rows: tuple[Tensor, Tensor]) -> list[Tensor]:
        return [
            self.parts(inputs.batch(each).to(self.device)).representation
            for inputs, each in zip(self.inputs, rows, strict=True)
        ]
