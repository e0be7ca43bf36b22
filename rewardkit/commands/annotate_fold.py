"""The end of ``annotate``: from the log to groups, and what there is to say of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardkit.commands.annotate_end import FIGURES_FILE, add_section
from rewardkit.commands.data_display import print_tables, progress_display
from rewardkit.commands.data_flips import as_key, ready_line
from rewardkit.config.annotate_options import AnnotateOptions
from rewardkit.config.messages import did_you_mean
from rewardkit.errors import BadSample, UserError

if TYPE_CHECKING:
    from rewardkit.annotate.fold import FoldRules
    from rewardkit.annotate.fold_figures import FoldFigures
    from rewardkit.annotate.inputs import Groups
    from rewardkit.annotate.read_back import Logged
    from rewardkit.data.index import Scale
    from rewardkit.data.questions import QuestionSet

PAGE_FILE = "annotate.html"
SECTION = "fold"
"""Of ``annotate.json``: what became of the answers. The asking has the others."""


def check_rules(options: AnnotateOptions, questions: QuestionSet) -> FoldRules:
    """The rules as values, before anything is asked.

    Raises:
        UserError: They do not go together, or name a dimension that nobody is asked about.
    """
    from rewardkit.annotate.aggregate import check_installed
    from rewardkit.annotate.fold import FoldRules
    from rewardkit.annotate.overall import OVERALL, OverallRule

    dimensions = dimensions_of(questions)
    if options.overall != "none" and OVERALL in dimensions:
        raise UserError(
            f"overall={options.overall}: questions={questions.name} asks about {OVERALL!r} itself; give overall=none"
        )
    if options.weights and options.overall != "weighted":
        raise UserError(f"weights= is for overall=weighted; overall is {options.overall}")
    for name, weight in options.weights.items():
        if name not in dimensions:
            raise UserError(
                f"weights names {name!r}, but questions={questions.name} asks about {', '.join(dimensions)}."
                f"{did_you_mean(name, dimensions)}"
            )
        if weight < 0:
            raise UserError(f"weights: that of {name} is {weight:g}; it must not be negative")
    if options.overall == "weighted" and not any(options.weights.values()):
        raise UserError("overall=weighted needs weights=, such as weights='{prompt_following: 2, aesthetic: 1}'")
    known = (*dimensions, *(() if options.overall == "none" else (OVERALL,)))
    for name in options.dimension_map:
        if name not in known:
            told = f"the annotation has {', '.join(known)}.{did_you_mean(name, known)}"
            raise UserError(f"dimension_map names {name!r}; {told}")
    if Path(options.shards).name != options.shards or options.shards in ("", ".", ".."):
        raise UserError(f"shards={options.shards}: it is the name of a folder inside out=")
    check_installed(options.aggregate)
    return FoldRules(
        options.aggregate,
        OverallRule(options.overall, dict(options.weights), options.tie_eps),  # type: ignore[arg-type]
        options.answers,  # type: ignore[arg-type]  # the schema allows these
    )


def fold_log(
    folder: Path,
    groups: Groups,
    questions: QuestionSet,
    options: AnnotateOptions,
    rules: FoldRules,
    *,
    partly: bool = False,
) -> None:
    """Makes groups of a log, prints what there is to say of them, and writes figures and page.

    Args:
        folder: Of the annotation.
        groups: That were annotated.
        questions: That were asked.
        options: Of the verb.
        rules: See ``check_rules``.
        partly: Whether not all was asked; then a log without any score is nobody's mistake.
    """
    from rewardkit.annotate.fold_figures import fold_figures
    from rewardkit.annotate.fold_tables import fold_tables
    from rewardkit.annotate.folding import fold
    from rewardkit.report.annotate_page import cost_facts, write_annotate_page

    logged = _read(folder, groups, questions)
    if partly and not len(logged.scores.value):
        print("no request brought scores yet, so no groups are made")
        return
    out = folder / options.shards
    with progress_display("folding", len(groups)) as progress:
        found = fold(
            groups,
            logged,
            out,
            rules,
            scales=scales_of(questions),
            people=options.dimension_map,
            draws=options.bootstrap,
            progress=progress,
        )
    line = _flip_rates(found.people)
    figures = fold_figures(logged, found, rules, flip_rates=line, draws=options.bootstrap)
    add_section(folder, SECTION, figures.as_record())
    print_tables(fold_tables(figures))
    _print_notes(figures)
    asking = json.loads((folder / FIGURES_FILE).read_text(encoding="utf-8")).get("asking", {})
    page = write_annotate_page(
        folder / PAGE_FILE, figures, title=folder.resolve().name, cost=cost_facts(asking.get("all", {}))
    )
    print(f"wrote {out}: {found.written:,} groups; {folder / FIGURES_FILE}; {page}")
    print(f"train on them: python -m rewardkit fit recipe=vpscore data.train={out}")


def dimensions_of(questions: QuestionSet) -> tuple[str, ...]:
    """The dimensions that are asked about, in the order of the questions."""
    return tuple(dict.fromkeys(question.dimension for question in questions.questions))


def scales_of(questions: QuestionSet) -> dict[str, Scale]:
    """Dimension to the scale of its questions' options."""
    from rewardkit.data.group import NOT_APPLICABLE
    from rewardkit.data.index import Scale

    found: dict[str, Scale] = {}
    for question in questions.questions:
        values = [float(option.value) for option in question.options if option.value != NOT_APPLICABLE]
        if values:
            scale = Scale(min(values), max(values), all(value == round(value) for value in values))
            found[question.dimension] = found.get(question.dimension, scale).union(scale)
    return found


def _read(folder: Path, groups: Groups, questions: QuestionSet) -> Logged:
    from rewardkit.annotate.read_back import read_back

    ids = []
    for position in range(len(groups)):
        try:
            ids.append(groups.record(position).id)
        except BadSample:
            ids.append("")  # it has no lines; folding names it
    return read_back(folder, ids, dimensions_of(questions))


def _flip_rates(people: Mapping[str, Mapping[str, Any]]) -> str:
    """The arguments for ``fit`` from the aggregated scores' flip rates; overall is not trained on, it follows."""
    from rewardkit.annotate.overall import OVERALL

    aggregated: Mapping[str, Any] = next(iter(people.values()), {})
    rates = {name: found.flips for name, found in aggregated.items() if name != OVERALL and found.flips.usable}
    if not rates:
        return ""
    dimensions = ", ".join(f"{as_key(name)}: 1.0" for name in rates)
    return f"objective.robust.dimensions='{{{dimensions}}}' {ready_line(rates)}"


def _print_notes(figures: FoldFigures) -> None:
    for name, found in next(iter(figures.people.values()), {}).items():
        if found.flips.method == "uncorrected" and found.flips.flip_rate is not None:
            print(f"note: {name}: nobody's votes tell people's own noise, so the flip rate is an upper bound")
        if found.flips.flip_rate is not None and not found.flips.usable:
            print(f"note: {name}: the annotation is no better than chance; it is left out of the line below")
    if figures.flip_rates:
        print(f"for a robust objective: {figures.flip_rates}")
    if not figures.position and figures.outcomes:
        print("note: position bias is not measured: images were not shown together (mode=joint)")
    elif figures.position and not figures.consistency:
        print("note: flips between swapped orders need repeats=2 or more")
    shown = figures.bad[:_SHOWN]
    for text in shown:
        print(f"warning: left out {text}", file=sys.stderr)
    if len(figures.bad) > len(shown):
        print(f"warning: and {len(figures.bad) - len(shown):,} more groups", file=sys.stderr)


_SHOWN = 10
