"""Composes a verb's options from layers: schema defaults < recipe < its scale < command line.

Every mistake of every layer is collected and reported at once, each with its full key and where it was set.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Generic, TypeVar, get_type_hints

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rewardkit.config.messages import did_you_mean
from rewardkit.config.options import Leaf, dataclass_in, leaves
from rewardkit.errors import ConfigError

T = TypeVar("T")
DEFAULT = "default"
COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Layer:
    """Values from one place, as nested maps or dotted keys; ``origin`` says which place."""

    origin: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Composed(Generic[T]):
    """The composed options, and for each key the origin of its value."""

    options: T
    origins: dict[str, str]


def parse_overrides(arguments: Iterable[str]) -> dict[str, Any]:
    """Parses ``key=value`` arguments, split on the first ``=``; values are YAML, a value that is no YAML stays text.

    Returns:
        Dotted key to value, in the order given.

    Raises:
        ConfigError: An argument without ``=``, or a key given twice.
    """
    found: dict[str, Any] = {}
    problems = []
    for argument in arguments:
        key, sign, text = argument.partition("=")
        key = key.strip().removeprefix("--")
        if not sign or not key:
            problems.append(f"{argument!r} is not of the form key=value (for example seed=1)")
        elif key in found:
            problems.append(f"{key} is given twice on the command line; give it once")
        else:
            found[key] = parse_value(text)
    if problems:
        raise ConfigError(problems)
    return found


def parse_value(text: str) -> Any:
    """One value of the command line as YAML; what YAML cannot read, or reads as a date, stays text.

    So does a number that is not written as it prints: 0001 and 1.10 may be names, which only the key's kind can tell.
    """
    try:
        value = yaml.safe_load(text) if text.strip() else ""
    except yaml.YAMLError:
        return text
    if isinstance(value, int | float) and not isinstance(value, bool) and str(value) != text.strip():
        return text.strip()
    return value if isinstance(value, str | int | float | bool | list | dict | None) else text


def compose(schema: type[T], layers: Sequence[Layer]) -> Composed[T]:
    """Merges layers over a schema's defaults and checks each value.

    Raises:
        ConfigError: Unknown keys, wrong types, values outside their limits: all of them.
    """
    known = {leaf.key: leaf for leaf in leaves(schema)}
    optional = _nullable_sections(schema)  # type: ignore[arg-type]  # classes are hashable
    config = copy.deepcopy(_defaults(schema))  # type: ignore[arg-type]  # classes are hashable
    origins = dict.fromkeys(known, DEFAULT)
    problems: list[str] = []
    for layer in layers:
        for key, value in _flatten(layer.values, known, optional):
            problem = _set(config, known, optional, key, value)
            if problem:
                problems.append(f"{key}: {problem} (set by {layer.origin})")
            else:
                origins[key] = layer.origin
    problems += [p for p in _limits(config, known, origins) if p]
    if problems:
        raise ConfigError(problems)
    return Composed(OmegaConf.to_object(config), origins)  # type: ignore[arg-type]


@cache
def _defaults(schema: type) -> Any:
    """The schema with its defaults; reading a large one takes ten times as long as copying it."""
    return OmegaConf.structured(schema)


def _flatten(
    values: Mapping[str, Any], known: Mapping[str, Leaf], optional: Mapping[str, type], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yields (dotted key, value), going down wherever the schema has a section."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        is_section = any(k.startswith(f"{key}.") for k in known)
        if isinstance(value, Mapping) and is_section:
            if not value:
                yield key, value
            yield from _flatten(value, known, optional, f"{key}.")
        else:
            yield key, value


def _set(config: Any, known: Mapping[str, Leaf], optional: Mapping[str, type], key: str, value: Any) -> str | None:
    """Sets one key; returns what is wrong, or None."""
    owner = next((leaf for leaf in known.values() if leaf.free and key.startswith(f"{leaf.key}.")), None)
    if key not in known and owner is None:
        if key in optional and (value is None or value == {}):
            if value is None or OmegaConf.select(config, key) is None:
                _assign(config, key, value, optional)
            return None
        if any(k.startswith(f"{key}.") for k in known):
            return f"is a section, not a value; its keys are {', '.join(k for k in known if k.startswith(f'{key}.'))}"
        return f"there is no such key.{did_you_mean(key, known)} `python -m rewardkit VERB --help` lists all keys."
    leaf = known.get(key)
    if leaf is not None and leaf.kind.startswith("list") and not isinstance(value, list) and value is not None:
        value = [part.strip() for part in value.split(",")] if isinstance(value, str) and value else [value]
        value = [] if value == [""] else value
    if leaf is not None and leaf.free and value is not None and not isinstance(value, Mapping):
        return f"expects a {leaf.kind}, for example {{a: b}}, got {value!r}"
    kind = leaf.kind if leaf is not None else _of_entry(owner.kind)  # type: ignore[union-attr]
    try:
        _assign(config, key, _coerce(value, kind), optional)
    except (OmegaConfBaseException, ValueError):
        return f"expects a {kind}, got {value!r}"
    return None


def _coerce(value: Any, kind: str) -> Any:
    """The few conversions that YAML makes necessary: 1e-4 reads as text there, and a name of digits as a number."""
    if kind.startswith("list of "):
        return [_coerce(entry, kind.removeprefix("list of ")) for entry in value] if isinstance(value, list) else value
    if kind.startswith("map of ") and isinstance(value, Mapping):
        return {key: _coerce(entry, _of_entry(kind)) for key, entry in value.items()}
    if isinstance(value, bool):
        if kind.startswith(("text", "number", "whole")):
            raise ValueError(value)
        return value
    if kind.startswith("number") and isinstance(value, str | int):
        return float(value)
    if kind.startswith("text") and isinstance(value, int | float):
        return str(value)
    if kind.startswith("whole") and isinstance(value, str):
        return int(value)
    if kind == "any" and isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
        return value
    if isinstance(value, str) and (kind.startswith("true") or "${" in value):
        raise ValueError(value)
    if kind.startswith("true") and not (value is None and kind.endswith("null")):
        raise ValueError(value)
    return value


def _of_entry(kind: str) -> str:
    """The kind of one entry of a map."""
    return kind.partition(" to ")[2]


def _assign(config: Any, key: str, value: Any, optional: Mapping[str, type]) -> None:
    """Sets a key of a structured config, opening a section that a lower layer had set to null."""
    *parents, leaf = key.split(".")
    place, path = config, ""
    for parent in parents:
        path = f"{path}.{parent}".lstrip(".")
        if place[parent] is None:
            place[parent] = OmegaConf.structured(optional[path])
        place = place[parent]
    place[leaf] = OmegaConf.structured(optional[key]) if key in optional and value == {} else value


@cache
def _nullable_sections(schema: type, prefix: str = "") -> Mapping[str, type]:
    """Dotted key to dataclass of each section that may be null, as callbacks may."""
    types = get_type_hints(schema)
    found: dict[str, type] = {}
    for item in fields(schema):
        kind = types[item.name]
        inner = dataclass_in(kind)
        if inner is not None:
            found |= {f"{prefix}{item.name}": inner} if inner is not kind else {}
            found |= _nullable_sections(inner, f"{prefix}{item.name}.")
    return found


def _limits(config: Any, known: Mapping[str, Leaf], origins: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with values of the right type."""
    for key, leaf in known.items():
        value = OmegaConf.select(config, key)
        for entry in list(value) if leaf.kind.startswith("list") and value is not None else [value]:
            problem = _outside(entry, leaf.limits)
            if entry is not None and problem:
                yield f"{key}: {problem} (set by {origins[key]})"


def _outside(value: Any, limits: Mapping[str, Any]) -> str | None:
    choices = limits.get("choices")
    if choices is not None and value not in choices:
        return f"{value!r} is not one of {', '.join(choices)}.{did_you_mean(str(value), choices)}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value != value:
            return "is not a number"
        if "at_least" in limits and value < limits["at_least"]:
            return f"must be at least {limits['at_least']}, got {value}"
        if "above" in limits and value <= limits["above"]:
            return f"must be greater than {limits['above']}, got {value}"
        if "at_most" in limits and value > limits["at_most"]:
            return f"must be at most {limits['at_most']}, got {value}"
    return None
