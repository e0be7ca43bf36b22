"""The tables of docs/recipes.md are what the runs say, in the page's order, and replace what stood there."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    sys.path.insert(0, str(TOOLS))
    import recipes_table

    yield recipes_table
    sys.path.remove(str(TOOLS))


def write_run(runs: Path, recipe: str, seed: int, value: float, *, name: str = "", scale: str | None = None) -> Path:
    """A run's files, with one dimension ``alignment`` that the data call ``prompt_following``, and an overall."""
    place = runs / recipe / (name or f"s{seed}")
    place.mkdir(parents=True)
    options: dict[str, Any] = {"recipe": recipe, "scale": scale, "seed": seed, "trainer.max_steps": 750}
    options["data.embedded.seed"] = 10 + seed
    options |= {"model.dimensions": ["overall", "alignment"], "data.dimension_map": {"prompt_following": "alignment"}}
    options["data.dimension_map"]["aesthetic"] = None
    accuracy = {"value": value, "low": value - 0.02, "high": value + 0.02, "n_comparisons": 2000 + seed}
    summary = {
        "protocol": "strict_micro",
        "wall_s": 100.4 + seed,
        "ceilings": {"best": {"overall": 0.9, "prompt_following": 0.98}, "ignoring_prompt": {"overall": 0.79}},
        "accuracies": {"overall": accuracy, "alignment": accuracy | {"value": value + 0.1}},
        "baselines": {"overall": {"annotator": 0.586}, "alignment": {"annotator": 0.85}},
    }
    (place / "options.json").write_text(json.dumps(options))
    (place / "summary.json").write_text(json.dumps(summary))
    (place / "overrides.txt").write_text(f"recipe={recipe}\nseed={seed}\ntrainer.threads=1\nrun.name=s{seed}\n")
    return place


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = tmp_path / "recipes.md"
    page.write_text(
        "# Recipes\n\n## `mps`\n\n## `hpsv2`\n\n<!-- results of the demo scales -->\n\nold\n\n"
        "<!-- end of results of the demo scales -->\n\nafter\n"
    )
    return page


def test_the_page_has_what_the_runs_say(
    tool: ModuleType, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    for seed, value in enumerate((0.8, 0.81, 0.85)):
        write_run(runs, "mps", seed, value)
    write_run(runs, "hpsv2", 0, 0.7)
    (write_run(runs, "hpsv2", 1, 0.1) / "summary.json").unlink()
    write_run(runs, "hpsv2", 2, 0.2, scale="paper")
    assert tool.main([str(runs), "--page", str(page)]) == 0
    text = page.read_text()
    assert "old" not in text
    assert text.endswith("\nafter\n")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [
        "| `mps` | overall | 0.820 | 0.800 0.810 0.850 | 0.780–0.820 | 2000 2001 2002 | strict_micro | 0.900 | 0.790 "
        "| 0.586 |",
        "| `mps` | alignment | 0.920 | 0.900 0.910 0.950 | 0.780–0.820 | 2000 2001 2002 | strict_micro | 0.980 |  "
        "| 0.850 |",
        "| `hpsv2` | overall | 0.700 | 0.700 | 0.680–0.720 | 2000 | strict_micro | 0.900 | 0.790 | 0.586 |",
        "| `hpsv2` | alignment | 0.800 | 0.800 | 0.680–0.720 | 2000 | strict_micro | 0.980 |  | 0.850 |",
        "| `mps` | 0 1 2 | 10 11 12 | 750 | 100 101 102 | `trainer.threads=1` |",
        "| `hpsv2` | 0 | 10 | 750 | 100 | `trainer.threads=1` |",
    ]
    told = capsys.readouterr().err
    assert "hpsv2/s1: not finished" in told
    assert "hpsv2/s2: scale paper" in told


def test_a_seed_counts_once(tool: ModuleType, page: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "mps", 0, 0.8)
    write_run(tmp_path / "runs", "mps", 0, 0.9, name="again")
    with pytest.raises(SystemExit, match="second run of mps with seed 0"):
        tool.main([str(tmp_path / "runs"), "--page", str(page)])


def test_what_cannot_be_told_is_refused(tool: ModuleType, page: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no finished run"):
        tool.main([str(tmp_path / "runs"), "--page", str(page)])
    write_run(tmp_path / "runs", "vpscore", 0, 0.8)
    with pytest.raises(SystemExit, match="no section of vpscore"):
        tool.main([str(tmp_path / "runs"), "--page", str(page)])
    page.write_text("## `vpscore`\n")
    with pytest.raises(SystemExit, match="has no"):
        tool.main([str(tmp_path / "runs"), "--page", str(page)])


def test_the_page_has_a_section_of_each_recipe(tool: ModuleType) -> None:
    from rewardkit.config.recipes import shipped_recipes

    assert set(tool.order_of(tool.PAGE)) == set(shipped_recipes())
    assert f"<!-- {tool.MARK} -->" in tool.PAGE.read_text(encoding="utf-8")
