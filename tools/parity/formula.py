"""Evaluates the formulas by which golden files describe images and scores, without running them as code."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from measure import Malformed
from numpy.typing import NDArray

_OPERATIONS = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
}
_OF_REALS = {**_OPERATIONS, ast.Div: np.true_divide}

Values = Mapping[str, "int | NDArray[np.int64]"]


def evaluate(formula: str, values: Values) -> NDArray[np.int64]:
    """An expression of whole numbers, names, ``+ - * // mod`` and ``max``, by floor division.

    Args:
        formula: For example ``((x*7919 + y*104729) mod 65537) mod 256``.
        values: What the names stand for; arrays broadcast.

    Raises:
        Malformed: The formula holds anything else.
    """
    return np.asarray(_value(_parsed(formula), values, formula), dtype=np.int64)


def evaluate_real(formula: str, values: Values) -> NDArray[np.float64]:
    """The same with ``/``, a division of real numbers.

    Args:
        formula: For example ``20 + 10*((i*37 + s*11) mod 101)/128``.
        values: As for ``evaluate``.

    Raises:
        Malformed: The formula holds anything else.
    """
    return np.asarray(_value(_parsed(formula), values, formula, _OF_REALS), dtype=np.float64)


def picture(rule: str, height: int, width: int) -> NDArray[np.uint8]:
    """``[H, W, 3]`` of a pattern: ``R=…; G=…; B=…``, or ``channel k (0,1,2): …`` for all three."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    values = {"x": x, "y": y, "W": width, "H": height}
    whole = re.match(r"\s*channel k[^:]*:(.*)$", rule, re.DOTALL)
    if whole:
        channels = [evaluate(whole[1], {**values, "k": k}) for k in range(3)]
    else:
        named = dict(part.split("=", 1) for part in rule.split(";") if "=" in part)
        named = {name.strip(): formula for name, formula in named.items()}
        if set(named) != {"R", "G", "B"}:
            raise Malformed(f"the pattern {rule!r} is neither R=…; G=…; B=… nor channel k: …")
        channels = [evaluate(named[name], values) for name in "RGB"]
    return np.stack(np.broadcast_arrays(*channels), axis=-1).astype(np.uint8)


def _parsed(formula: str) -> ast.expr:
    try:
        return ast.parse(re.sub(r"\bmod\b", "%", formula).strip(), mode="eval").body
    except SyntaxError:
        raise Malformed(f"the formula {formula!r} cannot be read") from None


def _value(node: ast.expr, values: Values, formula: str, operations: Mapping[Any, Any] = _OPERATIONS) -> Any:
    """A whole number, or an array; reals where ``operations`` divide."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name) and node.id in values:
        return values[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in operations:
        left, right = (_value(side, values, formula, operations) for side in (node.left, node.right))
        return operations[type(node.op)](left, right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "max" and node.args:
        return np.maximum.reduce([_value(argument, values, formula, operations) for argument in node.args])
    raise Malformed(f"the formula {formula!r} holds {ast.unparse(node)!r}, which is not part of the schema")
