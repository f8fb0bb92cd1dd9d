import pytest
from pydantic import TypeAdapter, ValidationError

from mmcl.sections.strategy_names import (
    CLOSED_FORM,
    STRATEGIES,
    StrategyName,
    check_strategies,
    check_trained_encoder,
    expand_all,
)


def test_strategy_names_may_have_distillations():
    names = TypeAdapter(StrategyName)
    for name in (
        "offline",
        "coconut",
        "first_session",
        "l2p@slda",
        "first_session+sup_con@ranpac",
        "replay+sequence_kd",
        "coconut+audio_kd+token_kd",
        "replay+sup_con@slda",
        "all",
    ):
        assert names.validate_python(name) == name
    for name, message in (
        ("cocnut", "'cocnut'.*'coconut'"),
        ("replay+sequnce_kd", "'sequence_kd'"),
        ("der_p", "'der_p'.*'der"),
        ("er_ace+token_kd", "'er_ace\\+token_kd'.*replay or coconut"),
        ("naive+token_kd", "'naive\\+token_kd'.*replay or coconut"),
        ("coconut@sdla", "'coconut@sdla'.*'slda'"),
        ("coconut@slda+sup_con", "'coconut@slda\\+sup_con'.*slda"),
        ("slda@ncm", "'slda@ncm'.*naive@slda"),
        ("ncm+sup_con", "'ncm\\+sup_con'.*naive@ncm"),
        ("icarl@ncm", "'icarl@ncm'.*replay@ncm"),
        ("all@ncm", "'all@ncm'"),
    ):
        with pytest.raises(ValidationError, match=message):
            names.validate_python(name)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("lwf", "seq2seq"),
        ("icarl", "seq2seq"),
        ("slda", "seq2seq"),
        ("replay@slda", "seq2seq"),
        ("der_pp", "seq2seq"),
        ("first_session@ncm", "seq2seq"),
        ("er_ace+sup_con", "seq2seq"),
        ("offline+core_tuning", "seq2seq"),
        ("replay+token_kd", "classifier"),
    ],
)
def test_strategies_for_the_other_model_raise(name, model):
    with pytest.raises(ValueError, match=f"'{name.replace('+', '.')}'.*model: (classifier|seq2seq)"):
        check_strategies(["naive", name], model)


def test_all_stands_for_every_strategy_that_fits():
    frozen = expand_all(["all"], "classifier", trains_encoder=False)
    assert frozen == tuple(name for name in STRATEGIES if name not in ("first_session", "l2p"))
    assert expand_all(["all"], "classifier", trains_encoder=True, has_prompts=True)[-1] == "l2p"
    assert "first_session" in expand_all(["all"], "classifier", trains_encoder=True)
    assert expand_all(["joint", "all"], "classifier", trains_encoder=True)[0] == "joint"
    for names in (
        expand_all(["all"], "classifier", trains_encoder=True),
        expand_all(["all"], "seq2seq", trains_encoder=False),
    ):
        assert len(set(names)) == len(names) >= 5 and not set(names) & set(CLOSED_FORM)
    assert expand_all(["slda"], "classifier", trains_encoder=True) == ("slda",)  # its error names the setting


@pytest.mark.parametrize(("name", "instead"), [("first_session", "slda"), ("first_session+sup_con@ncm", "ncm")])
def test_first_session_needs_an_encoder_to_train(name, instead):
    check_trained_encoder([name], trains_encoder=True, has_prompts=False)
    with pytest.raises(ValueError, match=rf"'{name.replace('+', '.')}'.*encoder\.tune_from.*use {instead}$"):
        check_trained_encoder(["naive", name], trains_encoder=False, has_prompts=False)


def test_l2p_needs_prompts():
    check_trained_encoder(["l2p+sup_con"], trains_encoder=True, has_prompts=True)
    with pytest.raises(ValueError, match=r"'l2p'.*encoder\.prompts\.size"):
        check_trained_encoder(["l2p"], trains_encoder=True, has_prompts=False)
