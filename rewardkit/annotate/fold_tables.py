"""The figures of a folded annotation as tables of text, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rewardkit.annotate.estimates import Estimate
from rewardkit.annotate.fold_figures import FoldFigures
from rewardkit.data.inspect import Table

NOTHING = "-"


def fold_tables(figures: FoldFigures) -> list[Table]:
    """Every table that has something to say, in the order in which a person asks."""
    made = [
        groups_table(figures),
        requests_table(figures),
        scores_table(figures),
        pairs_table(figures),
        position_table(figures),
        consistency_table(figures),
        reliability_table(figures),
        people_table(figures),
        flips_table(figures),
        correlations_table(figures),
    ]
    return [table for table in made if table.rows]


def told(estimate: Estimate, digits: int = 3) -> str:
    """A figure with its interval."""
    if estimate.value is None:
        return NOTHING
    ends = "" if estimate.low is None else f" ({estimate.low:.{digits}f}–{estimate.high:.{digits}f})"
    return f"{estimate.value:.{digits}f}{ends}"


def groups_table(figures: FoldFigures) -> Table:
    """Coverage."""
    rows = [
        ("in the input", figures.groups),
        ("with a score", figures.with_scores),
        ("with a score of every image on every dimension", figures.complete),
        ("written", figures.written),
        ("that cannot be read", len(figures.bad)),
        ("of the log that are not in the input (lines)", figures.unknown),
    ]
    shown = [(name, f"{count:,}") for n, (name, count) in enumerate(rows) if count or n < 4]
    return Table("groups", ("", ""), shown)


def requests_table(figures: FoldFigures) -> Table:
    """What came of the requests."""
    rows = []
    for by, outcomes in figures.outcomes.items():
        total = sum(outcomes.values())
        shares = [f"{outcomes.get(name, 0) / total:.1%}" for name in ("ok", "invalid", "refused")]
        rows.append((by, ", ".join(figures.models[by]), f"{total:,}", *shares))
    return Table("requests", ("annotator", "models", "n", "ok", "invalid", "refused"), rows)


def scores_table(figures: FoldFigures) -> Table:
    """How often each score was given."""
    levels = sorted(
        {value for of in figures.histogram.values() for counts in of.values() for value in counts},
        key=lambda value: (value == "NA", 0.0 if value == "NA" else float(value)),
    )
    rows = []
    for by, of in figures.histogram.items():
        for dimension, counts in of.items():
            total = sum(counts.values())
            if total:
                shares = [f"{counts.get(level, 0) / total:.1%}" for level in levels]
                rows.append((by, dimension, f"{total:,}", *shares))
    return Table("scores (share of each)", ("annotator", "dimension", "n", *levels), rows)


def pairs_table(figures: FoldFigures) -> Table:
    """What became of pairs; what is left where ties are dropped stands under strict."""
    rows = [
        (
            name,
            f"{c.pairs:,}",
            f"{c.strict:,}",
            f"{c.ties:,}",
            NOTHING if c.tie_share is None else f"{c.tie_share:.1%}",
            f"{c.missing:,}",
            f"{c.conflicts:,}",
            f"{c.invalid:,}",
            f"{c.refused:,}",
            f"{c.not_applicable:,}",
        )
        for name, c in figures.pairs.items()
    ]
    rule = ", ".join(f"{name}={value}" for name, value in figures.rules.items())
    columns = (
        "dimension", "pairs", "strict", "ties", "tie share", "no score", "conflict", "invalid", "refused", "NA",
    )  # fmt: skip
    return Table(f"pairs ({rule}; invalid, refused and NA count scores)", columns, rows)


def position_table(figures: FoldFigures) -> Table:
    """Position bias."""
    rows = [
        (
            by,
            dimension,
            told(bias.slots[0].shift),
            told(bias.slots[-1].shift),
            told(bias.first_preference),
            f"{bias.first_preference.n:,}",
            told(bias.flips_swapped),
            f"{bias.flips_swapped.n:,}",
            told(bias.flips_same),
            f"{bias.flips_same.n:,}",
        )
        for by, of in figures.position.items()
        for dimension, bias in of.items()
    ]
    columns = (
        *("annotator", "dimension", "first slot", "last slot", "first wins", "n"),
        *("flips, swapped", "n", "flips, same", "n"),
    )
    title = "position bias (slot: score minus the request's mean, 0 is none; first wins: 0.5 is none; 95 % intervals)"
    return _without_empty(Table(title, columns, rows))


def consistency_table(figures: FoldFigures) -> Table:
    """Self-consistency."""
    rows = [
        (by, dimension, f"{c.same.n:,}", told(c.same), told(c.distance), told(c.alpha))
        for by, of in figures.consistency.items()
        for dimension, c in of.items()
    ]
    columns = ("annotator", "dimension", "n", "same score", "distance", "alpha")
    return Table("self-consistency over repeats (n pairs of answers; alpha ordinal; 95 % intervals)", columns, rows)


def reliability_table(figures: FoldFigures) -> Table:
    """What the rule makes of each annotator."""
    rows = [
        (by, dimension, f"{value:.3f}") for by, of in figures.reliability.items() for dimension, value in of.items()
    ]
    return Table(f"reliability as {figures.rules['aggregate']} estimates it", ("annotator", "dimension", ""), rows)


def people_table(figures: FoldFigures) -> Table:
    """Agreement with people."""
    rows = [
        (
            by,
            dimension,
            f"{p.half.n:,}",
            f"{p.half.groups:,}",
            told(p.strict),
            told(p.half),
            told(p.tau_b),
            told(p.kappa),
            told(p.alpha),
            p.of,
            f"{p.kappa.n:,}",
        )
        for by, of in figures.people.items()
        for dimension, p in of.items()
    ]
    columns = ("who", "dimension", "pairs", "groups", "strict", "half", "tau-b", "kappa", "alpha", "of", "n")
    title = "agreement with people (pairs: accuracy on the comparisons that people decided; 95 % intervals over groups)"
    return Table(title, columns, rows)


def flips_table(figures: FoldFigures) -> Table:
    """Flip rates."""

    def of(value: float | None) -> str:
        return NOTHING if value is None else f"{value:.3f}"

    rows = []
    for by, found in figures.people.items():
        for dimension, p in found.items():
            f = p.flips
            ends = "" if f.low is None else f" ({f.low:.3f}–{f.high:.3f})"
            rate = f"{f.flip_rate:.3f}{ends}" if f.flip_rate is not None else f.reason or NOTHING
            noise = (of(f.raw_disagreement), of(f.human_agreement), rate, f.method)
            rows.append((by, dimension, f"{f.comparisons:,}", f"{f.groups:,}", *noise))
    columns = ("who", "dimension", "n", "groups", "raw", "people agree", "flip rate", "people's noise")
    return Table("flip rate (people's own disagreement taken out; docs/looking.md tells every column)", columns, rows)


def correlations_table(figures: FoldFigures) -> Table:
    """Correlation matrix of dimensions, below its diagonal."""
    names = list(dict.fromkeys(name for c in figures.correlations for name in (c.second, c.first)))
    found = {(c.first, c.second): c.value for c in figures.correlations}
    rows = []
    for first in names[1:]:
        values = [found.get((first, second)) for second in names[:-1]]
        rows.append((first, *(NOTHING if value is None else f"{value:.2f}" for value in values)))
    counts = {c.n for c in figures.correlations}
    n = f"{min(counts):,}" if len(counts) == 1 else f"{min(counts, default=0):,} to {max(counts, default=0):,}"
    return Table(f"correlation of dimensions (Spearman, over {n} candidates)", ("", *names[:-1]), rows)


def _without_empty(table: Table) -> Table:
    """The table without columns (and the n beside them) that have nothing in any row."""
    empty = [n for n, _ in enumerate(table.columns) if all(row[n] == NOTHING for row in table.rows)]
    left_out = {*empty, *(n + 1 for n in empty if n + 1 < len(table.columns) and table.columns[n + 1] == "n")}
    keep: Callable[[Sequence[str]], list[str]] = lambda row: [c for n, c in enumerate(row) if n not in left_out]  # noqa: E731
    return Table(table.title, keep(table.columns), [keep(row) for row in table.rows])
