"""The tables of a benchmark for a paper: which numbers stand in them, what is bold, and what the caption says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rewardkit.benchmark.result import ALL, BenchmarkResult, read_result
from rewardkit.benchmark.result_published import Aspect, Published, PublishedStyle, Reference
from rewardkit.benchmark.result_rows import Cell, Reward
from rewardkit.report.board import columns_of_cells, leaders, written
from rewardkit.report.paper_text import PaperCell, PaperTable, as_latex, as_markdown
from rewardkit.report.template import write_page

LATEX, MARKDOWN = "table.tex", "table.md"

_SCALES = {"cosine100": "100 times the cosine", "cosine": "the cosine", "logit": "the logit"}
_BOLD = "Bold: the best, and all that are not distinguishable from it (paired bootstrap over prompts, 95 %)."


def write_paper_tables(folder: Path) -> tuple[Path, Path]:
    """Writes ``table.tex`` and ``table.md`` beside ``benchmark.json``.

    Args:
        folder: The benchmark's.

    Raises:
        UserError: There is no benchmark.
        DataError: It is damaged.
    """
    tables = paper_tables(read_result(folder))
    return (
        write_page(folder / LATEX, as_latex(tables)),
        write_page(folder / MARKDOWN, as_markdown(tables)),
    )


def paper_tables(result: BenchmarkResult) -> list[PaperTable]:
    """For each reward its parts and their average; then all rewards and dimensions; then EvalAlign's skills."""
    parts = [part.value for part in result.parts if part.tag == result.main_tag and part.tag != ALL]
    skilled = {one.reward for one in result.aspects}  # their aspects have tables of their own
    tables = [_by_part(result, one, parts) for one in result.rewards if parts and one.label not in skilled]
    judges = [(reward, dimension) for reward in result.rewards for dimension in reward.dimensions]
    if judges and (len(judges) > 1 or not parts):
        tables.append(_by_judge(result, judges))
    kinds = dict.fromkeys((one.reward, one.aspect) for one in result.aspects)
    return tables + [_of_aspect(result, *kind) for kind in kinds]


def _by_part(result: BenchmarkResult, reward: Reward, parts: Sequence[str]) -> PaperTable:
    """The first dimension of a reward; as HPS v2's table counts where the benchmark has that."""
    dimension = reward.dimensions[0]
    published = {
        one.generator: one for one in result.published if (one.reward, one.dimension) == (reward.label, dimension)
    }
    by_column = columns_of_cells(result.cells)
    keys = [(reward.label, dimension, result.main_tag, part) for part in parts]
    columns = [by_column.get(key, {}) for key in [*keys, (reward.label, dimension, ALL, ALL)]]
    best = [leaders(column.values()) for column in columns]
    rows = []
    for name in _ordered(result, columns[-1]):
        row = published.get(name)
        cells = [
            _style(row.styles[part], name in leading)
            if row and part in row.styles
            else _mean(column.get(name), reward.scale, name in leading)
            for part, column, leading in zip(parts, columns, best, strict=False)
        ]
        average = (
            _average(row, name in best[-1]) if row else _mean(columns[-1].get(name), reward.scale, name in best[-1])
        )
        rows.append((name, (*cells, average)))
    references = [one for one in result.references if reward.label in one.rewards]
    return PaperTable(
        caption=_caption(result, f"{reward.label}, {dimension}", reward.scale, parts, published=bool(published)),
        columns=(*parts, "Average"),
        rows=tuple(rows),
        published=tuple((f"{one.generator}, {one.version}", _reference(one, parts)) for one in references),
        source="; ".join(dict.fromkeys(one.source for one in references)),
    )


def _by_judge(result: BenchmarkResult, judges: Sequence[tuple[Reward, str]]) -> PaperTable:
    """Every reward and dimension over all prompts."""
    by_column = columns_of_cells(result.cells)
    columns = [by_column.get((reward.label, dimension, ALL, ALL), {}) for reward, dimension in judges]
    best = [leaders(column.values()) for column in columns]
    several = len({reward.label for reward, _ in judges}) > 1
    rows = [
        (
            name,
            tuple(
                _mean(column.get(name), reward.scale, name in leading)
                for (reward, _), column, leading in zip(judges, columns, best, strict=True)
            ),
        )
        for name in _ordered(result, columns[0])
    ]
    what = "every reward and dimension" if several else f"{judges[0][0].label}, every dimension"
    scales = {reward.scale for reward, _ in judges}
    return PaperTable(
        caption=_caption(result, what, scales.pop() if len(scales) == 1 else "", (), published=False),
        columns=tuple(f"{reward.label}: {dimension}" if several else dimension for reward, dimension in judges),
        rows=tuple(rows),
    )


def _of_aspect(result: BenchmarkResult, reward: str, aspect: str) -> PaperTable:
    """EvalAlign's skills with the number that ranks, and the published aggregate."""
    found = [one for one in result.aspects if (one.reward, one.aspect) == (reward, aspect)]
    found.sort(key=lambda one: -(one.normalised_macro or -1.0))
    skills = list(dict.fromkeys(skill for one in found for skill in one.skills))
    total = aspect == "alignment"
    best = {found[0].generator, *found[0].same_as} if found[0].normalised_macro is not None else set()
    rows = []
    for one in found:
        skill_cells = [
            _number(skill.average, skill.low, skill.high) if (skill := one.skills.get(key)) else PaperCell()
            for key in skills
        ]
        published = _number(one.total_average, None, None) if total else _whole(one)
        normalised = _number(one.normalised_macro, one.low, one.high, bold=one.generator in best)
        rows.append((one.generator, (*skill_cells, published, normalised)))
    missing = "; ".join(f"{one.generator} {len(one.missing)}" for one in found if one.missing)
    caption = (
        f"EvalAlign, {aspect}, by {reward}: mean score of each skill on {found[0].images:,} prompts, then "
        f"{'the sum of all scores over the images' if total else 'the mean of all scores'} (as published), then the "
        "mean of the skills' shares of their best score. In brackets 95 % intervals (bootstrap over prompts"
        f"{_draws(result)}). Bold, in the last column: the best, and all that are not distinguishable from it."
        + (f" Images without an answer: {missing}." if missing else "")
    )
    return PaperTable(caption, (*skills, "Total" if total else "Average", "Normalised"), tuple(rows))


def _ordered(result: BenchmarkResult, column: Mapping[str, Cell]) -> list[str]:
    """All generators, the best of a column first."""

    def place(name: str) -> tuple[bool, float]:
        mean = column[name].mean if name in column else None
        return mean is None, -(mean or 0.0)

    return sorted((one.name for one in result.generators), key=place)


def _caption(result: BenchmarkResult, what: str, scale: str, parts: Sequence[str], *, published: bool) -> str:
    prompts = {part.value: part.prompts for part in result.parts if part.tag in (ALL, result.main_tag)}
    sizes = {prompts[part] for part in parts}
    each = f" ({sizes.pop():,} for each {result.main_tag})" if len(sizes) == 1 else ""
    if len(sizes) > 1:
        each = f" ({', '.join(f'{part} {prompts[part]:,}' for part in parts)})"
    missing = "; ".join(f"{one.name} {len(one.missing):,}" for one in result.generators if one.missing)
    spread = (
        "± is the deviation of the means of groups of 80 prompts, as HPS v2's table counts. The average is over all "
        "images, its 95 % interval"
        if published
        else "In brackets 95 % intervals"
    )
    return (
        f"Mean score by {what}{f', {_SCALES[scale]}' if scale in _SCALES else ''}, on {prompts.get(ALL, 0):,} "
        f"prompts of {result.prompt_set}{each}. {spread} (bootstrap over prompts{_draws(result)}). {_BOLD}"
        + (f" Missing images: {missing}." if missing else "")
    )


def _draws(result: BenchmarkResult) -> str:
    draws = result.provenance.get("bootstrap")
    return f", {draws:,} resamples" if isinstance(draws, int) else ""


def _mean(cell: Cell | None, scale: str, bold: bool) -> PaperCell:
    if cell is None or cell.mean is None:
        return PaperCell()
    return PaperCell(written(cell.mean, scale), "", _ends(cell.low, cell.high, scale), bold)


def _style(style: PublishedStyle, bold: bool) -> PaperCell:
    if style.mean is None:
        return PaperCell()
    if style.std is None:
        return PaperCell(f"{style.mean:.2f}", "", _ends(style.low, style.high, "cosine100"), bold)
    return PaperCell(f"{style.mean:.2f}", f"{style.std:.2f}", "", bold)


def _average(row: Published, bold: bool) -> PaperCell:
    if row.average is None:
        return PaperCell()
    return PaperCell(f"{row.average:.2f}", "", _ends(row.low, row.high, "cosine100"), bold)


def _whole(one: Aspect) -> PaperCell:
    return _number(one.average_micro, one.average_low, one.average_high)


def _number(value: float | None, low: float | None, high: float | None, *, bold: bool = False) -> PaperCell:
    return PaperCell() if value is None else PaperCell(written(value, ""), "", _ends(low, high, ""), bold)


def _reference(one: Reference, parts: Sequence[str]) -> tuple[PaperCell, ...]:
    values = [*(one.styles.get(part) for part in parts), one.average]
    return tuple(PaperCell() if value is None else PaperCell(f"{value:.2f}") for value in values)


def _ends(low: float | None, high: float | None, scale: str) -> str:
    return "" if low is None or high is None else f"[{written(low, scale)}, {written(high, scale)}]"
