"""An evaluator's section of the page: measures and confusions of its answers, escaped; the summary goes before."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from rewardkit.config.layout import RunLayout
from rewardkit.data.answer_table import AnswerRows, AnswerTable, QuestionAnswer, write_answers
from rewardkit.data.group import Answer, Candidate, Group
from rewardkit.data.questions import Option, Question, QuestionSet
from rewardkit.report.answers import HEATS, answer_section
from rewardkit.report.figures import curve_figures
from rewardkit.report.page import write_report

OPTIONS = (Option("none", "nothing", "NA"), Option("bad", "bad", 0.0), Option("good", "good", 1.0))
SET = QuestionSet("two", "", tuple(Question(k, f"<b>{k}</b>?", OPTIONS, k, k) for k in ("hands", "faces")))


def said(key: str, na: float, bad: float, good: float, *, counts: bool = True) -> QuestionAnswer:
    p = {"none": na, "bad": bad, "good": good}
    best = max(p, key=lambda label: p[label])
    value = next(option.value for option in OPTIONS if option.label == best)
    return QuestionAnswer(0, key, key, "answered", best, value, p, good, na, counts)


def table(groups: int = 12) -> AnswerTable:
    """The evaluator is right on hands but for one group, and its answers on faces are behind a gate now and then."""
    rows = AnswerRows(SET)
    for number in range(groups):
        value = "NA" if number == 0 else float(number % 2)
        people = tuple(Answer(d, 0, p, value) for d in ("hands", "faces") for p in ("a", "b"))  # type: ignore[arg-type]
        group = Group(f"id-{number}", "a cat", (Candidate("0.jpg", "g"),), answers=people)
        right = (0.8, 0.1, 0.1) if number == 0 else (0.1, 0.2, 0.7) if number % 2 else (0.1, 0.7, 0.2)
        hands = said("hands", *(right if number != 1 else right[::-1]))
        answers = [hands, said("faces", *right, counts=number > 3)]
        rows.add(group, [answers], number=number, key=f"key-{number}", source="mine")
    return rows.table()


def test_the_section_counts_what_was_answered() -> None:
    section = answer_section(table())
    assert [row.name for row in section.rows] == ["hands", "faces", "all questions"]
    hands, faces, _ = section.rows
    assert hands.accuracy["value"] == pytest.approx(11 / 12) and hands.accuracy["chance"] == pytest.approx(1 / 3)
    assert faces.accuracy["comparisons"] == 8 and section.masked == 4 and section.unparsed == 0 and section.some_na
    one = section.confusions[0]
    assert one.options == ("bad", "good", "none")
    assert [[cell.count for cell in row] for row in one.rows] == [[5, 0, 0], [0, 5, 1], [0, 0, 1]]
    assert [cell.heat for cell in one.rows[1]] == [0, round(HEATS * 5 / 6), round(HEATS / 6)]


def test_the_page_shows_it_escaped(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("hands", "faces"), steps=100)
    write.predictions(layout, dimensions=("hands", "faces"))
    write_answers(layout.predictions / "000100-val.parquet", table())
    page = write_report(layout).read_text(encoding="utf-8")
    assert 'id="answers"' in page and 'class="confusion"' in page and f"heat{HEATS}" in page
    assert "&lt;b&gt;hands&lt;/b&gt;?" in page and "<b>hands" not in page
    assert "0.917" in page and "4 answers are behind a question that was not answered yes" in page


def test_what_the_summary_says_goes_before(layout: RunLayout, write: SimpleNamespace) -> None:
    answers = table()
    rows = [{**row, "value": 0.123, "low": 0.1, "high": 0.2} for row in measures(answers)]
    write.run(layout, dimensions=("hands", "faces"), steps=100)
    write.predictions(layout, dimensions=("hands", "faces"))
    write_answers(layout.predictions / "000100-val.parquet", answers)
    write.summary(layout, step=100, sets={"val": {"accuracies": {}, "answers": rows}})
    assert "0.123" in write_report(layout).read_text(encoding="utf-8")


def measures(answers: AnswerTable) -> list[dict[str, object]]:
    from rewardkit.metrics.answer_rows import answer_rows
    from rewardkit.metrics.answer_sets import answers_of_table

    return answer_rows(answers_of_table(answers), draws=10)


def test_curves_of_answers_say_what_they_are() -> None:
    points = [(float(step), float(np.exp(-step))) for step in range(3)]
    figures = curve_figures(
        {f"val/{name}/hands": points for name in ("answers/srcc", "answers/mae", "strict_micro/accuracy", "half_micro")}
    )
    by_title = {figure.title: figure for figure in figures}
    assert by_title["Held-out answers: srcc"].main and not by_title["Held-out answers: mae"].main
    assert "chance" not in by_title["Held-out answers: mae"].svg
    assert not by_title["Held-out accuracy (strict_micro, accuracy)"].main
    assert by_title["Held-out accuracy (half_micro)"].main


def test_two_evaluators_are_compared_on_the_page(layout: RunLayout, write: SimpleNamespace) -> None:
    other = RunLayout(layout.root.with_name("other"))
    for run, groups in ((layout, 12), (other, 9)):
        write.run(run, dimensions=("hands", "faces"), steps=100)
        write.predictions(run, dimensions=("hands", "faces"))
        write_answers(run.predictions / "000100-val.parquet", table(groups))
    page = write_report(layout, against=other).read_text(encoding="utf-8")
    assert (
        'id="answers-against"' in page and "option accuracy" in page and "tau_b" not in page.split("answers-against")[1]
    )
