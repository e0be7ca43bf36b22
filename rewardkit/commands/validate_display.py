"""How ``validate`` shows its numbers: a table for each model and set, the matrix of all, the differences in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rewardkit.commands.summary import share

Row = Mapping[str, Any]

_BESIDE = {
    "chance": "chance",
    "annotator_agreement": "one\nperson",
    "which_generator": "gene-\nrator",
    "list_position": "listed\nfirst",
    "generator_balanced": "bal-\nanced",
}
WIDTH = 100
"""Of tables that are not printed on a terminal."""


def print_validation(
    results: Mapping[str, Mapping[str, Sequence[Row]]],
    differences: Sequence[Row],
    protocols: Sequence[str],
    sets: Iterable[str],
    folders: Sequence[str],
    console: Console,
) -> None:
    """A table for each model and set, the matrix of all, and the differences of the models.

    Args:
        results: Model's label, to set, to rows.
        differences: With their words.
        protocols: That were asked for.
        sets: Names of the sets of the first model.
        folders: What they were given as.
        console: Where to print.
    """
    for label, of_model in results.items():
        for name, rows in of_model.items():
            title = f"{label} on {name}"
            print_results(rows, f"{title} ({protocols[0]})" if len(protocols) == 1 else title, console)
    if any(results.values()):
        print_legend(console)
    names = [*sets]
    if len(results) > 1 or len(names) > 1:
        console.print()
        console.print(matrix_table(results))
        print_sets(names, folders, console)
    if differences:
        console.print("\nPaired over groups, the same groups drawn for both:", style="bold")
    for gain in differences:
        line = f"{gain['set']}, {gain['dimension']}, {name_of(gain)}: {gain['words']}"
        console.print(line, highlight=False, soft_wrap=True)


def results_table(rows: Sequence[Row], title: str) -> Table:
    """Every number of one model on one set, with interval, counts and baselines; 100 columns."""
    table = Table(
        title=Text(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False, padding=0
    )
    table.add_column("protocol", overflow="fold")
    for column in ("value", "95 %", "n", "groups", "ties", *_BESIDE.values()):
        table.add_column(column, justify="right", no_wrap=True)
    for dimension, members in groupby(rows, key=lambda row: row["dimension"]):
        table.add_row(Text(str(dimension), style="bold"))
        for row in members:
            table.add_row(
                Text(f" {name_of(row)}"),
                share(row["value"]),
                "" if row["low"] is None else f"{share(row['low'])}–{share(row['high'])}",
                str(row["comparisons"]),
                str(row["groups"]),
                str(row["ties"]),
                *("" if row[key] is None else share(row[key]) for key in _BESIDE),
            )
    return table


def name_of(row: Row) -> str:
    """Protocol, and metric where it is not an accuracy."""
    return row["protocol"] if row["metric"] == "accuracy" else f"{row['protocol']} {row['metric']}"


def print_results(rows: Sequence[Row], title: str, console: Console) -> None:
    """The table of one model on one set, and below it what was left out, tuned, or could not be counted."""
    judged = {
        row["dimension"] for row in rows if row["comparisons"] or row["ties"] or row["undecided"] or row["unscored"]
    }
    shown = [row for row in rows if row["dimension"] in judged]
    if shown:
        console.print(results_table(shown, title))
    else:
        console.print(f"{title}: people said nothing of what this model judges", style="bold", highlight=False)
    for line in (*_left_out(shown), *_notes(shown), *_unlabelled(rows, judged)):
        console.print(line, highlight=False, soft_wrap=True)
    console.print()


def _left_out(rows: Sequence[Row]) -> list[str]:
    """One line for each kind of comparison that is not in the numbers, by dimension."""
    lines = []
    for key, words in (
        ("undecided", "left out because as many voted for one as for the other"),
        ("unscored", "left out because a candidate has no score"),
    ):
        most: dict[str, int] = {}
        for row in rows:
            most[row["dimension"]] = max(most.get(row["dimension"], 0), row[key])
        told = ", ".join(f"{number} of {dimension}" for dimension, number in most.items() if number)
        if told:
            lines.append(f"{words}: {told}")
    return lines


def _notes(rows: Sequence[Row]) -> list[str]:
    """Each note once, with the numbers that it belongs to."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if row["note"]:
            found.setdefault(row["protocol"], {}).setdefault(row["note"], []).append(row["dimension"])
    lines = []
    for protocol, notes in found.items():
        for note, dimensions in notes.items():
            of = "" if len(notes) == 1 else f" ({', '.join(dict.fromkeys(dimensions))})"
            lines.append(f"{protocol}{of}: {note}")
    return lines


def _unlabelled(rows: Sequence[Row], judged: set[str]) -> list[str]:
    names = list(dict.fromkeys(row["dimension"] for row in rows if row["dimension"] not in judged))
    return [f"no label in these data: {', '.join(names)}"] if names and judged else []


def print_legend(console: Console) -> None:
    """What the columns mean."""
    console.print(
        "95 %: bootstrap over groups. n: comparisons that count; ties: those of which people said tie. Read each "
        "number beside chance, one person against the others, always the generator that wins more often, always the "
        "candidate listed first, and (balanced) the accuracy that knowing the generators cannot raise.",
        highlight=False,
    )


def matrix_table(models: Mapping[str, Mapping[str, Sequence[Row]]]) -> Table:
    """Models x sets for every dimension and protocol, with the which-generator baseline; the best model in bold.

    Args:
        models: Label of each model to name of each set to its rows.
    """
    sets = list(dict.fromkeys(name for by_set in models.values() for name in by_set))
    values = {
        (row["dimension"], name_of(row), label, name): row
        for label, by_set in models.items()
        for name, rows in by_set.items()
        for row in rows
    }
    kinds = list(dict.fromkeys((dimension, name) for dimension, name, _, _ in values))
    table = Table(
        title="Models and sets", title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False, padding=0
    )
    for column in ("dimension", "protocol", "model"):
        table.add_column(column, overflow="fold")
    for name in sets:
        table.add_column(Text(name), justify="right", overflow="fold")
    for dimension, name in kinds:
        lines = [[values.get((dimension, name, label, of)) for of in sets] for label in models]
        if all(row is None or row["value"] is None for line in lines for row in line):
            continue
        best = [_best([line[n] for line in lines]) for n in range(len(sets))]
        for m, (label, line) in enumerate(zip(models, lines, strict=True)):
            cells = [
                Text(share(row["value"]) if row else "", style="bold" if row and row["value"] == best[n] else "")
                for n, row in enumerate(line)
            ]
            first = m == 0
            table.add_row(Text(dimension if first else ""), Text(name if first else ""), Text(label), *cells)
        known = [next((line[n] for line in lines if line[n]), None) for n in range(len(sets))]
        baseline = [row["which_generator"] if row else None for row in known]
        if any(value is not None for value in baseline):
            cells = [Text("" if value is None else share(value), style="italic") for value in baseline]
            table.add_row("", "", Text("(which generator)", style="italic"), *cells)
    return table


def print_sets(names: Sequence[str], folders: Sequence[str], console: Console) -> None:
    """Which folder each set is, where there are several."""
    if len(folders) > 1 and len(names) == len(folders):
        for name, folder in zip(names, folders, strict=True):
            console.print(f"{name}: {folder}", highlight=False, soft_wrap=True)


def _best(rows: Sequence[Row | None]) -> float | None:
    """The best value of one column; None where a single model stands in it, or nothing tells which end is good."""
    known = [row for row in rows if row and row["value"] is not None]
    if len(known) < 2 or known[0]["protocol"] == "position" or known[0]["metric"] == "temperature":
        return None
    choose = min if known[0]["protocol"] == "calibration" else max
    best: float = choose(row["value"] for row in known)
    return best
