"""What a person reads of an evaluator's answers: one line for each question, in 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

_STRICT = ("strict_micro", "accuracy")
_PAIRS = ("tie_calibrated_micro", "tie_calibrated_micro_published")


def answers_display(rows: Sequence[Mapping[str, Any]], *, title: str) -> Table:
    """The measures that say most, of every question.

    Args:
        rows: From ``rewardkit.metrics.answer_rows.answer_rows``.
        title: Above it.
    """
    by_question: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        found = by_question.setdefault(row["dimension"], {})
        found["pairs" if row["protocol"] in _PAIRS else row["metric"]] = row
    some_na = any("na_f1" in found for found in by_question.values())
    some_unparsed = any(row["value"] for row in rows if row["metric"] == "unparsed_rate")
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("question", no_wrap=True)
    columns = ["n", "right", "most\ncommon", "one\nperson", "QWK", "MAE", "SRCC", "95 %", "tau-b", "pairs"]
    for column in [*columns, *(["N/A\nF1"] if some_na else []), *(["un-\nparsed"] if some_unparsed else [])]:
        table.add_column(column, justify="right", no_wrap=True)
    for question, found in by_question.items():
        accuracy, srcc = found["option_accuracy"], found.get("srcc", {})
        table.add_row(
            question,
            str(accuracy["comparisons"]),
            *(_number(accuracy[name]) for name in ("value", "most_frequent", "annotator_agreement")),
            *(_number(found.get(name, {}).get("value")) for name in ("qwk", "mae", "srcc")),
            f"{_number(srcc.get('low'))}–{_number(srcc.get('high'))}" if srcc.get("low") is not None else "-",
            *(_number(found.get(name, {}).get("value")) for name in ("tau_b", "pairs")),
            *([_number(found.get("na_f1", {}).get("value"))] if some_na else []),
            *([_number(found.get("unparsed_rate", {}).get("value"))] if some_unparsed else []),
        )
    return table


def what_answers_mean(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the columns are, and what was left out."""
    of = [row for row in rows if row["metric"] == "option_accuracy" and row["most_frequent"] is not None]
    unparsed, masked = (sum(row.get(name, 0) for row in of) for name in ("unparsed", "masked"))
    where = "other data" if any(row["protocol"] == _PAIRS[0] for row in rows) else "these pairs themselves"
    told = [
        "right: the likeliest option is the one that most people chose; most common: by always giving the commonest "
        "answer; one person: against the others. QWK and MAE: distance from people's answers; SRCC and tau-b: rank "
        "correlation with their mean (chance 0); pairs: of one group's images, with a threshold for ties tuned on "
        f"{where}."
    ]
    told += [f"{unparsed} answers could not be read and are in none of these."] if unparsed else []
    told += [f"{masked} answers are behind a question that was answered no, and in none of these."] if masked else []
    return " ".join(told)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"
