"""Answers tables: written and read alike, and measured as the answers that they hold; EvalAlign's golden numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewardkit.data.answer_table import (
    AnswerRows,
    AnswerTable,
    QuestionAnswer,
    merge_answers,
    read_answers,
    write_answers,
)
from rewardkit.data.group import Answer, Candidate, Group
from rewardkit.data.option_text import option_named
from rewardkit.data.questions import Question, QuestionSet, read_questions
from rewardkit.errors import DataError, UserError
from rewardkit.metrics.answer_rows import answer_rows
from rewardkit.metrics.answer_sets import answers_of_table, evalalign_of_table, is_evalalign

CASES = json.loads((Path(__file__).parents[1] / "golden" / "evalalign.json").read_text())["cases"]
EVALALIGN = read_questions("evalalign")


def group(name: str, *people: tuple[str, int, float | str], candidates: int = 1) -> Group:
    return Group(
        id=name,
        prompt="a cat",
        candidates=tuple(Candidate(file=f"{n}.jpg", generator="g") for n in range(candidates)),
        answers=tuple(Answer(d, c, f"person {n}", v) for n, (d, c, v) in enumerate(people)),  # type: ignore[arg-type]
    )


def said(question: Question, text: str) -> QuestionAnswer:
    labels = [option.label for option in question.options]
    place = option_named(text, labels)
    value = None if place is None else question.options[place].value
    return QuestionAnswer(
        image=0,
        question=question.key,
        dimension=question.dimension,
        outcome="unparsed" if place is None else "answered",
        answer=None if place is None else labels[place],
        value=value,
        probabilities=None,
        expected=float(value) if isinstance(value, int | float) else None,
        not_applicable=None,
        text=text,
    )


def chose(key: str, questions: QuestionSet = EVALALIGN, *, counts: bool = True, **shares: float) -> QuestionAnswer:
    """An answer by probabilities; shares by label, with ``na`` for -1."""
    question = questions[key]
    names = {"-1" if name == "na" else name.removeprefix("p"): share for name, share in shares.items()}
    p = {option.label: names.get(option.label, 0.0) for option in question.options}
    best = max(p, key=lambda label: p[label])
    value = next(option.value for option in question.options if option.label == best)
    return QuestionAnswer(0, key, key, "answered", best, value, p, 2.5, p.get("-1", 0.0), counts)


def written(tmp_path: Path, table: AnswerTable) -> AnswerTable:
    write_answers(tmp_path / "0-set.parquet", table)
    return read_answers(tmp_path / "0-set.parquet")


def test_a_table_is_read_as_it_was_written_and_measured(tmp_path: Path) -> None:
    rows = AnswerRows(EVALALIGN, dimension_map={"limbs": "body"})
    rows.add(
        group("a", ("limbs", 0, 3.0), ("limbs", 0, "NA"), ("body", 1, 2.0), candidates=2),
        [[chose("body", p3=0.7, na=0.3), chose("face", p1=1.0)], [chose("body", p2=0.2, na=0.8)]],
        number=0,
        key="a",
        source="s",
    )
    rows.add(group("b"), [[chose("face", counts=False, p1=1.0)]], number=1, key="b", source="s")
    table = written(tmp_path, rows.table())
    assert table.questions == EVALALIGN and len(table.rows) == 4
    body, face = answers_of_table(table)
    assert (body.question, face.question) == ("body", "face")
    np.testing.assert_allclose(body.probabilities, [[0, 0, 0, 0.7, 0, 0.3], [0, 0, 0.2, 0, 0, 0.8]], atol=1e-6)
    np.testing.assert_allclose(body.people, [[0, 0, 0, 0.5, 0, 0.5], [0, 0, 1, 0, 0, 0]])
    assert body.people_value.tolist() == [3.0, 2.0] and body.expected.tolist() == [2.5, 2.5]
    counts = {row["dimension"]: row for row in answer_rows([body, face], draws=10)}
    assert (counts["face"]["asked"], counts["face"]["answered"], counts["face"]["masked"]) == (2, 1, 1)


@pytest.mark.parametrize("case", CASES, ids=[f"{case['kind']}-{case['name']}" for case in CASES])
def test_aggregates_of_a_table_are_the_golden_ones(case: Mapping[str, Any], tmp_path: Path) -> None:
    rows = AnswerRows(EVALALIGN)
    for number, record in enumerate(case["inputs"]["table"]):
        answers = [said(EVALALIGN[key], text) for key, text in record["answers"].items()]
        rows.add(group(record["id"]), [answers], number=number, key=record["id"], source="s")
    table = written(tmp_path, rows.table())
    found = evalalign_of_table(table)["g"][case["kind"]].as_record()
    for key, wanted in case["expected"]["corrected"].items():
        ours = found if key == "total" else found["skills"][key]
        assert {name: ours[name] for name in wanted} == pytest.approx(wanted), key
    reference, wanted = case["expected"]["reference"], {"faithfulness": "avg_score", "alignment": "total_avgerage"}
    ours = {"faithfulness": found["average_micro"], "alignment": found["total_average"]}
    if found["n_invalid"] == 0 and case["inputs"]["n_images"] == len(case["inputs"]["table"]):
        assert ours[case["kind"]] == pytest.approx(reference[wanted[case["kind"]]])


def test_which_sets_are_evalaligns() -> None:
    assert is_evalalign(EVALALIGN)
    assert is_evalalign(QuestionSet("some", "", EVALALIGN.questions[:3]))
    assert not is_evalalign(read_questions("visionprefer"))


def test_tables_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no answers table"):
        read_answers(tmp_path / "0-set.parquet")
    (tmp_path / "0-set.answers.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_answers(tmp_path / "0-set.parquet")
    ours, theirs = AnswerRows(EVALALIGN).table(), AnswerRows(read_questions("visionprefer")).table()
    with pytest.raises(DataError, match="different question sets"):
        merge_answers([ours, theirs])


def test_a_mean_over_questions_stands_beside_the_means_of_their_baselines() -> None:
    rows = AnswerRows(EVALALIGN)
    for number in range(4):
        people = (("body", 0, float(number % 2)), ("object", 0, 2.0))
        answers = [chose("body", p0=1.0), chose("object", p2=1.0), chose("face", p1=1.0)]
        rows.add(group(str(number), *people), [answers], number=number, key=str(number), source="s")
    found = answer_rows(answers_of_table(rows.table()), draws=10)
    whole = next(row for row in found if row["dimension"] == "all questions" and row["metric"] == "option_accuracy")
    # `face` was asked, but nobody said anything of it: it has no part in the mean.
    assert whole["value"] == pytest.approx((0.5 + 1.0) / 2) and whole["chance"] == pytest.approx((1 / 6 + 1 / 5) / 2)
    assert whole["most_frequent"] == pytest.approx((0.5 + 1.0) / 2) and whole["annotator_agreement"] is None
