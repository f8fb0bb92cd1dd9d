"""Presets: one function per strategy, which returns the training loop with the plugins of a method.

Each takes a model, an optimizer, and the settings of its plugins and of the loop as keyword arguments.
``help(coconut)`` lists them with their defaults and the plugins of the method. To combine methods, pass further
plugins: ``coconut(..., plugins=[SequenceDistillation()])``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from textwrap import fill
from typing import Any

from avalanche.core import SupervisedPlugin
from torch import nn
from torch.optim import Optimizer

from mmcl.config.signature import argument_texts, section_text
from mmcl.models.readouts import FeCAM, NearestClassMean, RanPAC, StreamingLDA
from mmcl.strategies.closed_form import ClosedForm
from mmcl.strategies.coconut import Coconut
from mmcl.strategies.distillation import LogitDistillation
from mmcl.strategies.first_session import FirstSession
from mmcl.strategies.learning_to_prompt import LearningToPrompt
from mmcl.strategies.nearest_mean import NearestMean
from mmcl.strategies.rehearsal import Rehearsal
from mmcl.strategies.teacher import Teacher
from mmcl.strategies.template import MMCLTemplate

Preset = Callable[..., MMCLTemplate]
_GIVEN = ("self", "model", "optimizer", "plugins")


def preset(
    *parts: type, adds: Sequence[type] = (), example: str | None = "", **fixed: Any
) -> Callable[[Callable[..., list[SupervisedPlugin]]], Preset]:
    """Decorator that turns a function, which returns a method's plugins, into a strategy.

    The strategy's signature and docstring are made from the constructors of ``parts`` and of the loop.

    Args:
        *parts: plugin classes; the function receives an instance of each, and the strategy takes their settings.
        adds: further plugin classes of the method, for its docstring.
        example: settings in the docstring's example; None for no example.
        **fixed: settings of the parts or of the loop with a fixed value, which the strategy does not take.
    """

    def decorate(method_of: Callable[..., list[SupervisedPlugin]]) -> Preset:
        part_settings = [_settings(part, without=fixed) for part in parts]
        loop_settings = _settings(MMCLTemplate, without=fixed)

        @wraps(method_of, assigned=("__module__", "__name__", "__qualname__"))
        def strategy(
            model: nn.Module, optimizer: Optimizer, *, plugins: Sequence[SupervisedPlugin] = (), **settings: Any
        ) -> MMCLTemplate:
            signature.bind(model, optimizer, plugins=plugins, **settings)  # raises TypeError for an unknown setting
            instances = [
                part(**{name: value for name, value in {**settings, **fixed}.items() if name in _settings(part)})
                for part in parts
            ]
            loop = {name: value for name, value in {**settings, **fixed}.items() if name in _settings(MMCLTemplate)}
            return MMCLTemplate(model=model, optimizer=optimizer, plugins=[*method_of(*instances), *plugins], **loop)

        documented: Any = strategy
        del documented.__wrapped__  # or typing and documentation tools would read its signature
        stated = inspect.signature(strategy, globals=globals(), eval_str=True).parameters
        own = [parameter for each in part_settings for parameter in each.values()]
        parameters = [stated["model"], stated["optimizer"], *own, stated["plugins"], *loop_settings.values()]
        signature = inspect.Signature(parameters, return_annotation=MMCLTemplate)
        texts = [inspect.getdoc(method_of) or "", _plugin_list([*parts, *adds]), _arguments(parts, signature)]
        texts += [_errors(parts)]
        texts += [] if example is None else [_example(method_of.__name__, example, "epochs" in loop_settings)]
        documented.__signature__, documented.__doc__ = signature, "\n\n".join(texts) + "\n"
        documented.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
        documented.__annotations__["return"] = signature.return_annotation
        return strategy

    return decorate


def _settings(part: type, without: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """Settings of a constructor by name, as keyword-only parameters."""
    return {
        name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(part, eval_str=True).parameters.items()
        if name not in _GIVEN and name not in without
    }


def _plugin_list(plugins: Sequence[type]) -> str:
    lines = [
        _wrapped(f"* :class:`~{each.__module__}.{each.__name__}`: {inspect.getdoc(each) or ''}".splitlines()[0], 2)
        for each in plugins
    ]
    return "\n".join(["The parts of this method are", "", *lines] if lines else ["This method has no plugins."])


def _arguments(parts: Sequence[type], signature: inspect.Signature) -> str:
    described = {
        "model": "model to train, in place. It takes a :class:`~mmcl.batch.Batch` or a tensor ``(batch, ...)`` and "
        "returns logits ``(batch, classes)``; see :class:`~mmcl.strategies.template.MMCLTemplate`",
        "optimizer": "optimizer of the model's parameters, reset at each experience",
    }
    for part in (*parts, MMCLTemplate):
        described |= {name: text for name, text in argument_texts(part).items() if name not in described}
    described["plugins"] = "further Avalanche plugins, called after those of the method"
    lines = [
        _wrapped(f"    {name}: {described[name]}{_default(each)}.", 8) for name, each in signature.parameters.items()
    ]
    return "\n".join(["Args:", *lines])


def _wrapped(line: str, indent: int) -> str:
    return fill(line, 112, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def _default(parameter: inspect.Parameter) -> str:
    return "" if parameter.default is parameter.empty else f" (default: ``{parameter.default!r}``)"


def _errors(parts: Sequence[type]) -> str:
    return "\n".join(["Raises:", *filter(None, (section_text(each, "Raises") for each in (*parts, MMCLTemplate)))])


def _example(name: str, settings: str, trains: bool) -> str:
    call = ", ".join(["model", "optimizer", *filter(None, [settings, "epochs=2" if trains else ""])])
    predict = (
        "model(torch.randn(2, 8))" if trains else "strategy.model.eval()(Batch(features=torch.randn(2, 8))).logits"
    )
    batch = "" if trains else "        >>> from mmcl.batch import Batch\n"
    frozen = "" if trains else "        >>> _ = model[:2].requires_grad_(False)\n"
    return inspect.cleandoc(f"""
    Example:
        >>> import torch
{batch}        >>> from mmcl.data import class_incremental
        >>> from mmcl.strategies import {name}
        >>> samples = [(torch.randn(8), row % 4) for row in range(40)]
        >>> benchmark = class_incremental(samples, samples, experiences=2)
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
{frozen}        >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        >>> strategy = {name}({call})
        >>> for experience in benchmark.train_stream:
        ...     _ = strategy.train(experience, eval_streams=[])
        >>> {predict}.shape
        torch.Size([2, 4])
    """)


@preset()
def naive() -> list[SupervisedPlugin]:
    """Train on each experience alone: the lower bound, which forgets.

    ``loss = cross-entropy`` over the samples of the experience.
    """
    return []


@preset(Rehearsal, memory_size=None, selection="random", by_superclass=False, memory_bytes=None)
def joint(rehearsal: Rehearsal) -> list[SupervisedPlugin]:
    """Train on all samples seen so far: the upper bound, with an unlimited memory.

    ``loss = cross-entropy`` over the samples of this and all earlier experiences.
    """
    return [rehearsal]


@preset(Rehearsal, example="memory_size=8")
def replay(rehearsal: Rehearsal) -> list[SupervisedPlugin]:
    """Train on each experience and a class-balanced memory of fixed size.

    ``loss = cross-entropy`` over the samples of the experience, shuffled with those in memory.
    """
    return [rehearsal]


@preset(LogitDistillation, adds=[Teacher])
def lwf(distillation: LogitDistillation) -> list[SupervisedPlugin]:
    """Distil the logits of the model from before the experience, without a memory (LwF, Li and Hoiem 2016).

    ``loss = cross-entropy + weight * logit_distillation(student, teacher)``. LwF, arXiv 1606.09282.
    """
    return [distillation]


@preset(
    Rehearsal,
    LogitDistillation,
    adds=[NearestMean, Teacher],
    example="memory_size=8",
    selection="herding",
    by_superclass=False,
)
def icarl(rehearsal: Rehearsal, distillation: LogitDistillation) -> list[SupervisedPlugin]:
    """Select exemplars by herding, distil logits, and classify by the nearest mean (iCaRL, Rebuffi et al. 2017).

    ``loss = cross-entropy + weight * logit_distillation(student, teacher)`` over the experience and the memory. iCaRL,
    arXiv 1611.07725. In evaluation, a sample has the class of the nearest mean embedding in memory.

    Differs from the paper: cross-entropy and softened logits in place of binary cross-entropies.
    """
    return [rehearsal, distillation, NearestMean(rehearsal)]


@preset(Rehearsal, Coconut, adds=[Teacher], example="memory_size=8")
def coconut(rehearsal: Rehearsal, contrasts: Coconut) -> list[SupervisedPlugin]:
    """Rehearse, and contrast audio with text and student with teacher (COCONUT, arXiv 2310.02699).

    ``loss = cross-entropy + mm_weight * MM + nspt_weight * (NSPT(audio) + NSPT(text))``, equation 7 of Cappellazzo et
    al. The model needs an audio-text space: use :class:`~mmcl.models.SLUClassifier` with a text encoder, or
    :class:`~mmcl.models.SLUSeq2Seq`. For a plain classifier, the text of a sample is the weight vector of its class
    in the last ``nn.Linear``, see :class:`~mmcl.models.TensorClassifier`.
    """
    return [rehearsal, contrasts]


@preset(NearestClassMean, adds=[ClosedForm], epochs=0)
def ncm(readout: NearestClassMean) -> list[SupervisedPlugin]:
    """Classify frozen features by the nearest class mean (Mensink et al. 2013), without gradients or a memory.

    ``score_c = -1/2 ||x - m_c||^2``. The model's embeddings must need no training.
    """
    return [ClosedForm(readout)]


@preset(StreamingLDA, adds=[ClosedForm], epochs=0)
def slda(readout: StreamingLDA) -> list[SupervisedPlugin]:
    """Classify frozen features by linear discriminant analysis (SLDA, Hayes and Kanan 2020), without gradients.

    ``score_c = m_c^T L x - 1/2 m_c^T L m_c`` with one shrunk covariance ``L^-1`` for all classes. SLDA, arXiv
    1909.01520. The model's embeddings must need no training.
    """
    return [ClosedForm(readout)]


@preset(RanPAC, adds=[ClosedForm], epochs=0, example="projections=32")
def ranpac(readout: RanPAC) -> list[SupervisedPlugin]:
    """Classify random projections of frozen features by ridge regression (RanPAC, McDonnell et al. 2023).

    ``score = h^T (G + r I)^-1 C`` with ``h = relu(P^T x)``. RanPAC, arXiv 2307.02251. The model's embeddings must need
    no training.
    """
    return [ClosedForm(readout)]


@preset(FeCAM, adds=[ClosedForm], epochs=0)
def fecam(readout: FeCAM) -> list[SupervisedPlugin]:
    """Classify frozen features by the Mahalanobis distance to class means (FeCAM, Goswami et al. 2023).

    ``score_c = -1/2 (z - m_c)^T R_c^-1 (z - m_c)`` with a covariance for each class. FeCAM, arXiv 2309.14062. The
    model's embeddings must need no training.
    """
    return [ClosedForm(readout)]


@preset(FirstSession)
def first_session(session: FirstSession) -> list[SupervisedPlugin]:
    """Train on the first experience only, then classify in closed form (FSA, Panos et al. 2023).

    ``loss = cross-entropy`` over the samples of the first experience; later ones train nothing. Then
    ``score = readout(f_1(x))`` with the trained embedding ``f_1``. First session adaptation, arXiv 2303.13199; phase 1
    of RanPAC, arXiv 2307.02251.
    """
    return [session]


@preset(LearningToPrompt, example=None)
def l2p(prompts: LearningToPrompt) -> list[SupervisedPlugin]:
    """Train a pool of prompts in front of a frozen encoder, without a memory (L2P, Wang et al. 2022).

    ``loss = cross-entropy over current classes + key_weight sum_i (1 - cos(q(x), k_i))`` with the frozen encoder's
    vector q(x) and the keys k_i of the prompts chosen for x. L2P, arXiv 2112.08654, equation 5; with ``diversify``, the
    choice is that of equation 4. The encoder is that of
    ``build_encoder(..., prompts={"size": 10})``, in a classifier such as ``SLUClassifier(encoder, hidden=None)``.
    """
    return [prompts]
