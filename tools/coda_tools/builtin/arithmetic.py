"""Compute an expression, by walking its syntax tree: nothing is ever evaluated as code."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping

from coda_tools.function_tool import tool
from coda_voice.errors import ValidationError

MAX_LENGTH = 300
MAX_MAGNITUDE = 1e200
"""Beyond it numbers are neither useful aloud nor cheap to compute."""
SIGNIFICANT = 6
"""Digits of a fraction that are worth hearing."""
MAX_DIGITS = 15
"""A longer number is not said digit by digit."""
MIN_EXPONENT = -6
"""Of ten: smaller numbers are said with it."""

Number = int | float

_BINARY: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "sqrt": math.sqrt,
    "abs": abs,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "log": math.log,
    "log10": math.log10,
    "log2": math.log2,
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "radians": math.radians,
    "degrees": math.degrees,
    "min": min,
    "max": max,
    "percent": lambda value: value / 100,
}
_CONSTANTS = {"pi": math.pi, "e": math.e}


def compute(expression: str) -> Number:
    """Give the value of ``expression``: + - * / // % ^, percent, brackets, sqrt(), pi …

    ``80 + 15%`` is 92, as on every pocket calculator.
    Raises ValidationError for what is no arithmetic, has no value, or is too large.
    """
    if len(expression) > MAX_LENGTH:
        raise ValidationError(f"An expression has at most {MAX_LENGTH} characters.")
    text = expression.replace("^", "**").replace("×", "*").replace("÷", "/").replace("−", "-")
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"(\d+(?:\.\d+)?)\s*(?:%|percent)\s+of\b", r"\1/100*", text)
    text = re.sub(r"(\d+(?:\.\d+)?)\s*percent\b", r"percent(\1)", text)
    text = re.sub(r"(\d+(?:\.\d+)?)\s*%(?!\s*[\d(a-z])", r"percent(\1)", text)
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValidationError(
            f"{expression!r} is no arithmetic; write it like 3 * (4 + 5) ^ 2."
        ) from error
    except ZeroDivisionError as error:
        raise ValidationError("Nothing can be divided by zero.") from error
    except (OverflowError, ValueError, TypeError) as error:
        raise ValidationError(f"{expression!r} has no value: {error}.") from error


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            result: Number = value
        case ast.Name(id=name) if name in _CONSTANTS:
            result = _CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            result = -_value(inner)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            result = _value(inner)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            result = _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right) if _is_percent(
            right
        ) and not _is_percent(left):
            whole = _value(left)  # fifteen percent more, or off, is of what they are added to
            result = _BINARY[type(op)](whole, whole * _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            result = _BINARY[type(op)](_value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            result = _FUNCTIONS[name](*[_value(argument) for argument in args])
        case _:
            raise ValidationError(
                f"{ast.unparse(node)!r} is no arithmetic; there are + - * / // % ^, brackets, "
                f"{', '.join(_FUNCTIONS)}, pi and e."
            )
    if isinstance(result, complex) or abs(result) > MAX_MAGNITUDE or result != result:
        raise ValidationError("The result is too large, or no real number.")
    return result


def _is_percent(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="percent")):
            return True
    return False


def _power(base: Number, exponent: Number) -> Number:
    """Refuse before computing what would take for ever."""
    if base and abs(exponent) * abs(math.log10(abs(base))) > math.log10(MAX_MAGNITUDE):
        raise ValidationError("The result is too large.")
    power: Number = base**exponent
    return power


def number_text(value: Number) -> str:
    """Write a number with as many digits as are worth hearing, and every one before the point.

    What is too large or too small for that is written as one says it, with a power of ten.
    """
    if not math.isfinite(value):
        return str(value)
    if float(value).is_integer() and abs(value) < 10**MAX_DIGITS:
        return str(int(value))
    mantissa, _, power = f"{value:.{SIGNIFICANT - 1}e}".partition("e")
    exponent = int(power)
    if not MIN_EXPONENT <= exponent < MAX_DIGITS:
        mantissa = mantissa.rstrip("0").rstrip(".")
        times = "" if mantissa == "1" else f"{mantissa} times "
        return f"{times}10 to the power of {exponent}"
    decimals = max(2, SIGNIFICANT - 1 - exponent)
    return f"{value:.{decimals}f}".rstrip("0").rstrip(".")


@tool(timeout=2)
async def calculate(expression: str) -> str:
    """Compute an arithmetic expression exactly. Use it for every calculation.

    expression: for example 3 + 4, 15% of 80, 80 + 15%, sqrt(2) * (7 - 1) ^ 3
    """
    return number_text(compute(expression))
