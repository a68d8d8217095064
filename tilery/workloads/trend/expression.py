"""Index expressions over bands: parsed once into a tree of a few allowed nodes, then computed with numpy. Nothing is run."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from tilery.outcomes import BadInput

INDICES = {
    "ndvi": "(nir - red) / (nir + red)",
    "ndwi": "(green - nir) / (green + nir)",
    "ndmi": "(nir - swir1) / (nir + swir1)",
    "nbr": "(nir - swir2) / (nir + swir2)",
    "ndsi": "(green - swir1) / (green + swir1)",
    "ndbi": "(swir1 - nir) / (swir1 + nir)",
    "evi": "2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)",
    "evi2": "2.5 * (nir - red) / (nir + 2.4 * red + 1)",
    "savi": "1.5 * (nir - red) / (nir + red + 0.5)",
}
"""Spectral indices by name, of reflectances from 0 to 1 (so `scale` matters for evi, evi2 and savi)."""

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_FUNCTIONS = {"abs": 1, "sqrt": 1, "log": 1, "exp": 1, "min": 2, "max": 2}
_DEEPEST = 40
_LARGEST_POWER = 8


@cache
def parse(text: str) -> ast.expr | None:
    """The checked tree of an expression or of an index by name; None for an empty text.

    Raises `BadInput` that names what is not allowed.
    """
    source = INDICES.get(text.strip().lower(), text).strip()
    if not source:
        return None
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise BadInput(f"the expression {text!r} cannot be read; write for example (b4 - b3) / (b4 + b3)") from None
    _check(tree, text, 0)
    return tree


def names(text: str) -> list[str]:
    """The bands that an expression reads, sorted.

    >>> names("ndvi")
    ['nir', 'red']
    """
    tree = parse(text)
    return sorted({node.id for node in _operands(tree)}) if tree else []


def evaluate(text: str, bands: Mapping[str, Any]) -> Any:
    """Compute the expression on float64 arrays of one shape; dividing by zero gives NaN or infinity.

    >>> evaluate("(nir-red)/(nir+red)", {"nir": 3.0, "red": 1.0})
    0.5
    """
    tree = parse(text)
    if tree is None:
        raise BadInput("the expression is empty")
    return _value(tree, bands)


def _operands(tree: ast.expr) -> list[ast.Name]:
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return [node for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called]


def _check(node: ast.expr, text: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise BadInput(f"the expression {text!r} is nested too deeply")
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float()):
            return
        case ast.Name(id=name) if name.isidentifier() and not name.startswith("_"):
            return
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            if isinstance(op, ast.Pow) and not _small_power(right):
                raise BadInput(f"the expression {text!r}: a power must be a number up to {_LARGEST_POWER}")
            _check(left, text, depth + 1)
            return _check(right, text, depth + 1)
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _UNARY:
            return _check(operand, text, depth + 1)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if _FUNCTIONS.get(name) == len(arguments):
            for argument in arguments:
                _check(argument, text, depth + 1)
            return
        case _:
            pass
    raise BadInput(
        f"the expression {text!r} holds {ast.unparse(node)[:40]!r}; allowed are bands, numbers, + - * / **, brackets and "
        f"{', '.join(_FUNCTIONS)}, or an index: {', '.join(INDICES)}"
    )


def _small_power(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and abs(node.value) <= _LARGEST_POWER


def _value(node: ast.expr, bands: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return bands[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, bands), _value(right, bands))
        case ast.UnaryOp(op=sign, operand=operand):
            return _UNARY[type(sign)](_value(operand, bands))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _function(name)(*(_value(argument, bands) for argument in arguments))
    raise AssertionError("checked by parse")


def _function(name: str) -> Callable[..., Any]:
    import numpy as np

    functions: dict[str, Callable[..., Any]] = {
        "abs": np.abs, "sqrt": np.sqrt, "log": np.log, "exp": np.exp, "min": np.minimum, "max": np.maximum,
    }  # fmt: skip
    return functions[name]
