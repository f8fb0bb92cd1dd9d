"""Correctness of text answers: exact match, or equality of the values of equations."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Sequence

from mmcl.errors import InputError, ShapeError
from mmcl.text.words import composed

_OPERATORS: dict[type, Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_LONGEST = 500  # characters: far above any exercise; Python's parser fails on thousands of parentheses


def evaluate(equation: str) -> float:
    """Return the value of an equation of numbers, ``+ - * /`` and parentheses; nothing else is evaluated.

    Args:
        equation: such as ``"( 76.0 - 25.0 )"``.

    Raises:
        InputError: the equation is empty, malformed or too long, has anything but arithmetic, or divides by zero.

    >>> evaluate("( 76.0 - 25.0 ) / 2")
    25.5
    """
    if len(equation) > _LONGEST:
        raise InputError(f"the equation has {len(equation)} characters, expected at most {_LONGEST}")
    try:
        value = _value(ast.parse(equation.strip(), mode="eval").body, equation)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"'{equation}' is not an equation, expected numbers, + - * / and parentheses") from None
    except (ZeroDivisionError, OverflowError):
        raise InputError(f"'{equation}' divides by zero or overflows, expected a finite value") from None
    return value


def _value(node: ast.expr, equation: str) -> float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, equation), _value(node.right, equation))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.operand, equation))
    raise InputError(f"'{equation}' has {type(node).__name__}, expected numbers, + - * / and parentheses only")


def exact_match(answers: Sequence[str], labels: Sequence[str]) -> list[bool]:
    """Return which answers equal their labels, ignoring outer spaces and the encoding of accents.

    Raises:
        ShapeError: the numbers of answers and labels differ.

    >>> exact_match([" bank", "a bank"], ["bank", "bank"])
    [True, False]
    """
    return [composed(answer.strip()) == composed(label.strip()) for answer, label in _pairs(answers, labels)]


def equation_match(answers: Sequence[str], labels: Sequence[str]) -> list[bool]:
    """Return which equations have the value of their labels; an answer that is not an equation is wrong.

    Raises:
        ShapeError: the numbers of answers and labels differ.
        InputError: a label is not an equation.

    >>> equation_match(["( 2 * 3 )", "6 / 0", "six"], ["( 3.0 + 3.0 )"] * 3)
    [True, False, False]
    """
    return [_comes_to(answer, evaluate(label)) for answer, label in _pairs(answers, labels)]


def _comes_to(equation: str, expected: float) -> bool:
    try:
        return math.isclose(evaluate(equation), expected, rel_tol=1e-6, abs_tol=1e-9)
    except InputError:
        return False


def _pairs(answers: Sequence[str], labels: Sequence[str]) -> list[tuple[str, str]]:
    if len(answers) != len(labels):
        raise ShapeError(f"there are {len(answers)} answers for {len(labels)} labels, expected equal numbers")
    return list(zip(answers, labels, strict=True))
