"""LAF: label-agnostic forgetting, which unlearns samples without reading a label."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcl.batch import Batch
from mmcl.data.base import Dataset
from mmcl.data.selection import Selection
from mmcl.errors import ConfigError
from mmcl.freeze import freeze
from mmcl.models.vae import RepresentationVAE
from mmcl.objectives.laf import extractor_unlearning, representation_alignment
from mmcl.unlearning.loop import OnEpoch, adam, check_apart, shuffled_batches, train_epochs
from mmcl.unlearning.parts import Inputs, Parts


def unlearn_laf(
    model: nn.Module,
    remain: Dataset,
    forget: Dataset,
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
    """Return a copy of ``model`` that has forgotten ``forget``; no label of either set is read.

    Two autoencoders learn the representations of the model as it was, one of all data and one of what is forgotten.
    Then each batch takes a step on L_UE (:func:`~mmcl.objectives.laf.extractor_unlearning`), which moves
    representations out of what the second knows and holds them in what the first knows, and a step on L_RA
    (:func:`~mmcl.objectives.laf.representation_alignment`), which brings those of the remaining samples back to
    what they were. An epoch is one pass over the smaller set. The classifier stays as it is, and the model in
    evaluation mode.

    LAF, Shen et al., arXiv 2404.00506, phases (i) to (iii); numbers of the released code for its small network. Differs
    from the released code: representations of the model as it was are computed once, so that data is not augmented.

    Args:
        model: trained on both sets; see :class:`~mmcl.unlearning.parts.Parts` for what it has to be.
        remain: what is to be kept.
        forget: what is to be forgotten.
        classifier: name of the part that classifies.
        epochs: of unlearning.
        unlearning_learning_rate, alignment_learning_rate: of Adam, for the two losses.
        temperature: of L_RA.
        phi: whether L_UE bounds errors, as released.
        batch_size: samples of each set, and of an autoencoder's step.
        latent, output: of the autoencoders, see :class:`~mmcl.models.vae.RepresentationVAE`.
        vae_epochs, vae_learning_rate, kl_weight: of their training.
        vae_on: what the first learns, ``"all"`` data, as the paper approximates, or what is to ``"remain"``.
        device: where to compute.
        on_epoch: called with phase, epoch and loss.

    Raises:
        DataError: a set is empty, or a sample is in both.
        ConfigError: no classifier is found, or sizes that cannot be.
        TrainingError: a loss that is not finite.
    """
    check_apart(remain, forget)
    if vae_on not in ("all", "remain") or batch_size < 1:
        raise ConfigError(f"vae_on={vae_on!r}, batch_size={batch_size}: expected all or remain, and 1 or more")
    parts = Parts(deepcopy(model).to(device), classifier)
    kept, gone = Inputs(remain), Inputs(forget)
    before = [parts.represent(each, device=device).representation.to(device) for each in (remain, forget)]
    learnt = (torch.cat(before) if vae_on == "all" else before[0], before[1])
    known, unwanted = (
        _train_autoencoder(
            RepresentationVAE(each.shape[1], latent, output).to(device),
            each,
            f"autoencoder of {name}",
            (vae_epochs, vae_learning_rate, kl_weight, batch_size),
            on_epoch,
            (remain, forget),
        )
        for name, each in zip((vae_on, "forget"), learnt, strict=True)
    )

    def batches() -> list[tuple[Tensor, Tensor]]:
        rows = (torch.randperm(len(each)).split(batch_size) for each in (kept, gone))
        return list(zip(*rows, strict=False))

    def represent(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        both = [parts(data.batch(rows).to(device)) for data, rows in zip((kept, gone), pair, strict=True)]
        return both[0].representation, both[1].representation

    def forgets(pair: tuple[Tensor, Tensor]) -> Tensor:
        stays, goes = represent(pair)
        return extractor_unlearning(known.errors(stays), unwanted.errors(goes), phi=phi)

    def aligns(pair: tuple[Tensor, Tensor]) -> Tensor:
        stays, goes = represent(pair)
        return representation_alignment(stays, before[0][pair[0]], goes, before[1][pair[1]], temperature)

    extractor = parts.extractor_parameters()
    steps = [
        (forgets, adam(extractor, unlearning_learning_rate)),
        (aligns, adam(extractor, alignment_learning_rate)),
    ]
    train_epochs("unlearning", epochs, batches, steps, on_epoch, begin=parts.model.eval, data=[remain, forget])
    return parts.model.eval()


def repair(
    model: nn.Module,
    remain: Dataset,
    *,
    classifier: str | None = None,
    samples: int | None = None,
    epochs: int = 1,
    learning_rate: float = 1e-4,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> nn.Module:
    """Return a copy of ``model`` whose classifier is trained on some labelled samples that remain: the R of LAF+R.

    What the paper's repair takes is not known; these numbers are a reading of the released code.

    Args:
        model: that has unlearnt.
        remain: labelled samples.
        classifier: name of the part that classifies.
        samples: how many of them, drawn at random; None for all.
        epochs, learning_rate, batch_size: of Adam, on cross-entropy.
        device: where to compute.
        on_epoch: called with phase, epoch and loss.

    Raises:
        DataError: there are 0 samples.
        ConfigError: no classifier is found.
        TrainingError: a loss that is not finite.
    """
    count = len(remain) if samples is None else min(samples, len(remain))
    labelled = Selection(remain, torch.randperm(len(remain))[:count].tolist())
    parts = Parts(deepcopy(model).to(device), classifier)

    def loss_of(batch: Batch) -> Tensor:
        return cross_entropy(parts(batch).logits, batch["label"])

    steps = [(loss_of, adam(parts.classifier_parameters(), learning_rate))]
    batches = partial(shuffled_batches, labelled, batch_size, device)
    train_epochs("repair", epochs, batches, steps, on_epoch, begin=parts.model.eval, data=[labelled])
    return parts.model.eval()


def _train_autoencoder(
    vae: RepresentationVAE,
    representations: Tensor,
    phase: str,
    recipe: tuple[int, float, float, int],
    on_epoch: OnEpoch | None,
    data: Sequence[Dataset],
) -> RepresentationVAE:
    """Train an autoencoder of the representations of ``data``, ``(samples, dim)``, and freeze it."""
    epochs, learning_rate, kl_weight, batch_size = recipe

    def batches() -> list[Tensor]:
        return [representations[rows] for rows in torch.randperm(len(representations)).split(batch_size)]

    step = (lambda batch: vae.loss(batch, kl_weight), adam(list(vae.parameters()), learning_rate))
    train_epochs(phase, epochs, batches, [step], on_epoch, begin=vae.train, data=data)
    return freeze(vae)
