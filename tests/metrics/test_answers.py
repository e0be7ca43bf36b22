"""Measures of an evaluator's answers: by hand, against scipy, and what cannot be read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rewardkit.data.questions import Option, Question
from rewardkit.errors import DataError
from rewardkit.metrics.agreement import quadratic_weighted_kappa
from rewardkit.metrics.answer_measures import annotator_accuracy
from rewardkit.metrics.answer_orders import answer_pairs, resampled_spearman, resampled_tau_b
from rewardkit.metrics.answer_rows import (
    ALL_QUESTIONS,
    answer_differences,
    answer_rows,
    mean_over_questions,
    measure_answers,
)
from rewardkit.metrics.answers import Answered, QuestionAnswers, question_answers
from rewardkit.metrics.calibration import ece


def question(levels: Sequence[float], *, na: bool = False) -> Question:
    options = [Option(str(n), "", float(value)) for n, value in enumerate(levels)]
    return Question("q", "?", tuple([Option("-1", "none", "NA")] * na + options), "q", "?")


def table(levels: Sequence[float], rows: Sequence[tuple[str, Any, dict[str, Any]]], *, na: bool = False) -> Any:
    """Rows of group, what people said (one or many), and what the evaluator said."""
    made, places = [], {}
    for group, people, said in rows:
        places[group] = places.get(group, -1) + 1
        everyone = people if isinstance(people, list) else [people]
        made.append(Answered("s", group, places[group], everyone, **said))
    return question_answers(question(levels, na=na), made)


def values(answers: QuestionAnswers, **more: Any) -> dict[str, Any]:
    return {m.metric if m.protocol == "answers" else m.protocol: m.value() for m in measure_answers(answers, **more)}


def random_answers(groups: int = 30, seed: int = 0, skill: float = 1.0) -> QuestionAnswers:
    generator = np.random.default_rng(seed)
    people = np.random.default_rng(7)
    rows = []
    for g in range(groups):
        for _ in range(1 + g % 4):
            truth = people.integers(0, 5)
            logits = -skill * np.abs(np.arange(5) - truth) + generator.normal(size=5)
            p = np.exp(logits) / np.exp(logits).sum()
            rows.append((f"g{g:03d}", float(truth), {"probabilities": [*p, 0.0]}))
    return table(range(5), rows)


def test_kappa_oracle_and_accuracy_and_error() -> None:
    people, ours = [0, 2, 2, 1, 1], [0, 1, 2, 2, 1]
    found = values(
        table([0, 1, 2], [(f"g{n}", p, {"label": o}) for n, (p, o) in enumerate(zip(people, ours, strict=True))])
    )
    assert found["qwk"] == pytest.approx(0.642857, abs=1e-6)
    assert found["option_accuracy"] == 3 / 5 and found["mae"] == 2 / 5
    assert found["unparsed_rate"] == 0 and found["ece"] is None


def test_kappa_reads_levels_in_the_order_of_their_values() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.integers(0, 4, 50), generator.integers(0, 4, 50)
    wanted = quadratic_weighted_kappa(a, b, 4)
    worth = [3.0, 1.0, 0.0, 2.0]  # options are listed in another order
    rows = [(f"g{n}", float(p), {"label": worth.index(o)}) for n, (o, p) in enumerate(zip(a, b, strict=True))]
    assert values(table(worth, rows))["qwk"] == pytest.approx(wanted)


def test_undefined_is_none() -> None:
    found = values(table([0, 1], [("a", 1, {"label": 1}), ("b", 1, {"label": 1})]))
    assert found["option_accuracy"] == 1.0
    for name in ("qwk", "srcc", "plcc", "tau_b", "srcc_in_groups", "strict_micro"):
        assert found[name] is None, name
    assert all(value is None for value in values(table([0, 1], [])).values())


def test_not_applicable_is_a_class_and_no_number() -> None:
    rows = [
        ("a", "NA", {"label": 2}),
        ("b", "NA", {"label": 0}),
        ("c", 1, {"label": 2}),
        ("d", 1, {"label": 1}),
        ("e", "NA", {"label": 2}),
        ("f", 0, {"outcome": "unparsed"}),
        ("g", 1, {"label": 2}),
    ]
    answers = table([0, 1], rows, na=True)
    found = values(answers)
    assert found["na_precision"] == pytest.approx(2 / 4) and found["na_recall"] == pytest.approx(2 / 3)
    assert found["na_f1"] == pytest.approx(4 / 7) and found["option_accuracy"] == pytest.approx(3 / 6)
    assert found["mae"] == 0.0, "the one row in which both gave a number"
    assert "na_f1" not in values(table([0, 1], []))
    none = values(table([0, 1], [("a", 1, {"label": 1})], na=True))
    assert none["na_precision"] is none["na_recall"] is none["na_f1"] is None


def test_unparsed_is_counted_apart_and_changes_nothing_else() -> None:
    rows = [(f"g{n}", float(n % 3), {"label": (n * n) % 3}) for n in range(12)]
    lost = [(f"h{n}", 2.0, {"outcome": "unparsed"}) for n in range(3)] + [("i", 1.0, {"outcome": "missing"})]
    with_lost = answer_rows([table([0, 1, 2], rows + lost)], draws=0)
    without = answer_rows([table([0, 1, 2], rows)], draws=0)
    for ours, theirs in zip(with_lost, without, strict=True):
        if ours["metric"] == "unparsed_rate":
            assert ours["value"] == pytest.approx(3 / 15) and theirs["value"] == 0.0
        else:
            assert ours["value"] == theirs["value"], ours["metric"]
        assert (ours["asked"], ours["answered"], ours["unparsed"], ours["missing"]) == (16, 12, 3, 1)
    accuracy = with_lost[0]
    assert accuracy["metric"] == "option_accuracy" and accuracy["comparisons"] == 12 and accuracy["unscored"] == 4


def test_probabilities_give_label_and_score() -> None:
    answers = table(
        [0, 2],
        [("a", 2, {"probabilities": [0.1, 0.3, 0.6]}), ("b", [0, 2, 2], {"probabilities": [0.5, 0.5, 0.0]})],
        na=True,
    )
    assert answers.expected.tolist() == pytest.approx([1.5, 1.0])
    assert answers.chosen.tolist() == [[0, 0, 1], [0.5, 0.5, 0]]
    assert answers.majority.tolist() == [1, 1] and answers.people_value[1] == pytest.approx(4 / 3)
    found = values(answers)
    assert found["option_accuracy"] == 0.25, "two options equally probable: half of each"
    assert found["mae"] == pytest.approx((0.5 + 1 / 3) / 2)


def test_people_who_are_divided_are_left_out_and_counted() -> None:
    answers = table([0, 1], [("a", [0, 1], {"label": 1}), ("b", 1, {"label": 1}), ("c", [0.5], {"label": 1})])
    rows = {row["metric"]: row for row in answer_rows([answers], draws=0)}
    assert rows["option_accuracy"]["comparisons"] == 1 and rows["option_accuracy"]["undecided"] == 1
    assert rows["mae"]["comparisons"] == 3 and rows["mae"]["value"] == pytest.approx((0.5 + 0 + 0.5) / 3)


def test_calibration_of_two_options_is_the_symmetric_one() -> None:
    generator = np.random.default_rng(5)
    p = np.r_[generator.uniform(size=200), 0.5]
    y = (generator.uniform(size=201) < p**2).astype(float)
    rows = [
        (f"g{n}", float(label), {"probabilities": [1 - a, a, 0.0]})
        for n, (a, label) in enumerate(zip(p, y, strict=True))
    ]
    assert values(table([0, 1], rows))["ece"] == pytest.approx(ece(p, y))


def test_calibration_by_hand() -> None:
    rows = [
        ("a", 0, {"probabilities": [0.8, 0.1, 0.1, 0]}),
        ("b", 1, {"probabilities": [0.85, 0.1, 0.05, 0]}),
        ("c", 2, {"probabilities": [0.3, 0.3, 0.4, 0]}),
    ]
    assert values(table([0, 1, 2], rows))["ece"] == pytest.approx((abs(1.65 - 1) + 0.6) / 3)


def test_correlations_and_pairs_of_the_oracle() -> None:
    # Ranks [1, 2, 2, 4] of one prompt and scores [1, .5, .625, .625].
    said = zip([-1.0, -2.0, -2.0, -4.0], [1.0, 0.5, 0.625, 0.625], strict=True)
    answers = table([-4, -2, -1], [("a", people, {"expected": score}) for people, score in said])
    found = values(answers)
    for name in ("", "_in_groups"):
        assert found[f"tau_b{name}"] == pytest.approx(0.4) and found[f"srcc{name}"] == pytest.approx(0.5)
        assert found[f"plcc{name}"] == pytest.approx(0.535303, abs=1e-6)
    assert found["strict_micro"] == pytest.approx(3 / 5)
    assert found["tie_calibrated_micro_published"] == pytest.approx(4 / 6)
    assert values(answers, tuning=answers)["tie_calibrated_micro"] == pytest.approx(4 / 6)
    far = table([0, 1], [("t", people, {"expected": score}) for people, score in ((0.0, 0.0), (0.0, 0.5), (1.0, 9.0))])
    assert values(answers, tuning=far)["tie_calibrated_micro"] == pytest.approx(1 / 6), "eps .5, tuned elsewhere"
    assert found["option_accuracy"] is None, "scores alone choose nothing"


def test_pairs_are_of_one_prompt() -> None:
    rows = [("a", 0, {"label": 0}), ("b", 1, {"label": 1}), ("a", 1, {"label": 0}), ("b", "NA", {"label": 1})]
    pairs = answer_pairs(table([0, 1], rows, na=True))
    assert pairs[["source", "key", "first", "second"]].to_numpy().tolist() == [["s", "a", 0, 1]]


def test_groups_without_a_correlation_are_counted() -> None:
    rows = [("a", 0, 0.1), ("a", 1, 0.2), ("b", 1, 0.1), ("b", 1, 0.2), ("c", 0, 0.3)]
    answers = table([0, 1], [(group, people, {"expected": score}) for group, people, score in rows])
    (found,) = (m for m in measure_answers(answers) if m.metric == "tau_b_in_groups")
    assert found.value() == 1.0
    assert (found.counts.groups, found.counts.groups_without, found.counts.comparisons) == (1, 2, 2)


def test_values_are_those_of_scipy() -> None:
    answers = random_answers()
    x, y = answers.expected, answers.people_value
    found = values(answers)
    assert found["srcc"] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found["plcc"] == pytest.approx(stats.pearsonr(x, y).statistic)
    assert found["tau_b"] == pytest.approx(stats.kendalltau(x, y).statistic)


def test_resamples_are_those_of_groups_that_stand_there_so_often() -> None:
    generator = np.random.default_rng(2)
    codes = np.sort(generator.integers(0, 6, 25))
    x, y = generator.integers(0, 9, 25).astype(float), generator.integers(0, 3, 25).astype(float)
    shuffled = generator.permutation(25)
    x, y, codes = x[shuffled], y[shuffled], codes[shuffled]
    draws = generator.multinomial(6, [1 / 6] * 6, size=20).astype(float)
    rho, tau = resampled_spearman(x, y, codes)(draws), resampled_tau_b(x, y, codes, 6)(draws)
    for n, drawn in enumerate(draws.astype(int)):
        many = np.concatenate([np.flatnonzero(codes == g).repeat(times) for g, times in enumerate(drawn)])
        assert rho[n] == pytest.approx(stats.spearmanr(x[many], y[many]).statistic)
        assert tau[n] == pytest.approx(stats.kendalltau(x[many], y[many]).statistic)


def test_every_row_has_its_interval() -> None:
    rows = answer_rows([random_answers()], draws=200)
    assert len({(row["protocol"], row["metric"]) for row in rows}) == len(rows)
    for row in rows:
        if row["metric"] != "unparsed_rate":
            assert row["low"] < row["high"], row["metric"]
            assert row["metric"] == "ece" or row["low"] <= row["value"] <= row["high"]
    accuracy = rows[0]
    assert accuracy["chance"] == 0.2 and 0.2 <= accuracy["most_frequent"] < accuracy["value"]


def test_better_evaluators_are_told_apart() -> None:
    good, bad = random_answers(60, seed=1, skill=3.0), random_answers(60, seed=2, skill=0.2)
    gains = {gain.metric: gain for gain in answer_differences(good, bad, draws=300)}
    for metric in ("option_accuracy", "qwk", "srcc", "plcc", "tau_b"):
        assert gains[metric].low > 0, metric
    assert gains["mae"].high < 0 and gains["mae"].better == 1.0
    same = {gain.metric: gain for gain in answer_differences(good, good, draws=50)}
    assert all(gain.value == gain.low == gain.high == 0.0 for gain in same.values())


def test_evaluators_are_compared_where_both_answered() -> None:
    ours = table([0, 1], [("a", 1, {"label": 1}), ("a", 1, {"label": 0}), ("c", 1, {"label": 1})])
    theirs = table([0, 1], [("a", 1, {"label": 1}), ("a", 1, {"outcome": "unparsed"}), ("d", 1, {"label": 1})])
    gains = {gain.metric: gain for gain in answer_differences(ours, theirs, draws=50)}
    assert gains["option_accuracy"].value == 0.0 and gains["option_accuracy"].comparisons == 1
    assert gains["unparsed_rate"].value == -0.5
    with pytest.raises(DataError, match="people's answers on the same candidates differ"):
        answer_differences(ours, table([0, 1], [("a", 0, {"label": 1})]))
    with pytest.raises(DataError, match="no candidate in common"):
        answer_differences(ours, table([0, 1], [("z", 0, {"label": 1})]))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "neither label, probabilities nor a score"),
        ({"outcome": "unparsed", "expected": 0.0}, "is unparsed, and yet has expected"),
        ({"outcome": "lost"}, "there is no outcome 'lost'"),
        ({"label": 2}, "column 2 is none of its 2 answers"),
        ({"expected": math.nan}, "is not finite"),
        ({"probabilities": [0.5, 0.5]}, "3 numbers of at least 0"),
        ({"probabilities": [0.5, 0.4, 0.0]}, "add up to 1"),
        ({"probabilities": [math.nan, 0.5, 0.5]}, "add up to 1"),
        ({"probabilities": [0.5, 0.4, 0.1]}, "N/A has a probability"),
    ],
)
def test_rows_that_contradict_themselves(said: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        table([0, 1], [("a", 1, said)])


def test_a_candidate_has_one_row() -> None:
    twice = [Answered("s", "a", 0, [1], label=1)] * 2
    with pytest.raises(DataError, match="question 'q' of candidate 0 of a in s has two answers"):
        question_answers(question([0, 1]), twice)


def test_one_person_against_the_others() -> None:
    said = {"label": 0}
    answers = table([0, 1], [("a", [1, 1, 0], said), ("b", [0, 0], said), ("c", [1], said), ("d", [0, 1, 0.3], said)])
    # a: the others of the 0 said 1 (wrong), those of each 1 are divided; b: right twice.
    assert annotator_accuracy(answers) == pytest.approx(2 / 3)
    assert answer_rows([answers], draws=0)[0]["annotator_agreement"] == pytest.approx(2 / 3)
    assert annotator_accuracy(table([0, 1], [("c", 1, said)])) is None


def test_all_questions_weigh_the_same() -> None:
    first = replace(random_answers(20), question="first")
    second = replace(table([0, 1], [("g000", 1, {"label": 1}), ("z", 1, {"outcome": "unparsed"})]), question="second")
    rows = {(row["dimension"], row["metric"]): row for row in answer_rows([first, second], draws=100)}
    accuracy = rows[ALL_QUESTIONS, "option_accuracy"]
    assert accuracy["value"] == pytest.approx((rows["first", "option_accuracy"]["value"] + 1.0) / 2)
    assert accuracy["low"] < accuracy["value"] < accuracy["high"] and accuracy["asked"] == len(first.group) + 2
    assert rows[ALL_QUESTIONS, "unparsed_rate"]["value"] == pytest.approx(0.25)
    kappa = rows[ALL_QUESTIONS, "qwk"]
    assert kappa["value"] == rows["first", "qwk"]["value"] and kappa["note"] == "qwk: mean over 1 of 2 questions"
    empty = answer_rows([table([0, 1], []), table([0, 1], [])], draws=10)
    assert [row["value"] for row in empty if row["dimension"] == ALL_QUESTIONS] == [None] * 4
    assert not any(row["dimension"] == ALL_QUESTIONS for row in answer_rows([first], draws=0))


def test_means_over_questions_draw_the_same_groups_for_all() -> None:
    of_b = table([0, 1], [("b", 1, {"label": 0})])
    of_both = table([0, 1], [("a", 1, {"label": 1}), ("b", 1, {"label": 1}), ("b", 1, {"label": 0})])
    found = mean_over_questions([measure_answers(answers)[0] for answers in (of_b, of_both)])
    assert found.groups.tolist() == ["s\na", "s\nb"]
    assert found.sums.tolist() == [[0, 0, 1, 1], [0, 1, 1, 2]] and found.value() == pytest.approx((0 + 2 / 3) / 2)
    assert found.statistic(found.sums[:1]).tolist() == [1.0], "a resample without b has one question"
