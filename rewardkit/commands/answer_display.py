"""What a person reads of an evaluator's answers: one line for each question, in 80 or 100 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

Row = Mapping[str, Any]

_PAIRS = ("tie_calibrated_micro", "tie_calibrated_micro_published")


def answers_display(rows: Sequence[Row], *, title: str, wide: bool = False) -> Table:
    """The measures that say most, of every question.

    Args:
        rows: From ``rewardkit.metrics.answer_rows.answer_rows``.
        title: Above it.
        wide: In 100 columns: with the interval of the share of right answers, chance and PLCC; else that of SRCC.
    """
    by_question: dict[str, dict[str, Row]] = {}
    for row in rows:
        found = by_question.setdefault(row["dimension"], {})
        found["pairs" if row["protocol"] in _PAIRS else row["metric"]] = row
    columns = _columns(by_question.values(), wide=wide)
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("question", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for question, found in by_question.items():
        table.add_row(question, *(show(found) for show in columns.values()))
    return table


def _columns(questions: Iterable[Mapping[str, Row]], *, wide: bool) -> dict[str, Callable[[Mapping[str, Row]], str]]:
    """Head of each column to what stands in it, from a question's measures."""
    listed = list(questions)
    some_na = any("na_f1" in found for found in listed)
    some_unparsed = any(found["unparsed_rate"]["value"] for found in listed if "unparsed_rate" in found)

    def value(metric: str, key: str = "value") -> Callable[[Mapping[str, Row]], str]:
        return lambda found: _number(found.get(metric, {}).get(key))

    def interval(metric: str) -> Callable[[Mapping[str, Row]], str]:
        return lambda found: _interval(found.get(metric, {}))

    accuracy = "option_accuracy"
    return {
        "n": lambda found: str(found[accuracy]["comparisons"]),
        "right": value(accuracy),
        **({"95 %": interval(accuracy), "chance": value(accuracy, "chance")} if wide else {}),
        "most\ncommon": value(accuracy, "most_frequent"),
        "one\nperson": value(accuracy, "annotator_agreement"),
        "QWK": value("qwk"),
        "MAE": value("mae"),
        "SRCC": value("srcc"),
        **({"PLCC": value("plcc")} if wide else {"95 %": interval("srcc")}),
        "tau-b": value("tau_b"),
        "pairs": value("pairs"),
        **({"N/A\nF1": value("na_f1")} if some_na else {}),
        **({"un-\nparsed": value("unparsed_rate")} if some_unparsed else {}),
    }


def what_answers_mean(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the columns are, and what was left out."""
    of = [row for row in rows if row["metric"] == "option_accuracy" and row["most_frequent"] is not None]
    unparsed, masked = (sum(row.get(name, 0) for row in of) for name in ("unparsed", "masked"))
    where = "other data" if any(row["protocol"] == _PAIRS[0] for row in rows) else "these pairs themselves"
    told = [
        "n: answers with one option that most people chose; right: it is the likeliest; most common: by always giving "
        "the commonest answer; one person: against the others. QWK and MAE: distance from people's answers; SRCC and "
        "tau-b: rank correlation with their mean (chance 0); pairs: of one group's images, with a threshold for ties "
        f"tuned on {where}."
    ]
    told += [f"{unparsed} answers could not be read and are in none of these."] if unparsed else []
    told += [f"{masked} answers are behind a question that was answered no, and in none of these."] if masked else []
    return " ".join(told)


def _interval(row: Mapping[str, Any]) -> str:
    return "-" if row.get("low") is None else f"{_number(row['low'])}–{_number(row['high'])}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"
