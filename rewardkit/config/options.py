"""How one option of the schema is declared: its default, its permitted values, and where its help text comes from."""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def option(
    default: Any,
    *,
    choices: Sequence[str] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
) -> Any:
    """A dataclass field whose value is checked after the layers are composed.

    Args:
        default: The schema's default; mutable ones are copied for each instance.
        choices: Permitted texts (for a list: permitted entries).
        at_least: Smallest permitted number.
        above: The number must be greater than this.
        at_most: Largest permitted number.
    """
    limits = {"choices": choices, "at_least": at_least, "above": above, "at_most": at_most}
    metadata = {name: limit for name, limit in limits.items() if limit is not None}
    if isinstance(default, list | dict) or is_dataclass(default):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One key of a schema that takes a value.

    Attributes:
        key: Full dotted key.
        kind: The value's type as a person would say it.
        default: The schema's default.
        text: The attribute docstring.
        limits: What ``option`` was given.
        free: Whether keys below it are the user's own (a map).
    """

    key: str
    kind: str
    default: Any
    text: str
    limits: dict[str, Any]
    free: bool


def leaves(schema: type, prefix: str = "") -> Iterator[Leaf]:
    """Every key of a dataclass schema that takes a value, in the order of the file."""
    return iter(_leaves(schema, prefix))


@cache
def _leaves(schema: type, prefix: str) -> tuple[Leaf, ...]:
    types = get_type_hints(schema)
    texts = attribute_docstrings(schema)
    found: list[Leaf] = []
    for item in fields(schema):
        kind = types[item.name]
        inner = dataclass_in(kind)
        key = f"{prefix}{item.name}"
        if inner is not None:
            found += _leaves(inner, f"{key}.")
        else:
            free = get_origin(kind) is dict
            found.append(Leaf(key, _say(kind), _default(item), texts.get(item.name, ""), dict(item.metadata), free))
    return tuple(found)


def sections(schema: type, prefix: str = "") -> dict[str, str]:
    """Dotted key of every nested dataclass (and "" for the schema itself) to its docstring."""
    found = {prefix.rstrip("."): inspect.getdoc(schema) or ""}
    for item in fields(schema):
        inner = dataclass_in(get_type_hints(schema)[item.name])
        if inner is not None:
            found.update(sections(inner, f"{prefix}{item.name}."))
    return found


@cache
def attribute_docstrings(schema: type) -> dict[str, str]:
    """The text that stands under each field of a dataclass or of one that it extends, read from their sources."""
    texts: dict[str, str] = {}
    for base in schema.__bases__:
        texts |= attribute_docstrings(base) if is_dataclass(base) else {}
    body = next(n.body for n in ast.walk(_source(schema)) if isinstance(n, ast.ClassDef) and n.name == schema.__name__)
    for statement, following in itertools.pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            texts[statement.target.id] = inspect.cleandoc(following.value.value)
    return texts


def _source(schema: type) -> ast.Module:
    file = inspect.getsourcefile(schema)
    assert file is not None
    return _parsed(file)


@cache
def _parsed(file: str) -> ast.Module:
    return ast.parse(Path(file).read_text(encoding="utf-8"))


def dataclass_in(kind: Any) -> type | None:
    """The dataclass that a field holds, also behind ``| None``."""
    for candidate in (kind, *(get_args(kind) if get_origin(kind) in (Union, UnionType) else ())):
        if isinstance(candidate, type) and is_dataclass(candidate):
            return candidate
    return None


def _default(item: Field[Any]) -> Any:
    if item.default_factory is not MISSING:
        return item.default_factory()
    return None if item.default is MISSING else item.default


def _say(kind: Any) -> str:
    """A type as a person would say it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(_say(a) for a in arguments)
    if origin is list:
        return f"list of {_say(arguments[0])}"
    if origin is dict:
        return f"map of {_say(arguments[0])} to {_say(arguments[1])}"
    names = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null", Any: "any"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))
