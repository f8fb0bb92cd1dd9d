"""Presets of further strategies with a memory; see :mod:`mmcl.strategies.presets`.

Each trains on the memory that ``replay`` has: ``memory_size`` samples, balanced by class, and shuffled into the batches
of the experience. Strategies of the same ``memory_size`` thus keep equally many samples.
"""

from __future__ import annotations

from avalanche.core import SupervisedPlugin

from mmcl.strategies.asymmetric_cross_entropy import AsymmetricCrossEntropy
from mmcl.strategies.balanced_distillation import BalancedDistillation
from mmcl.strategies.dark_experience import DarkExperience
from mmcl.strategies.early_rehearsal import EarlyRehearsal
from mmcl.strategies.gdumb import GDumb
from mmcl.strategies.gradient_projection import EpisodicMemory, GradientProjection
from mmcl.strategies.head_correction import BiasCorrection, WeightAlignment
from mmcl.strategies.lucir import LUCIR
from mmcl.strategies.presets import preset
from mmcl.strategies.rehearsal import Rehearsal
from mmcl.strategies.teacher import Teacher


@preset(EarlyRehearsal, AsymmetricCrossEntropy, example="memory_size=8")
def er_ace(rehearsal: EarlyRehearsal, asymmetric: AsymmetricCrossEntropy) -> list[SupervisedPlugin]:
    """Rehearse, and compare new samples with current classes only (ER-ACE, Caccia et al. 2022).

    ``loss = mean over the batch of -log softmax(logits over C(x))[y]``, where C(x) is all classes for samples from the
    memory, and the current ones for new samples. ER-ACE, arXiv 2104.05025.
    """
    return [rehearsal, asymmetric]


@preset(Rehearsal, DarkExperience, example="memory_size=8", beta=0.0)
def der(rehearsal: Rehearsal, dark: DarkExperience) -> list[SupervisedPlugin]:
    """Train samples in memory towards the logits stored with them (DER, Buzzega et al. 2020).

    ``loss = mean over the batch of [x new] CE(x) + [x rehearsed] alpha mean_c (f_c(x) - z_c)^2`` with logits f and
    stored logits z. Dark experience replay, arXiv 2004.07211, algorithm 1.
    """
    return [rehearsal, dark]


@preset(Rehearsal, DarkExperience, example="memory_size=8")
def der_pp(rehearsal: Rehearsal, dark: DarkExperience) -> list[SupervisedPlugin]:
    """Train samples in memory towards stored logits and their labels (DER++, Buzzega et al. 2020).

    ``loss = mean over the batch of [x new] CE(x) + [x rehearsed] (alpha mean_c (f_c(x) - z_c)^2 + beta CE(x))`` with
    logits f and stored logits z. Dark experience replay, arXiv 2004.07211, algorithm 2.
    """
    return [rehearsal, dark]


@preset(GDumb, example="memory_size=8")
def gdumb(memory: GDumb) -> list[SupervisedPlugin]:
    """Train on a balanced memory alone, from the initial weights in each experience (GDumb, Prabhu et al. 2020).

    ``loss = cross-entropy`` over the memory, which the samples of the experience join before training. GDumb, ECCV
    2020. It shows what a memory alone is worth.
    """
    return [memory]


@preset(EpisodicMemory, GradientProjection, example="memory_size=8")
def agem(memory: EpisodicMemory, projection: GradientProjection) -> list[SupervisedPlugin]:
    """Train on new samples, with gradients that do not oppose those of the memory (A-GEM, Chaudhry et al. 2019).

    ``loss = cross-entropy`` over the samples of the experience. Its gradient g becomes
    ``g - min(g . r, 0) / (r . r) r`` with the gradient r of samples from the memory. A-GEM, arXiv 1812.00420.
    """
    return [memory, projection]


@preset(Rehearsal, BalancedDistillation, WeightAlignment, adds=[Teacher], example="memory_size=8")
def wa(rehearsal: Rehearsal, distillation: BalancedDistillation, alignment: WeightAlignment) -> list[SupervisedPlugin]:
    """Rehearse, distil, and align the norms of the head's weights after each experience (WA, Zhao et al. 2020).

    ``loss = (1 - s) cross-entropy + s KL(teacher || student)`` with the share s of old classes. Then
    ``w_new <- mean ||w_old|| / mean ||w_new|| w_new``. Weight aligning, arXiv 1911.07053.
    """
    return [rehearsal, distillation, alignment, Teacher()]  # the teacher is the aligned model


@preset(Rehearsal, BalancedDistillation, BiasCorrection, adds=[Teacher], example="memory_size=8", by_superclass=False)
def bic(rehearsal: Rehearsal, distillation: BalancedDistillation, correction: BiasCorrection) -> list[SupervisedPlugin]:
    """Rehearse, distil, and correct the logits of new classes on held-out samples (BiC, Wu et al. 2019).

    ``loss = (1 - s) cross-entropy + s KL(teacher || student)`` with the share s of old classes. Then the logits of new
    classes become ``a o + b``. Bias correction, arXiv 1905.13260.
    """
    return [rehearsal, distillation, correction, Teacher()]  # the teacher is the corrected model


@preset(Rehearsal, LUCIR, adds=[Teacher], example="memory_size=8")
def lucir(rehearsal: Rehearsal, angles: LUCIR) -> list[SupervisedPlugin]:
    """Rehearse with cosine logits, a less-forget constraint and a margin to new classes (LUCIR, Hou et al. 2019).

    ``loss = CE(n cos(w, f)) + forget_weight sqrt(old / new) mean (1 - cos(f, f*)) + margin_weight R`` with embeddings f
    of the model and f* of the teacher, head weights w and margin ranking loss R. LUCIR, CVPR 2019.
    """
    return [rehearsal, angles, Teacher()]  # the teacher's head has unit weights
