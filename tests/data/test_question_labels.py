"""Which questions a group is asked, and what was said to each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rewardkit.data.group import Answer, Candidate, Comparison, Group, Ranking
from rewardkit.data.group_labels import LabelSpace
from rewardkit.data.question_labels import (
    Answered,
    answered,
    asked_in_evaluation,
    asked_in_training,
    with_dimensions,
)
from rewardkit.data.questions import Option, Question, QuestionSet
from rewardkit.errors import BadSample


def question(key: str, values: tuple, *, dimension: str = "", slot: str | None = None) -> Question:
    options = tuple(Option(str(n), f"level {n}", value) for n, value in enumerate(values))
    return Question(key, f"how is {key}?", options, dimension or key, key, slot)


HANDS = question("hands", ("NA", 0, 1, 2))
COLOUR = question("colour", (0, 1), slot="colour")
TASTE = question("taste", (1, 2, 3, 4, 5), dimension="aesthetic")
SET = QuestionSet("made up", "", (HANDS, COLOUR, TASTE))
SPACE = LabelSpace(("hands", "colour", "aesthetic"), {"appeal": "aesthetic", "noise": None}, {})


def said(*values, rationales=()) -> list[Answer]:
    reasons = dict(rationales)
    return [Answer("hands", 0, f"r{n}", value, reasons.get(n)) for n, value in enumerate(values)]


def group(**labels) -> Group:
    return Group(id="g", prompt="p", candidates=tuple(Candidate("x") for _ in range(3)), **labels)


@pytest.mark.parametrize(
    ("values", "shares", "option"),
    [
        ((1,), (0, 0, 1, 0), 2),
        (("NA",), (1, 0, 0, 0), 0),
        ((2, 2, 0), (0, 1 / 3, 0, 2 / 3), 3),
        ((0, 2, 2, 0, 1), (0, 0.4, 0.2, 0.4), 1),  # as often, and as near to the mean of 1: the first
        ((0, 0, 1, 2, 2), (0, 0.4, 0.2, 0.4), 1),
        ((0, 0, 1, 1, 2), (0, 0.4, 0.4, 0.2), 2),  # the mean is 0.8
        (("NA", 2), (0.5, 0, 0, 0.5), 3),  # N/A has no distance
        ((1.5, 1), (0, 0, 1, 0), 2),  # 1.5 is no option
    ],
)
def test_shares_and_what_is_written(values, shares, option):
    found = answered(HANDS, said(*values), rationales=True)
    assert found.shares == pytest.approx(shares) and found.said == option and found.rationale is None


def test_answers_that_are_no_option_say_nothing():
    assert answered(HANDS, said(1.5, 7), rationales=True) == Answered()
    assert answered(TASTE, [Answer("aesthetic", 0, "r", "NA")], rationales=True) == Answered()


def test_the_rationale_is_one_of_the_majority():
    answers = said(0, 2, 2, 2, rationales=[(0, "a stump"), (2, "five fingers"), (3, "fine")])
    assert answered(HANDS, answers, rationales=True).rationale == "five fingers"
    assert answered(HANDS, answers, rationales=False).rationale is None
    assert answered(HANDS, said(0, 2, 2, rationales=[(0, "a stump")]), rationales=True).rationale is None


def test_training_asks_what_has_labels():
    made = group(
        answers=(
            Answer("hands", 0, "r", "NA"),
            Answer("appeal", 1, "r", 3.4),
            Answer("noise", 2, "r", 1),
            Answer("aesthetic", 0, "r", "NA"),  # the question has no N/A: missing
        ),
        slots={"colour": "red"},
    )
    asked = asked_in_training(made, SET, SPACE, rationales=False)
    assert [list(each) for each in asked] == [["hands"], ["taste"], ["hands"]]
    assert asked[0]["hands"].said == 0
    # A mean of 3.4 rates the candidate, so its score is learned; it chooses no option.
    assert asked[1]["taste"] == Answered()
    # Nothing was said of it: one question, without a label.
    assert asked[2]["hands"] == Answered()


def test_training_asks_what_is_compared_or_ranked():
    made = group(
        comparisons=(Comparison("appeal", 0, 2, (1, 0, 0)), Comparison("noise", 0, 1, (1, 0, 0))),
        rankings=(Ranking("hands", "r", (1, None, 2)),),
    )
    asked = asked_in_training(made, SET, SPACE, rationales=False)
    assert [list(each) for each in asked] == [["hands", "taste"], ["hands"], ["hands", "taste"]]
    assert all(one == Answered() for each in asked for one in each.values())


def test_a_label_whose_question_lacks_its_slot_is_a_bad_sample():
    made = group(answers=(Answer("colour", 0, "r", 1),))
    for slots in ({}, {"colour": "none; "}):
        with pytest.raises(BadSample, match=r"labels on 'colour', and question 'colour' asks of the slot 'colour'"):
            asked_in_training(replace(made, slots=slots), SET, SPACE, rationales=False)
        with pytest.raises(BadSample, match="labels on 'colour'"):
            asked_in_evaluation(replace(made, slots=slots), SET, SPACE, said=True, rationales=False)
    only_colour = QuestionSet("made up", "", (COLOUR,))
    for ask in (asked_in_training, asked_in_evaluation):
        extra = {"said": True} if ask is asked_in_evaluation else {}
        with pytest.raises(BadSample, match="no question of made up applies"):
            ask(group(), only_colour, SPACE, rationales=False, **extra)


def test_one_question_that_applies_is_enough_for_a_comparison():
    lively = question("lively", (0, 1), dimension="colour")
    asked = QuestionSet("made up", "", (COLOUR, lively))
    made = group(comparisons=(Comparison("colour", 0, 1, (1, 0, 0)),))
    training = asked_in_training(made, asked, SPACE, rationales=False)
    evaluation = asked_in_evaluation(made, asked, SPACE, said=True, rationales=False)
    assert [list(each) for each in training] == [list(each) for each in evaluation] == [["lively"]] * 3
    for ask in (asked_in_training, asked_in_evaluation):
        extra = {"said": True} if ask is asked_in_evaluation else {}
        with pytest.raises(BadSample, match="labels on 'colour', and question 'colour' asks of the slot"):
            ask(made, SET, SPACE, rationales=False, **extra)


def test_evaluation_asks_all_that_apply():
    made = group(answers=(Answer("hands", 1, "r", 2, "five"),))
    asked = asked_in_evaluation(made, SET, SPACE, said=True, rationales=True)
    assert [list(each) for each in asked] == [["hands", "taste"]] * 3
    assert asked[1]["hands"] == Answered((0, 0, 0, 1), 3, "five")
    with_slot = replace(made, slots={"colour": "red"})
    asked = asked_in_evaluation(with_slot, SET, SPACE, said=False, rationales=True)
    assert [list(each) for each in asked] == [["hands", "colour", "taste"]] * 3
    # The published form scores its options only where none is written.
    assert asked[1]["hands"] == Answered((0, 0, 0, 1))


def test_evaluation_asks_those_that_the_source_lists():
    made = group(answers=(Answer("hands", 1, "r", 2),), slots={"questions": ["taste", "unknown"], "colour": "red"})
    asked = asked_in_evaluation(made, SET, SPACE, said=True, rationales=False)
    assert [list(each) for each in asked] == [["taste"], ["hands", "taste"], ["taste"]]


def test_what_is_not_asked_leaves_no_label():
    made = group(
        comparisons=(Comparison("appeal", 0, 1, (1, 0, 0)), Comparison("noise", 0, 1, (1, 0, 0))),
        rankings=(Ranking("hands", "r", (1, 2, 3)),),
        answers=(Answer("hands", 0, "r", 1), Answer("aesthetic", 0, "r", 1)),
    )
    kept = with_dimensions(made, SPACE, {SPACE.dimensions.index("aesthetic")})
    assert kept.dimensions == ("aesthetic", "appeal")
    assert kept.candidates == made.candidates
    assert with_dimensions(made, SPACE, set()).dimensions == ()
