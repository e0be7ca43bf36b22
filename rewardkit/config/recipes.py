"""Finds and reads recipes: YAML files with options, and with sizes of them under ``scales``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from rewardkit.config.compose import COMMAND_LINE, Composed, Layer, compose
from rewardkit.config.messages import did_you_mean
from rewardkit.config.schema import FitOptions
from rewardkit.errors import ConfigError, UserError

DEFAULT_SCALE = "demo"
COMMAND_LINE_ONLY = ("recipe", "scale", "plugins", "resume", "dry_run", "run")
"""Keys that a recipe may not set: a file that is passed around must not load code or choose folders."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe as read.

    Attributes:
        name: The file's name without its ending.
        path: The file.
        about: One line on what it trains.
        values: Options common to all scales.
        scales: Scale to the options that it changes.
    """

    name: str
    path: Path
    about: str
    values: Mapping[str, Any]
    scales: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def recipes_folder() -> Path:
    """The folder of the recipes that ship with rewardkit."""
    return Path(str(files("rewardkit.recipes")))


def shipped_recipes() -> dict[str, Path]:
    """Name to path of every recipe that ships with rewardkit."""
    return {path.stem: path for path in sorted(recipes_folder().glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """The file of a recipe given by name or path.

    Raises:
        UserError: There is no such recipe.
    """
    listed = "`python -m rewardkit recipes list` shows those there are"
    return find_named("recipe", name, shipped_recipes(), listed)


def find_named(key: str, name: str, shipped: Mapping[str, Path], listed: str) -> Path:
    """A file that ships, by its name, or one of the user's own, by its path.

    Args:
        key: What the command line calls it.
        name: What it was given.
        shipped: Name to path.
        listed: Says, in a message, which there are.

    Raises:
        UserError: There is none.
    """
    if name in shipped:
        return shipped[name]
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or "/" in name:
        if path.is_file():
            return path
        raise UserError(f"{key}={name}: there is no such file. {key.capitalize()}s by name: {', '.join(shipped)}.")
    raise UserError(
        f"{key}={name}: there is no such {key}.{did_you_mean(name, shipped)} {listed}; a file of your own is given by "
        "its path (./mine.yaml)."
    )


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe file.

    Raises:
        UserError: It is not YAML, or not a map of options.
        ConfigError: It sets what only the command line may set.
    """
    try:
        record = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise UserError(f"recipe {path} cannot be read: {error.strerror}") from None
    if not isinstance(record, dict):
        raise UserError(f"recipe {path} must be a map of options, for example `optim: {{lr: 1e-4}}`")
    scales = record.pop("scales", None) or {}
    about = record.pop("about", "")
    if not isinstance(scales, dict) or not all(isinstance(s, dict) for s in scales.values()):
        raise UserError(f"recipe {path}: `scales` must map each scale's name to a map of options")
    problems = [
        f"{key}: only the command line may set it, not a recipe (set by {path})"
        for values in (record, *scales.values())
        for key in values
        if str(key).split(".", 1)[0] in COMMAND_LINE_ONLY
    ]
    if problems:
        raise ConfigError(problems)
    return Recipe(path.stem, path, " ".join(str(about).split()), record, scales)


def compose_fit(overrides: Mapping[str, Any]) -> Composed[FitOptions]:
    """Composes the options of ``fit`` from the command line's ``key=value`` pairs.

    Raises:
        UserError: No recipe is named, or it has no such scale.
        ConfigError: Wrong keys, types or values, all of them.
    """
    name = overrides.get("recipe")
    if name is None:
        raise UserError(f"name a recipe, for example recipe=hpsv2. There are: {', '.join(shipped_recipes())}.")
    recipe = read_recipe(find_recipe(str(name)))
    scale = overrides.get("scale")
    told = recipe.name if str(name) == recipe.name else str(recipe.path)
    layers: list[Layer] = [Layer(f"recipe {told}", recipe.values)]
    if recipe.scales:
        chosen = str(scale) if scale is not None else DEFAULT_SCALE
        if chosen not in recipe.scales:
            hint = did_you_mean(chosen, recipe.scales)
            raise UserError(f"scale={chosen}: recipe {recipe.name} has {', '.join(recipe.scales)}.{hint}")
        layers.append(Layer(f"scale {chosen} of {told}", recipe.scales[chosen]))
        overrides = {**overrides, "scale": chosen}
    elif scale is not None:
        raise UserError(f"scale={scale}: recipe {recipe.path} has no scales; leave scale= out.")
    return compose(FitOptions, [*layers, Layer(COMMAND_LINE, overrides)])


def beside_recipe(name: str, recipe: str | None) -> Path | None:
    """A file that a recipe names: beside the recipe's own file, or among the shipped recipes; None if in neither."""
    folders: Sequence[Path] = [find_recipe(recipe).parent] if recipe else []
    for folder in (Path.cwd(), *folders, recipes_folder()):
        if (folder / name).is_file():
            return folder / name
    return None


class UniqueKeys(yaml.SafeLoader):
    """Refuses a map that says the same key twice, where YAML would let the later one win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Builds one map."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int | float | bool) and key in seen:
                raise yaml.YAMLError(f"the key {key!r} stands twice{key_node.start_mark}")
            seen.add(key if isinstance(key, str | int | float | bool) else id(key_node))
        return super().construct_mapping(node, deep)
