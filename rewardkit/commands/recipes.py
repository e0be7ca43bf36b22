"""``recipes list|show|copy``: what ships, every option with the origin of its value, and a copy to edit."""

from __future__ import annotations

import shutil
from pathlib import Path

from rewardkit.config.compose import COMMAND_LINE, Layer, compose, parse_overrides
from rewardkit.config.help import verb_help
from rewardkit.config.messages import did_you_mean
from rewardkit.config.recipes import compose_fit, find_recipe, read_recipe, shipped_recipes
from rewardkit.config.show import composed_yaml
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
        f"usage:\n{lines}\n\nlist: the recipes that ship with rewardkit. show: every option of a recipe and the origin "
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
