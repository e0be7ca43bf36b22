"""Gates and weighted scores: what does not count adds 0, what is not known is not guessed."""

from __future__ import annotations

import pytest

from rewardkit.data.question_gates import closed_questions, has_weights, is_yes, weighted_score
from rewardkit.data.questions import Option, Question, QuestionSet, read_questions

YES_NO = (Option("yes", "yes", 1.0), Option("no", "no", -1.0), Option("none", "none", "NA"))


def asked(key: str, *needs: str, weight: float | None = None) -> Question:
    return Question(key, f"{key}?", YES_NO, key, f"{key}?", needs=needs, weight=weight)


CHAIN = QuestionSet(
    "chain",
    "",
    (asked("body"), asked("hand", "body"), asked("finger", "hand", weight=2.0), asked("light", weight=3.0)),
    intercept=0.5,
    terms={"vqascore": 10.0},
)


@pytest.mark.parametrize(("said", "yes"), [(1.0, True), (0.0, False), (-1.0, False), ("NA", False), (None, False)])
def test_what_opens_a_gate(said: float | str | None, yes: bool) -> None:
    assert is_yes(said) is yes  # type: ignore[arg-type]


def test_a_closed_gate_closes_what_stands_behind_it() -> None:
    said = {"body": 1.0, "hand": 1.0, "finger": 1.0, "light": -1.0}
    assert closed_questions(CHAIN, said) == frozenset()
    assert closed_questions(CHAIN, {**said, "hand": -1.0}) == {"finger"}
    # The gate of the gate: `hand` was answered yes, but there is no body.
    assert closed_questions(CHAIN, {**said, "body": -1.0}) == {"hand", "finger"}
    assert closed_questions(CHAIN, {**said, "body": "NA"}) == {"hand", "finger"}
    assert closed_questions(CHAIN, {**said, "body": None}) == {"hand", "finger"}
    assert closed_questions(CHAIN, {"finger": 1.0}) == {"finger"}, "a gate that was not asked opens nothing"


def test_the_weighted_score() -> None:
    said = {"body": 1.0, "hand": 1.0, "finger": 1.0, "light": -1.0}
    found = weighted_score(CHAIN, said, closed=())
    assert (found.value, found.without, found.unknown) == (0.5 + 2.0 - 3.0, ("vqascore",), ())
    assert weighted_score(CHAIN, said, closed={"finger"}).value == 0.5 - 3.0
    whole = weighted_score(CHAIN, said, closed=(), terms={"vqascore": 0.7})
    assert whole.value == pytest.approx(0.5 + 2.0 - 3.0 + 7.0) and not whole.without
    assert weighted_score(CHAIN, {**said, "light": "NA"}, closed=()).value == 2.5
    unread = weighted_score(CHAIN, {**said, "light": None}, closed=())
    assert unread.value is None and unread.unknown == ("light",)
    assert weighted_score(CHAIN, {**said, "finger": None}, closed={"finger"}).value == 0.5 - 3.0


def test_visionreward_has_its_gates_and_its_weights() -> None:
    questions = read_questions("visionreward")
    said: dict[str, float | None] = {question.key: 1.0 for question in questions.questions}
    assert has_weights(questions) and not has_weights(read_questions("evalalign"))
    no_hands = {**said, "q02": -1.0}
    assert closed_questions(questions, no_hands) == {"q27"}  # type: ignore[arg-type]
    every = sum(question.weight or 0.0 for question in questions.questions)
    found = weighted_score(questions, no_hands, closed={"q27"})  # type: ignore[arg-type]
    assert found.value == pytest.approx(every - (questions["q27"].weight or 0.0)) and found.without == ("vqascore",)
