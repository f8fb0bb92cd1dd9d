import json

import pytest

from mmcl.errors import InputError, ShapeError
from mmcl.metrics.answers import equation_match, evaluate, exact_match


def test_equations_of_svamp_evaluate_to_their_answers(data_dir):
    problems = json.loads((data_dir / "rationales" / "svamp" / "SVAMP.json").read_text())
    assert len(problems) == 1000
    right = [abs(evaluate(problem["Equation"]) - problem["Answer"]) < 1e-2 for problem in problems]
    assert sum(right) >= 998, [problem for problem, each in zip(problems, right, strict=True) if not each]


@pytest.mark.parametrize(
    ("equation", "value"),
    [("1 + 2 * 3", 7), ("-(2 - 5)", 3), ("7 / 2", 3.5), ("( 10.0 - ( 3.0 + 6.0 ) )", 1), ("+4", 4), ("1e3 / 1000", 1)],
)
def test_arithmetic(equation, value):
    assert evaluate(equation) == value


@pytest.mark.parametrize(
    "equation",
    ["__import__('os').getcwd()", "(1).__class__", "2 ** 9", "2 ** 99999999", "x + 1", "1 if 1 else 2", "[1, 2]",
     "'a' * 3", "10 // 3", "7 % 2", "1 < 2", "abs(3)", "1j", "(y := 3)", "lambda: 1", "1, 2", "True"],
)  # fmt: skip
def test_other_expressions_raise(equation):
    with pytest.raises(InputError, match="expected numbers"):
        evaluate(equation)


@pytest.mark.parametrize("equation", ["", "1 +", "(1", "1 2", "= 3", "(" * 400 + "1" + ")" * 99, "\x00"])
def test_malformed_equations_raise(equation):
    with pytest.raises(InputError, match="expected numbers"):
        evaluate(equation)


def test_undefined_values_raise():
    for equation in ("1 / 0", "1 / (2 - 2)", "1e400 - 1e400 + 1 / 0"):
        with pytest.raises(InputError, match="divides by zero"):
            evaluate(equation)
    with pytest.raises(InputError, match="has 1001 characters, expected at most 500"):
        evaluate("1" * 1001)


def test_matches_and_lengths():
    assert equation_match(["( 76 - 25 )", "51.0000001", "50"], ["( 76.0 - 25.0 )"] * 3) == [True, True, False]
    assert exact_match(["Bank"], ["bank"]) == [False]
    for match in (exact_match, equation_match):
        with pytest.raises(ShapeError, match="there are 1 answers for 2 labels"):
            match(["1"], ["1", "2"])
    with pytest.raises(InputError, match="'two' has Name"):
        equation_match(["2"], ["two"])
