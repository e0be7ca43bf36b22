"""Composed options as YAML, each with the origin of its value where asked for; it reads back as a recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rewardkit.config.compose import Composed
from rewardkit.config.help import show_value
from rewardkit.config.options import leaves
from rewardkit.config.schema import FitOptions


def composed_yaml(composed: Composed[FitOptions], *, origins: bool, skip: tuple[str, ...] = ()) -> str:
    """Composed options as YAML, each line with the origin of its value behind it where asked for."""
    values = dataclasses.asdict(composed.options)
    lines: list[str] = []
    opened: list[str] = []
    for leaf in leaves(FitOptions):
        parts = leaf.key.split(".")
        if parts[0] in skip or not _reachable(values, parts, lines, opened):
            continue
        value: Any = values
        for part in parts:
            value = value[part]
        line = f"{'  ' * (len(parts) - 1)}{parts[-1]}: {show_value(value) if value != '' else repr('')}"
        lines.append(f"{line:<60}  # {composed.origins[leaf.key]}" if origins else line)
    return "\n".join(lines)


def _reachable(values: Any, parts: list[str], lines: list[str], opened: list[str]) -> bool:
    """Writes the section headers above a key; False where a section is null (said once)."""
    place = values
    for depth, part in enumerate(parts[:-1]):
        place = place[part]
        name = ".".join(parts[: depth + 1])
        if name not in opened:
            opened.append(name)
            lines.append(f"{'  ' * depth}{part}:{' null' if place is None else ''}")
        if place is None:
            return False
    return True


def flat_values(options: FitOptions) -> dict[str, Any]:
    """Options as dotted key to value; keys below a section that is null are null."""
    values: dict[str, Any] = {}
    for leaf in leaves(FitOptions):
        place: Any = options
        for part in leaf.key.split("."):
            place = getattr(place, part) if place is not None else None
        values[leaf.key] = place
    return values


def with_null_sections(values: Mapping[str, Any]) -> dict[str, Any]:
    """What ``flat_values`` gave, as ``compose`` takes it: a section that was null is one key, not its keys."""
    null = {
        leaf.key.rpartition(".")[0]
        for leaf in leaves(FitOptions)
        if values.get(leaf.key, leaf.default) is None and "null" not in leaf.kind and leaf.default is not None
    }
    below = tuple(f"{section}." for section in null)
    return {key: value for key, value in values.items() if not key.startswith(below)} | dict.fromkeys(null)
