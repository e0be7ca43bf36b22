"""What the recipes' demo scales reach: finished runs of each recipe at several seeds, as the tables of docs/recipes.md.

    python tools/recipes_table.py RUNS [--page docs/recipes.md]

RUNS is a ``run.dir``: RUNS/RECIPE/NAME is one run, and every finished run of scale demo counts. Make them with::

    for seed in 0 1 2; do
      python -m rewardkit fit recipe=RECIPE seed=$seed data.embedded.seed=$seed run.dir=RUNS run.name=s$seed
    done

The tables are printed; with ``--page`` they replace what stands between the marks of that page. Every number is read
from the runs' ``summary.json``, none is computed anew but means over seeds. What is left out is named on stderr.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from studies.study_results import write_page

PAGE = Path(__file__).resolve().parents[1] / "docs" / "recipes.md"
MARK = "results of the demo scales"
SCALE = "demo"
OWN_KEYS = ("recipe", "scale", "seed", "resume", "run.dir", "run.name", "data.embedded.seed", "cache.dir", "logger")
"""What the command line may say of a run without changing what is compared."""

ACCURACY = ("recipe", "dimension", "mean", "each seed", "95 % of the first", "n", "protocol", "best possible",
            "without the prompt", "one person")  # fmt: skip
COST = ("recipe", "seeds", "drawings", "steps", "seconds of each", "beside the recipe")


@dataclass(frozen=True)
class Run:
    """A finished run: its options by full key, its summary, and what its command line changed of the recipe."""

    recipe: str
    options: Mapping[str, Any]
    summary: Mapping[str, Any]
    changed: tuple[str, ...]

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.options["seed"])


def finished_runs(folder: Path) -> tuple[list[Run], list[str]]:
    """Every finished run of scale demo below ``RUNS/RECIPE/NAME``, by recipe and seed; and what was left out, and why.

    Raises:
        SystemExit: Two runs of one recipe have the same seed.
    """
    runs: dict[tuple[str, int], Run] = {}
    left_out = []
    for options_file in sorted(folder.glob("*/*/options.json")):
        place = options_file.parent
        if not (place / "summary.json").is_file():
            left_out.append(f"{place}: not finished")
            continue
        options = _json(options_file)
        if (options["scale"] or SCALE) != SCALE:
            left_out.append(f"{place}: scale {options['scale']}")
            continue
        given = (place / "overrides.txt").read_text(encoding="utf-8").split("\n")
        changed = tuple(line for line in given if line and line.split("=")[0] not in OWN_KEYS)
        run = Run(Path(options["recipe"]).stem, options, _json(place / "summary.json"), changed)
        if (run.recipe, run.seed) in runs:
            raise SystemExit(f"{place}: a second run of {run.recipe} with seed {run.seed}")
        runs[run.recipe, run.seed] = run
    return [runs[key] for key in sorted(runs)], left_out


def accuracy_rows(runs: Sequence[Run]) -> list[str]:
    """Rows of the table of accuracies for all seeds of one recipe, one for each dimension."""
    rows = []
    for dimension in runs[0].options["model.dimensions"]:
        found = [run.summary["accuracies"][dimension] for run in runs]
        best, blind, person = (
            _mean(values)
            for values in (
                [run.summary["ceilings"]["best"].get(_name_in_data(run, dimension)) for run in runs],
                [run.summary["ceilings"]["ignoring_prompt"].get(_name_in_data(run, dimension)) for run in runs],
                [run.summary["baselines"][dimension].get("annotator") for run in runs],
            )
        )
        cells = (
            f"`{runs[0].recipe}`",
            dimension,
            _mean([one["value"] for one in found]),
            " ".join(f"{one['value']:.3f}" for one in found),
            f"{found[0]['low']:.3f}–{found[0]['high']:.3f}",
            " ".join(_distinct(one["n_comparisons"] for one in found)),
            " ".join(_distinct(run.summary["protocol"] for run in runs)),
            best,
            blind,
            person,
        )
        rows.append(_row(cells))
    return rows


def cost_row(runs: Sequence[Run]) -> str:
    """Row of the table of costs for all seeds of one recipe."""
    cells = (
        f"`{runs[0].recipe}`",
        " ".join(str(run.seed) for run in runs),
        " ".join(str(run.options["data.embedded.seed"]) for run in runs),
        " ".join(_distinct(run.options["trainer.max_steps"] for run in runs)),
        " ".join(f"{run.summary['wall_s']:.0f}" for run in runs),
        " ".join(f"`{change}`" for change in _distinct(change for run in runs for change in run.changed)),
    )
    return _row(cells)


def tables(runs: Sequence[Run], order: Sequence[str]) -> str:
    """Both tables in Markdown.

    Args:
        runs: From ``finished_runs``.
        order: The recipes in the order of the page.

    Raises:
        SystemExit: A recipe that the page does not have.
    """
    by_recipe: dict[str, list[Run]] = {}
    for run in runs:
        by_recipe.setdefault(run.recipe, []).append(run)
    if unknown := set(by_recipe) - set(order):
        raise SystemExit(f"the page has no section of {', '.join(sorted(unknown))}")
    shown = [by_recipe[name] for name in order if name in by_recipe]
    lines = _head(ACCURACY)
    lines += [row for group in shown for row in accuracy_rows(group)]
    lines += ["", *_head(COST)]
    lines += [cost_row(group) for group in shown]
    return "\n".join(lines)


def order_of(page: Path) -> list[str]:
    """The recipes that have a section of the page, in its order."""
    return re.findall(r"^## `(\w+)`$", page.read_text(encoding="utf-8"), re.MULTILINE)


def _name_in_data(run: Run, dimension: str) -> str:
    """What the data call a dimension of the model."""
    named = run.options["data.dimension_map"]
    return next((name for name, own in named.items() if own == dimension), dimension)


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{fmean(known):.3f}" if known else ""


def _distinct(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values))


def _head(names: Sequence[str]) -> list[str]:
    return [_row(names), "|" + "---|" * len(names)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables, and writes them into the page where one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder with RECIPE/NAME/summary.json")
    parser.add_argument("--page", type=Path, default=None, help="page that the tables are written into")
    asked = parser.parse_args(arguments)
    runs, left_out = finished_runs(asked.runs)
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    if not runs:
        raise SystemExit(f"{asked.runs} has no finished run: expected RECIPE/NAME/summary.json")
    text = tables(runs, order_of(asked.page or PAGE))
    print(text)
    if asked.page:
        write_page(asked.page, MARK, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
