"""The parts of a leaderboard's page below its table: charts and tables of all else that a benchmark found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rewardkit.benchmark.result import ALL, BenchmarkResult
from rewardkit.benchmark.result_published import Aspect, Skill
from rewardkit.benchmark.result_rows import Agreement, BestOf, Missing
from rewardkit.report.board import PEOPLE, Board, judge_name, part_name, rank_name, span
from rewardkit.report.charts import Line, line_chart
from rewardkit.report.figures import Figure, line_classes
from rewardkit.report.interval_chart import IntervalRow, interval_chart
from rewardkit.report.results_page import Cell, ResultsSection, ResultsTable
from rewardkit.report.template import Measured

MAX_FIGURES = 8
"""Charts of a kind that a page draws."""

MAX_ROWS = 300
"""Rows of a table below the first one."""

_BANDS = 4
"""Curves with their intervals in one chart; more would hide each other."""
_NAMED = 60


def sections(result: BenchmarkResult, board: Board) -> list[ResultsSection]:
    """All parts that have something to show, in the order of the page."""
    return [
        _means(board),
        _published(result),
        _references(result),
        *_aspects(result),
        _both_aspects(result),
        _agreement(
            "Agreement with people",
            "How far the rewards order generators as people do; 1 is the same order, 0 none.",
            result.human,
        ),
        _agreement("Agreement of the rewards", "How far two rewards order the same images alike.", result.agreements),
        _best_of(result),
        _variants(result),
        _missing(result),
    ]


def _means(board: Board) -> ResultsSection:
    """One chart for each reward and dimension, over all prompts."""
    drawn = [(n, one) for n, one in enumerate(board.columns) if one.tag == ALL and one.reward != PEOPLE]
    figures = []
    for place, column in drawn[:MAX_FIGURES]:
        rows = []
        for row in board.rows:
            cell = row.cells[place]
            if cell.value is None:
                continue
            told = f"{row.name}: {cell.text}, {cell.below}".rstrip(", ")
            rows.append(IntervalRow(row.name, cell.value, *cell.ends, best=cell.best, told=told, outside=row.published))
        rows.sort(key=lambda one: -(one.value or 0.0))
        note = "Hollow: published, not measured here." if any(row.outside for row in rows) else ""
        figures.append(Figure(column.judge, interval_chart(rows, x_label="mean score"), note=note))
    lead = "Over all prompts. In blue: the best, and those that are not distinguishable from it."
    left = len(drawn) - MAX_FIGURES
    lead += f" {left} more dimensions are in the table alone." if left > 0 else ""
    return ResultsSection("Means and intervals", lead, [figure for figure in figures if figure.svg])


def _published(result: BenchmarkResult) -> ResultsSection:
    """HPS v2's table by its own rule."""
    title = "As HPS v2's table counts"
    if not result.published:
        return ResultsSection(title)
    styles = list(dict.fromkeys(style for row in result.published for style in row.styles))
    rows: list[list[Cell]] = []
    for row in result.published:
        found = [row.styles.get(style) for style in styles]
        cells = [
            Measured(None)
            if one is None or one.mean is None
            else Measured(one.mean, f"± {one.std:.2f}" if one.std is not None else "", 2)
            for one in found
        ]
        average = Measured(row.average, span(row.low, row.high, "cosine100"), 2)
        rows.append([row.generator, judge_name(row.reward, row.dimension), *cells, average, row.n, row.planned - row.n])
    table = ResultsTable(
        ["Generator", "Reward", *styles, "Average", "Prompts", "Missing"], rows[:MAX_ROWS], sortable=True,
        note="± is the deviation of the means of groups of 80 prompts, as published: no error of the mean. Below the "
        "average is its 95 % interval.",
    )  # fmt: skip
    return ResultsSection(
        title, "Mean of the means of groups of 80 prompts; the average is over all images.", (), table
    )


def _references(result: BenchmarkResult) -> ResultsSection:
    """Published rows that may not stand beside the measured ones."""
    title = "Published scores"
    rows = [one for one in result.references if not one.rewards]
    if not rows:
        return ResultsSection(title)
    styles = list(dict.fromkeys(style for row in rows for style in row.styles))
    cells: list[list[Cell]] = [
        [one.generator, one.version, *(Measured(one.styles.get(style), "", 2) for style in styles),
         Measured(one.average, "", 2)]
        for one in rows
    ]  # fmt: skip
    sources = "; ".join(dict.fromkeys(one.source for one in rows))
    table = ResultsTable(
        ["Generator", "Table", *styles, "Average"], cells, note=f"Published: {sources}.", sortable=True
    )
    lead = "Not measured here, and not comparable with the rewards of this page."
    return ResultsSection(title, lead, (), table)


def _aspects(result: BenchmarkResult) -> list[ResultsSection]:
    """EvalAlign's skills, a table for each evaluator and aspect."""
    groups: dict[tuple[str, str], list[Aspect]] = defaultdict(list)
    for one in result.aspects:
        groups[one.reward, one.aspect].append(one)
    found = []
    for (reward, aspect), rows in groups.items():
        skills = list(dict.fromkeys(skill for row in rows for skill in row.skills))
        total = any(row.total_average is not None for row in rows) and aspect == "alignment"
        heads = [
            "Generator",
            "Rank",
            "Normalised",
            "Average",
            *(["Total average"] if total else []),
            *skills,
            "Missing",
        ]
        cells: list[list[Cell]] = []
        for row in sorted(rows, key=lambda one: -(one.normalised_macro or -1.0)):
            cells.append(
                [
                    row.generator,
                    rank_name(row.rank, row.last_rank) or "–",
                    Measured(row.normalised_macro, span(row.low, row.high, ""), 3),
                    Measured(row.average_micro, span(row.average_low, row.average_high, ""), 3),
                    *([Measured(row.total_average, "", 3)] if total else []),
                    *(_skill(row.skills.get(skill)) for skill in skills),
                    len(row.missing),
                ]
            )
        note = "Ranks are by the normalised number: the mean of the skills' shares of their best score, 0 to 1."
        title = f"EvalAlign: {aspect}" + (f", {reward}" if len({r for r, _ in groups}) > 1 else "")
        table = ResultsTable(heads, cells, note=note, sortable=True)
        found.append(ResultsSection(title, "Average score of each skill, with its 95 % interval.", (), table))
    return found


def _skill(skill: Skill | None) -> Measured:
    return Measured(None) if skill is None else Measured(skill.average, span(skill.low, skill.high, ""), 3)


def _both_aspects(result: BenchmarkResult) -> ResultsSection:
    rows: list[list[Cell]] = [
        [one.generator, one.reward, Measured(one.normalised, "", 3),
         Measured(one.normalised_macro_over_skills, "", 3), Measured(one.average_of_the_two, "", 3)]
        for one in sorted(result.both_aspects, key=lambda one: -(one.normalised or -1.0))
    ]  # fmt: skip
    if not rows:
        return ResultsSection("EvalAlign: both aspects")
    heads = ["Generator", "Evaluator", "Normalised", "Normalised, over skills", "Average of the two"]
    note = "The average of the two is the paper's; its halves have different scales."
    return ResultsSection("EvalAlign: both aspects", table=ResultsTable(heads, rows, note=note, sortable=True))


def _agreement(title: str, lead: str, found: Sequence[Agreement]) -> ResultsSection:
    """A row for each two sides and level, a column for each metric."""
    if not found:
        return ResultsSection(title)
    metrics = list(dict.fromkeys(one.metric for one in found))
    pairs: dict[tuple[str, str, str], dict[str, Agreement]] = defaultdict(dict)
    for one in found:
        other = judge_name(one.other or PEOPLE, one.other_dimension)
        pairs[judge_name(one.reward, one.dimension), other, one.level][one.metric] = one
    rows: list[list[Cell]] = []
    for (first, second, level), by_metric in pairs.items():
        any_one = next(iter(by_metric.values()))
        rows.append([first, second, level, *(_correlation(by_metric.get(metric)) for metric in metrics),
                     any_one.generators, any_one.prompts])  # fmt: skip
    heads = ["Reward", "With", "Of", *(metric.capitalize() for metric in metrics), "Generators", "Prompts"]
    notes = list(dict.fromkeys(one.note for one in found if one.note))
    cut = [f"{len(rows) - MAX_ROWS:,} more are in benchmark.json."] if len(rows) > MAX_ROWS else []
    table = ResultsTable(heads, rows[:MAX_ROWS], note=" ".join(cut + notes), sortable=True)
    lead += (
        " Of generators: their means; of prompts: their images of one prompt, averaged. Below each its 95 % interval."
    )
    return ResultsSection(title, lead, (), table)


def _correlation(one: Agreement | None) -> Measured:
    return Measured(None) if one is None else Measured(one.value, span(one.low, one.high, ""), 3)


def _best_of(result: BenchmarkResult) -> ResultsSection:
    """A chart for each chooser and judge, a line for each generator."""
    curves: dict[tuple[str, str], dict[str, list[BestOf]]] = defaultdict(lambda: defaultdict(list))
    for one in result.best_of:
        names = judge_name(one.reward, one.dimension), judge_name(one.judge, one.judge_dimension)
        curves[names][one.generator].append(one)
    figures = []
    for (chooser, judge), by_generator in list(curves.items())[:MAX_FIGURES]:
        lines = [_curve(generator, points) for generator, points in by_generator.items()]
        if len(lines) > _BANDS:
            lines = [Line(line.label, line.points) for line in lines]
        svg = line_chart(lines, x_label="images that one is chosen of", y_label=f"mean of {judge}")
        legend = tuple((line_classes(n), line.label) for n, line in enumerate(lines))
        title = f"Chosen by {chooser}" + ("" if chooser == judge else f", judged by {judge}")
        figures.append(Figure(title, svg, legend, _behind_curves(by_generator)))
    left = len(curves) - MAX_FIGURES
    lead = "Mean of the image that scores highest of n; 1 is a random one. A reward flatters what it chose itself."
    lead += f" {left} more are in benchmark.json." if left > 0 else ""
    return ResultsSection("Best of n", lead, [figure for figure in figures if figure.svg])


def _curve(generator: str, points: Sequence[BestOf]) -> Line:
    known = [one for one in sorted(points, key=lambda one: one.n) if one.value is not None]
    ends = [(one.low, one.high) for one in known if one.low is not None and one.high is not None]
    whole = ends if len(ends) == len(known) else []
    return Line(generator, [(float(one.n), float(one.value or 0.0)) for one in known], whole)


def _behind_curves(curves: dict[str, list[BestOf]]) -> str:
    counts = sorted({one.prompts for points in curves.values() for one in points})
    left = max(one.left_out for points in curves.values() for one in points)
    span_ = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    return f"Over {span_} prompts" + (f"; up to {left:,} have too few images." if left else ".")


def _variants(result: BenchmarkResult) -> ResultsSection:
    """What appended prompts change."""
    title = "Prompts with appended text"
    if not result.variants:
        return ResultsSection(title)
    scales = {reward.label: reward.scale for reward in result.rewards}
    rows: list[list[Cell]] = []
    for one in result.variants:
        interval = span(one.low, one.high, scales.get(one.reward, ""))
        name = f"{one.generator}, {one.variant}" if one.variant else one.generator
        rows.append([name, one.compared, judge_name(one.reward, one.dimension), part_name(one.tag, one.value),
                     Measured(one.difference, interval), Measured(one.win_rate, span(one.win_low, one.win_high, ""), 3),
                     one.prompts])  # fmt: skip
    heads = ["Generator, variant", "Compared", "Reward", "Part", "Difference", "Win rate", "Prompts"]
    cut = f" {len(rows) - MAX_ROWS:,} more rows are in benchmark.json." if len(rows) > MAX_ROWS else ""
    note = (
        "images: the variant's images against the original ones, under the original prompt. wording: the same images "
        "under the appended against the original prompt. both: variant and appended against original and original."
    )
    lead = "With the appended text minus without, paired by prompt; below each number its 95 % interval."
    return ResultsSection(title, lead, (), ResultsTable(heads, rows[:MAX_ROWS], note=note + cut, sortable=True))


def _missing(result: BenchmarkResult) -> ResultsSection:
    """Missing images by generator, part and reason; then files that belong to no prompt."""
    rows: list[list[Cell]] = []
    for generator in result.generators:
        groups: dict[tuple[str, str], list[Missing]] = defaultdict(list)
        for one in generator.missing:
            groups[one.part, one.reason].append(one)
        for (part, reason), found in groups.items():
            rows.append([generator.name, part or "–", len(found), reason, _named([one.prompt for one in found])])
        if generator.strays:
            rows.append([generator.name, "–", generator.strays, "belongs to no prompt", _named(generator.stray,
                         generator.strays)])  # fmt: skip
    if not rows:
        return ResultsSection("Missing images")
    cut = f"{len(rows) - MAX_ROWS:,} more rows are in benchmark.json." if len(rows) > MAX_ROWS else ""
    lead = "Prompts without an image that can be scored. Their places stay empty: no other image moves into them."
    heads = ["Generator", "Part", "Number", "Reason", "Which"]
    return ResultsSection("Missing images", lead, (), ResultsTable(heads, rows[:MAX_ROWS], note=cut, sortable=True))


def _named(names: Sequence[str], count: int | None = None) -> str:
    whole = len(names) if count is None else count
    more = f" and {whole - _NAMED:,} more" if whole > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
