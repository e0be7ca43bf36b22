"""Recipes are found, read strictly, and composed with their scale."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from rewardkit.config.recipes import compose_fit, find_recipe, read_recipe, recipes_folder, shipped_recipes
from rewardkit.config.show import composed_yaml
from rewardkit.errors import ConfigError, UserError


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_every_shipped_recipe_composes_at_every_scale() -> None:
    files = sorted(p for p in recipes_folder().rglob("*.yaml") if p.parent == recipes_folder())
    assert files and {p.stem for p in files} == set(shipped_recipes())
    for path in files:
        recipe = read_recipe(path)
        assert recipe.about, f"{path} says nothing of itself"
        for scale in recipe.scales or [None]:
            compose_fit({"recipe": recipe.name} | ({"scale": scale} if scale else {}))


def test_a_comment_stands_above_each_value_of_a_shipped_recipe() -> None:
    for name, path in shipped_recipes().items():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# ") and any("scale=paper" in line for line in lines[:30]), f"{name}: its header"
        for above, line in itertools.pairwise(lines):
            key, _, value = line.strip().partition(":")
            if (
                value.strip()
                and not line.lstrip().startswith("#")
                and line.startswith(" ")
                and not _in_map(line, lines)
            ):
                assert above.strip().startswith("#"), f"{name}: {key} has no comment above it"


def _in_map(line: str, lines: list[str]) -> bool:
    """Whether a line is an entry of a map of names, which one comment above the map explains."""
    indent = len(line) - len(line.lstrip())
    before = lines[: lines.index(line)]
    parent = next(p for p in reversed(before) if p.strip() and len(p) - len(p.lstrip()) < indent and "#" not in p)
    return parent.strip() in ("dimension_map:", "dimensions:")


def test_scale_wins_over_recipe_and_command_line_over_both(tmp_path: Path) -> None:
    name = write(
        tmp_path, "optim: {lr: 1.0, eps: 1.0}\nscales:\n  demo: {optim: {lr: 2.0}}\n  big: {optim: {lr: 3.0}}\n"
    )
    composed = compose_fit({"recipe": name, "scale": "big", "optim.eps": 5})
    assert (composed.options.optim.lr, composed.options.optim.eps) == (3.0, 5.0)
    assert composed.origins["optim.lr"] == f"scale big of {name}"
    assert composed.options.scale == "big"
    assert compose_fit({"recipe": name}).options.optim.lr == 2.0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({}, "name a recipe"),
        ({"recipe": "hspv2"}, "Did you mean 'hpsv2'"),
        ({"recipe": "./none.yaml"}, "no such file"),
        ({"recipe": "hpsv2", "scale": "papper"}, "Did you mean 'paper'"),
    ],
)
def test_recipes_that_are_not_there(overrides: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        compose_fit(overrides)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "map of options"),
        ("a: [1\n", "YAML"),
        ("optim: {lr: 1}\noptim: {lr: 2}\n", "stands twice"),
        ("scales: [demo]\n", "scales"),
        ("plugins: [evil.py]\n", "only the command line"),
        ("scales: {demo: {run: {dir: /etc}}}\n", "only the command line"),
    ],
)
def test_recipe_files_that_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises((UserError, ConfigError), match=words):
        compose_fit({"recipe": write(tmp_path, text)})


def test_a_recipe_without_scales_takes_none(tmp_path: Path) -> None:
    name = write(tmp_path, "seed: 4\n")
    assert compose_fit({"recipe": name}).options.seed == 4
    with pytest.raises(UserError, match="no scales"):
        compose_fit({"recipe": name, "scale": "demo"})


def test_composed_yaml_reads_back_as_the_same_options(tmp_path: Path) -> None:
    composed = compose_fit({"recipe": "hpsv2", "scale": "paper", "callbacks.guards": None, "data.dimension_map.a": "b"})
    text = composed_yaml(composed, origins=True, skip=("recipe", "scale", "run", "resume", "dry_run", "plugins"))
    again = compose_fit({"recipe": write(tmp_path, text)})
    first, second = composed.options, again.options
    second.recipe, second.scale = first.recipe, first.scale
    assert first == second


def test_find_recipe_takes_a_path(tmp_path: Path) -> None:
    assert find_recipe(write(tmp_path, "seed: 1\n")) == tmp_path / "mine.yaml"
