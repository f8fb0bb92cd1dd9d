"""Names of continual learning strategies in configs: a strategy, additions after ``+``, and a read-out after ``@``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

from mmcl.sections.objectives import IN_STRATEGIES, objectives
from mmcl.text.suggest import did_you_mean

STRATEGY_HELP = (
    "one or more of naive, offline (all at once), joint (all so far), replay, lwf, icarl, coconut, er_ace, der, "
    "der_pp, gdumb, agem, wa, bic, lucir, ewc, si, mas; ncm, slda, ranpac and fecam on a frozen encoder; "
    "first_session, which trains the encoder in the first experience only; l2p with encoder.prompts; or all. replay "
    "and coconut with +audio_kd, +token_kd, +sequence_kd; trained ones with +relational_kd, +core_tuning or an "
    "objective, as in replay+sup_con, and with a read-out, as in coconut@slda"
)
#: Strategies that train nothing. Each also names a read-out, as in ``coconut@slda``.
CLOSED_FORM = ("ncm", "slda", "ranpac", "fecam")
#: Strategy that trains in the first experience only, and classifies by the read-out after its ``@``, else ``slda``.
FIRST_SESSION = "first_session"
#: Strategy that trains a pool of prompts, which the section ``encoder.prompts`` adds to the encoder.
L2P = "l2p"
#: Further strategies with a memory, whose settings are in the section ``rehearsal``.
REHEARSAL = ("er_ace", "der", "der_pp", "gdumb", "agem", "wa", "bic", "lucir")
#: Strategies with a penalty, whose settings are in the section ``regularization``.
REGULARIZATION = ("ewc", "si", "mas")
STRATEGIES = (
    *("naive", "offline", "joint", "replay", "lwf", "icarl", "coconut"),
    *(*REHEARSAL, *REGULARIZATION, *CLOSED_FORM, FIRST_SESSION, L2P),
)
CLASSIFIER_ONLY = ("lwf", "icarl", "ewc", "mas", *REHEARSAL, *CLOSED_FORM, FIRST_SESSION, L2P)
#: Strategies that classify the encoder's vector without a hidden layer.
LINEAR = (*CLOSED_FORM, FIRST_SESSION, L2P)
ALL = "all"
DISTILLATIONS = ("audio_kd", "token_kd", "sequence_kd")  # for decoders, on samples in memory
RELATIONAL = "relational_kd"
CORE_TUNING = "core_tuning"  # adds mixtures beside the objective of this name
#: Reasons why models of a strategy cannot be exported.
NOT_EXPORTED = {"icarl": "icarl classifies by the samples in its memory, which the run does not keep"}


def _strategy_name(name: str) -> str:
    """Validate a strategy's name, with distillations and objectives after a ``+``, and a read-out after an ``@``."""
    strategy, readout = split_read_out(name)
    base, *added = strategy.split("+")
    additions = (*DISTILLATIONS, RELATIONAL, *objectives(IN_STRATEGIES))
    known_parts = [(base, (*STRATEGIES, ALL)), *((each, additions) for each in added)]
    for part, known in [*known_parts, *([] if readout is None else [(readout, CLOSED_FORM)])]:
        if part not in known:
            raise ValueError(f"'{name}' is not a strategy, {did_you_mean(part, known)}")
    if base == ALL and name != ALL:
        raise ValueError(f"'{name}' is not a strategy, expected all without + and @")
    if base in CLOSED_FORM and name != base:
        raise ValueError(f"'{name}' has additions, but {base} trains nothing: expected {base} alone, or naive@{base}")
    if base == "icarl" and readout is not None:
        raise ValueError(f"'{name}' has two read-outs, expected icarl, or replay@{readout}")
    if distillations_in(name) and base not in ("replay", "coconut"):
        raise ValueError(f"'{name}' needs a memory for distillation, expected replay or coconut before the +")
    return name


def distillations_in(name: str) -> list[str]:
    """Return the distillations in a strategy's name."""
    return [each for each in split_read_out(name)[0].split("+")[1:] if each in DISTILLATIONS]


#: One of :data:`STRATEGIES`, followed by any of :data:`DISTILLATIONS` (replay and coconut only),
#: :data:`RELATIONAL`, and objectives, each after a ``+``, and one of :data:`CLOSED_FORM` after an ``@``; or ``all``.
StrategyName = Annotated[str, AfterValidator(_strategy_name)]


def split_read_out(name: str) -> tuple[str, str | None]:
    """Split a strategy's name into its part before the ``@`` and the read-out after it.

    >>> split_read_out("coconut+sup_con@slda"), split_read_out("replay")
    (('coconut+sup_con', 'slda'), ('replay', None))
    """
    strategy, at, readout = name.partition("@")
    return strategy, readout if at else None


def base_of(name: str) -> str:
    """Return the strategy in a name, without its additions and its read-out.

    >>> base_of("coconut+sup_con@slda")
    'coconut'
    """
    return split_read_out(name)[0].split("+")[0]


def read_out_of(name: str) -> str | None:
    """Return the read-out of a strategy; None if the head of its model classifies.

    >>> read_out_of("ncm"), read_out_of("coconut@ncm"), read_out_of("coconut"), read_out_of("first_session")
    ('ncm', 'ncm', None, 'slda')
    """
    strategy, readout = split_read_out(name)
    if strategy in CLOSED_FORM:
        return strategy
    return "slda" if readout is None and base_of(strategy) == FIRST_SESSION else readout


def check_strategies(names: Sequence[str], model: str) -> None:
    """Check that a model can be trained with the strategies.

    Raises:
        ValueError: a strategy needs the other kind of model.
    """
    for name in names:
        if model == "seq2seq" and (base_of(name) in CLASSIFIER_ONLY or read_out_of(name)):
            raise ValueError(f"strategy '{name}' needs a classifier, expected model: classifier, or replay+token_kd")
        if model == "seq2seq" and CORE_TUNING in name.split("+"):
            raise ValueError(f"strategy '{name}' needs a classifier, expected model: classifier")
        if model != "seq2seq" and distillations_in(name):
            raise ValueError(f"strategy '{name}' needs a decoder, expected model: seq2seq")


def check_trained_encoder(names: Sequence[str], *, trains_encoder: bool, has_prompts: bool) -> None:
    """Check that ``first_session`` gets an encoder to train, and ``l2p`` prompts.

    Args:
        names: names of strategies.
        trains_encoder: whether the encoder is trained.
        has_prompts: whether prompts are trained in it.

    Raises:
        ValueError: they do not; names the setting to change.
    """
    for name in names:
        if not trains_encoder and base_of(name) == FIRST_SESSION:
            raise ValueError(
                f"strategy '{name}' trains the encoder in the first experience, but the encoder is frozen: set "
                f"encoder.tune_from, encoder.lora.rank or encoder.frozen=false, or use {read_out_of(name)}"
            )
        if not has_prompts and base_of(name) == L2P:
            raise ValueError(f"strategy '{name}' trains prompts, but there are none: set encoder.prompts.size=10")


def expand_all(names: Sequence[str], model: str, *, trains_encoder: bool, has_prompts: bool = False) -> tuple[str, ...]:
    """Return strategies with ``all`` replaced by those that fit the model and the encoder, each once.

    Args:
        names: names of strategies, or ``all``.
        model: ``classifier`` or ``seq2seq``.
        trains_encoder: whether the encoder is trained, which closed-form strategies do not fit, and ``first_session``
            needs.
        has_prompts: whether prompts are trained, which ``l2p`` needs.

    >>> expand_all(["coconut", "all"], "seq2seq", trains_encoder=False)
    ('coconut', 'naive', 'offline', 'joint', 'replay', 'si')
    """
    unfit = CLOSED_FORM if trains_encoder else (FIRST_SESSION,)
    left_out = {*(CLASSIFIER_ONLY if model == "seq2seq" else ()), *unfit, *(() if has_prompts else (L2P,))}
    fitting = [each for each in STRATEGIES if each not in left_out]
    return tuple(dict.fromkeys(each for name in names for each in (fitting if name == ALL else [name])))
