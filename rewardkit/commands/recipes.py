"""``recipes list|show|copy``: what ships, every option with the origin of its value, and a copy to edit."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from rewardkit.config.compose import COMMAND_LINE, Composed, Layer, compose, parse_overrides
from rewardkit.config.help import show_value, verb_help
from rewardkit.config.messages import did_you_mean
from rewardkit.config.options import leaves
from rewardkit.config.recipes import compose_fit, find_recipe, read_recipe, shipped_recipes
from rewardkit.config.schema import FitOptions
from rewardkit.config.verbs import RecipesCopyOptions, RecipesListOptions
from rewardkit.errors import EXIT_DONE, UserError

_USAGE = {
    "list": "recipes list",
    "show": "recipes show NAME [scale=demo|paper] [key=value ...]",
    "copy": "recipes copy NAME [out=FILE]",
}


def help_text(arguments: list[str]) -> str:
    """Help of one action, or of all."""
    action = arguments[0] if arguments else ""
    if action == "copy":
        return verb_help(_USAGE["copy"], RecipesCopyOptions)
    lines = "\n".join(f"  python -m rewardkit {usage}" for usage in _USAGE.values())
    return (
        f"usage:\n{lines}\n\nlist: the recipes that ship with rewardkit. show: every option of a recipe with the origin "
        "of its value,\nafter the given key=value changes. copy: a file of your own to edit, then fit recipe=./FILE."
    )


def run(arguments: list[str]) -> int:
    """Runs one action."""
    if not arguments or arguments[0] not in _USAGE:
        word = arguments[0] if arguments else ""
        raise UserError(f"recipes needs an action: {', '.join(_USAGE)}.{did_you_mean(word, _USAGE)}")
    action, rest = arguments[0], arguments[1:]
    if action == "list":
        compose(RecipesListOptions, [Layer(COMMAND_LINE, parse_overrides(rest))])
        for name, path in shipped_recipes().items():
            recipe = read_recipe(path)
            print(f"{name:<12} scales: {', '.join(recipe.scales) or '-':<14} {recipe.about}")
        return EXIT_DONE
    if not rest or "=" in rest[0]:
        raise UserError(f"recipes {action} needs the recipe's name: python -m rewardkit {_USAGE[action]}")
    name, overrides = rest[0], parse_overrides(rest[1:])
    if action == "show":
        print(composed_yaml(compose_fit({"recipe": name, **overrides}), origins=True))
        return EXIT_DONE
    options = compose(RecipesCopyOptions, [Layer(COMMAND_LINE, overrides)]).options
    source = find_recipe(name)
    target = Path(options.out or f"{source.stem}.yaml")
    if target.exists():
        raise UserError(f"out={target} exists already; choose another file with out=FILE")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    shown = target if target.is_absolute() else f"./{target}"
    print(f"copied {source} to {target}; train it with: python -m rewardkit fit recipe={shown}")
    return EXIT_DONE


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
