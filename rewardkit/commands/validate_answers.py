"""``validate``: how well evaluators answer: measures of every question, EvalAlign's aggregates, differences, files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rewardkit.commands.answer_display import answers_display, what_answers_mean
from rewardkit.commands.summary import share
from rewardkit.commands.validate_models import Judge
from rewardkit.data.answer_table import write_answers
from rewardkit.engine.run_directory import write_text
from rewardkit.metrics.answer_rows import answer_differences, answer_rows
from rewardkit.metrics.answer_sets import answers_of_table, evalalign_rows, is_evalalign
from rewardkit.metrics.comparison import in_words

ANSWERS_FILE = "answers.csv"
PRINTED = ("option_accuracy", "qwk", "mae", "na_f1", "srcc", "accuracy")
"""Differences that are printed; results.json has all."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The measures of one evaluator.

    Attributes:
        label: Of its judge.
        measures: Name of each set to rows of ``answer_rows``.
        evalalign: Name of each set to rows of ``evalalign_rows``, where the questions are EvalAlign's.
    """

    label: str
    measures: dict[str, list[dict[str, Any]]]
    evalalign: dict[str, list[dict[str, Any]]]


def judge_answers(judge: Judge, draws: int) -> Answered:
    """The measures of an evaluator on each of its sets; thresholds of ties are tuned on its tuning data, if any."""
    tuned = judge.answer_tuning
    tuning = {answers.question: answers for answers in answers_of_table(tuned)} if tuned is not None else None
    return Answered(
        judge.label,
        {
            name: answer_rows(answers_of_table(table), tuning=tuning, draws=draws)
            for name, table in judge.answers.items()
        },
        {
            name: evalalign_rows(table, draws=draws)
            for name, table in judge.answers.items()
            if is_evalalign(table.questions)
        },
    )


def answer_gains(judges: Sequence[Judge], draws: int) -> list[dict[str, Any]]:
    """Paired differences of every two evaluators on the sets and questions that both answered."""
    found = []
    for ours, theirs in combinations([judge for judge in judges if judge.answers], 2):
        tuned = [
            {} if judge.answer_tuning is None else {a.question: a for a in answers_of_table(judge.answer_tuning)}
            for judge in (ours, theirs)
        ]
        for name in ours.answers.keys() & theirs.answers.keys():
            others = {answers.question: answers for answers in answers_of_table(theirs.answers[name])}
            for mine in answers_of_table(ours.answers[name]):
                if mine.question not in others:
                    continue
                tuning = (tuned[0].get(mine.question), tuned[1].get(mine.question))
                for gain in answer_differences(mine, others[mine.question], tuning=tuning, draws=draws):
                    place = {"set": name, "first": ours.name, "second": theirs.name, "dimension": mine.question}
                    found.append({**place, **asdict(gain), "words": in_words(ours.label, theirs.label, gain)})
    return found


def print_answers(answered: Sequence[Answered], console: Console) -> None:
    """A table of questions for each evaluator and set, and EvalAlign's aggregates."""
    for one in answered:
        for name, rows in one.measures.items():
            console.print(answers_display(rows, title=f"{one.label} on {name}: answers", wide=True))
            console.print(what_answers_mean(rows), highlight=False)
            if name in one.evalalign:
                console.print()
                console.print(_evalalign_table(one.evalalign[name], title=f"{one.label} on {name}: EvalAlign"))
                console.print(
                    "average_micro: mean of the scores (faithfulness: the published avg_score, 0 to 4). total_average: "
                    "sum of the scores over images (alignment: the published total_avgerage). average_of_the_two: the "
                    "paper's. normalised_macro: mean of the skills' shares of their best score, 0 to 1. What cannot be "
                    "read is in none of them.",
                    highlight=False,
                )
            console.print()


def _evalalign_table(rows: Sequence[dict[str, Any]], *, title: str) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False,
                  padding=0)  # fmt: skip
    for column in ("generator", "aspect", "number"):
        table.add_column(column, overflow="fold")
    for column in ("value", "95 %", "n", "N/A", "unread", "images"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        interval = "" if row["low"] is None else f"{share(row['low'])}–{share(row['high'])}"
        counts = ("" if row[name] is None else str(row[name]) for name in ("n_scored", "n_na", "n_invalid", "n_images"))
        table.add_row(Text(row["generator"]), row["aspect"], row["metric"], share(row["value"]), interval, *counts)
    return table


def write_answer_files(folder: Path, judges: Sequence[Judge], answered: Sequence[Answered]) -> None:
    """answers.json, answers.csv and every evaluator's answers tables beside its predictions tables."""
    if not answered:
        return
    record = {one.label: {"measures": one.measures, "evalalign": one.evalalign} for one in answered}
    write_text(folder / "answers.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    lines = [
        {"model": one.label, "set": name, **row}
        for one in answered
        for name, rows in one.measures.items()
        for row in rows
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(folder / ANSWERS_FILE, text.getvalue())
    for number, judge in enumerate(judges):
        if judge.is_table:
            continue
        for name, table in judge.answers.items():
            write_answers(folder / f"{number}-{name}.parquet", table)
        if judge.answer_tuning is not None:
            write_answers(folder / f"{number}-tuning.parquet", judge.answer_tuning)
