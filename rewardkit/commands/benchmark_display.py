"""How ``benchmark`` prints its result: a table for each reward, and what follows from several of them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rewardkit.benchmark.result import BenchmarkResult
from rewardkit.benchmark.result_rows import Agreement, Cell, Reward

MOST_PARTS = 8
"""Values of the main tag that a table has columns for."""

MOST_RATES = 10
"""Generators up to which win rates are printed."""


def print_result(result: BenchmarkResult, console: Console) -> None:
    """All tables, in the order in which they are read."""
    for reward in result.rewards:
        for dimension in reward.dimensions if reward.kind != "mllm" else reward.dimensions[:0]:
            _print(standings_table(result, reward, dimension), console)
    for reward in result.rewards:
        _print(published_table(result, reward), console)
        if reward.kind == "mllm":
            _print(aspects_table(result, reward) or dimensions_table(result, reward), console)
    if len(result.generators) <= MOST_RATES:
        for reward in result.rewards:
            _print(rates_table(result, reward), console)
    first = {reward.label: reward.dimensions[0] for reward in result.rewards}
    human = [r for r in result.human if r.dimension in (first[r.reward], r.other_dimension)]
    for title, rows in (("Agreement with people", human), ("Agreement of rewards", result.agreements)):
        _print(agreement_table(title, rows), console)
    _print(best_of_table(result), console)
    _print(variants_table(result), console)
    console.print(
        "\nrank: one more than the number of models that are distinguishably better (the 95 % interval of the paired "
        "difference over prompts does not hold 0); = marks a rank that is shared with a model that it cannot be told "
        "apart from. Intervals: bootstrap over prompts.",
        highlight=False,
    )
    if any(generator.missing for generator in result.generators):
        console.print(
            "Images are missing: a mean is over the prompts that its model has, a rank compares two models on the "
            "prompts that both have, so the one may order models otherwise than the other.",
            highlight=False,
        )


def standings_table(result: BenchmarkResult, reward: Reward, dimension: str) -> Table:
    """Generators by mean score over all prompts, with the parts of the main tag beside."""
    cells = [c for c in result.cells if (c.reward, c.dimension) == (reward.label, dimension)]
    parts = [p.value for p in result.parts if p.tag == result.main_tag and p.tag][:MOST_PARTS]
    by_place = {(c.tag, c.value, c.generator): c for c in cells}
    table = _table(f"{reward.label}: {dimension} ({reward.scale}), {result.prompt_set}")
    table.add_column("rank", justify="right")
    table.add_column("text-to-image model", overflow="fold")
    for column in ("mean", "95 %", "n", "missing", *parts):
        table.add_column(Text(column), justify="right", no_wrap=column in ("mean", "95 %"))
    for cell in [c for c in cells if not c.tag]:
        beside = [_mean(by_place.get((result.main_tag, part, cell.generator))) for part in parts]
        table.add_row(
            _rank(cell.rank, cell.same_as), Text(cell.generator), _mean(cell), _interval(cell.low, cell.high),
            str(cell.n), str(cell.missing), *beside,
        )  # fmt: skip
    return table


def published_table(result: BenchmarkResult, reward: Reward) -> Table | None:
    """HPS v2's table: mean and spread of groups of 80, and the published rows."""
    rows = [r for r in result.published if (r.reward, r.dimension) == (reward.label, reward.dimensions[0])]
    if not rows:
        return None
    styles = list(dict.fromkeys(style for row in rows for style in row.styles))
    table = _table(
        f"{reward.label}: published aggregation (mean ± deviation of the means of groups of 80; mean of all)"
    )
    table.add_column("text-to-image model", overflow="fold")
    for column in (*styles, "average", "95 %"):
        table.add_column(Text(column), justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda row: -(row.average or 0)):
        numbers = []
        for style in styles:
            of = row.styles[style]
            spread = "" if of.std is None else f" ± {of.std:.4f}"
            numbers.append("" if of.mean is None else f"{of.mean:.2f}{spread}")
        average = "" if row.average is None else f"{row.average:.2f}"
        table.add_row(Text(row.generator), *numbers, average, _interval(row.low, row.high, digits=2))
    for reference in result.references:
        numbers = [f"{reference.styles[style]:.2f}" if style in reference.styles else "" for style in styles]
        cells = [f"{reference.generator} ({reference.version}, published)", *numbers, f"{reference.average:.2f}", ""]
        table.add_row(*(Text(cell, style="italic dim") for cell in cells))
    return table


def aspects_table(result: BenchmarkResult, reward: Reward) -> Table | None:
    """EvalAlign's two aspects of each generator, and its skills."""
    rows = [row for row in result.aspects if row.reward == reward.label]
    if not rows:
        return None
    skills = list(dict.fromkeys(key for row in rows for key in row.skills))
    table = _table(f"{reward.label}: EvalAlign. Averages (faithfulness 0–4, alignment 0–2), shares of the best score")
    table.add_column("rank", justify="right")
    table.add_column("text-to-image model", overflow="fold")
    for column in ("aspect", "average", "total", "share", "95 %", *skills):
        table.add_column(Text(column), justify="right", overflow="fold")
    for row in sorted(rows, key=lambda row: (row.aspect, -(row.normalised_macro or 0))):
        of_skills = [_number(row.skills[key].average) if key in row.skills else "" for key in skills]
        table.add_row(
            _rank(row.rank, row.same_as), Text(row.generator), row.aspect, _number(row.average_micro),
            _number(row.total_average), _number(row.normalised_macro), _interval(row.low, row.high), *of_skills,
        )  # fmt: skip
    return table


def dimensions_table(result: BenchmarkResult, reward: Reward) -> Table:
    """An evaluator's dimensions side by side."""
    table = _table(f"{reward.label} ({reward.scale}), {result.prompt_set}: mean, rank")
    table.add_column("text-to-image model", overflow="fold")
    for dimension in reward.dimensions:
        table.add_column(Text(dimension), justify="right", overflow="fold")
    cells = {(c.dimension, c.generator): c for c in result.cells if c.reward == reward.label and not c.tag}
    for generator in result.generators:
        numbers = []
        for dimension in reward.dimensions:
            cell = cells[dimension, generator.name]
            numbers.append(f"{_mean(cell)} ({_rank(cell.rank, cell.same_as)})" if cell.mean is not None else "")
        table.add_row(Text(generator.name), *numbers)
    return table


def rates_table(result: BenchmarkResult, reward: Reward) -> Table | None:
    """How often the row's generator beats the column's, on the same prompts."""
    dimension = reward.dimensions[0]
    rows = [r for r in result.win_rates if (r.reward, r.dimension, r.tag) == (reward.label, dimension, "")]
    if not rows:
        return None
    rates = {(r.first, r.second): r.win_rate for r in rows}
    rates |= {(r.second, r.first): None if r.win_rate is None else 1 - r.win_rate for r in rows}
    names = [c.generator for c in result.cells if (c.reward, c.dimension, c.tag) == (reward.label, dimension, "")]
    table = _table(f"{reward.label}: {dimension}, % of prompts on which the row's model scores higher")
    table.add_column("text-to-image model", overflow="fold")
    for name in names:
        table.add_column(Text(name), justify="right", overflow="fold")
    for name in names:
        shares = [rates.get((name, other)) for other in names]
        table.add_row(Text(name), *("" if share is None else f"{100 * share:.1f}" for share in shares))
    return table


def agreement_table(title: str, rows: Sequence[Agreement]) -> Table | None:
    """Of rewards with each other, or with people."""
    if not rows:
        return None
    table = _table(title)
    for column in ("reward", "with", "of", "metric"):
        table.add_column(column, overflow="fold")
    for column in ("value", "95 %", "models", "prompts"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            Text(f"{row.reward}: {row.dimension}"),
            Text(f"{row.other or 'people'}: {row.other_dimension}"),
            "order of models" if row.level == "generators" else "images of a prompt",
            "pairs in the same order" if row.metric == "pairs" else row.metric,
            _number(row.value),
            _interval(row.low, row.high),
            str(row.generators),
            str(row.prompts),
        )
    return table


def best_of_table(result: BenchmarkResult) -> Table | None:
    """Curves over n, a row each."""
    if not result.best_of:
        return None
    ns = sorted({point.n for point in result.best_of})
    table = _table("Best of n images of a prompt: mean score of the chosen one")
    for column in ("text-to-image model", "chosen by", "judged by"):
        table.add_column(column, overflow="fold")
    for n in ns:
        table.add_column(f"n = {n}", justify="right")
    table.add_column("prompts", justify="right")
    curves: dict[tuple[str, str, str], dict[int, str]] = {}
    prompts: dict[tuple[str, str, str], int] = {}
    for point in result.best_of:
        key = (point.generator, f"{point.reward}: {point.dimension}", f"{point.judge}: {point.judge_dimension}")
        curves.setdefault(key, {})[point.n] = _number(point.value)
        prompts[key] = point.prompts
    for key, values in curves.items():
        table.add_row(*map(Text, key), *(values.get(n, "") for n in ns), str(prompts[key]))
    return table


def variants_table(result: BenchmarkResult) -> Table | None:
    """What appended prompts change, over all prompts."""
    rows = [row for row in result.variants if not row.tag]
    if not rows:
        return None
    words = {
        "images": "images made from them, original prompt",
        "wording": "same images, appended prompt",
        "both": "images made from them, appended prompt",
    }
    table = _table("Appended prompts, paired by prompt: with minus without")
    for column in ("text-to-image model", "compared", "reward"):
        table.add_column(column, overflow="fold")
    for column in ("difference", "95 %", "wins %", "95 %", "prompts"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        share = "" if row.win_rate is None else f"{100 * row.win_rate:.1f}"
        ends = (None if end is None else 100 * end for end in (row.win_low, row.win_high))
        table.add_row(
            Text(row.generator), words[row.compared], Text(f"{row.reward}: {row.dimension}"), _number(row.difference),
            _interval(row.low, row.high), share, _interval(*ends, digits=1), str(row.prompts),
        )  # fmt: skip
    return table


def _table(title: str) -> Table:
    return Table(title=Text(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False)


def _print(table: Table | None, console: Console) -> None:
    if table is not None:
        console.print()
        console.print(table)


def _rank(rank: int | None, same_as: Sequence[str]) -> str:
    return "" if rank is None else f"{rank}{'=' if same_as else ''}"


def _mean(cell: Cell | None) -> str:
    return "" if cell is None else _number(cell.mean)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(low: float | None, high: float | None, *, digits: int = 3) -> str:
    return "" if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}"
