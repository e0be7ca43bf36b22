"""What is taken for an answer, and what never is."""

from __future__ import annotations

import json
import re

import pytest

from rewardkit.annotate.answer_form import ScoresForm, is_refusal
from rewardkit.data.questions import read_questions

FORM = ScoresForm(read_questions("visionprefer").questions[:1], (2, 0), joint=True)


def answer(*scores: object) -> str:
    return json.dumps(
        {f"image_{n}": {"prompt_following": {"rationale": "so", "score": s}} for n, s in enumerate(scores, 1)}
    )


def test_scores_go_to_the_candidates_that_were_shown() -> None:
    value, problem = FORM.read(answer(5, 1))
    assert problem is None
    assert [(s.candidate, s.value) for s in FORM.scores(value)] == [(2, 5.0), (0, 1.0)]
    assert FORM.read(f"```json\n{answer(5, 1)}\n```")[1] is None
    assert FORM.read(f"<think>hm {{}}</think>\n{answer(5, 1.0)}")[1] is None
    assert [s.value for s in FORM.scores(FORM.read(answer(5, 1.0))[0])] == [5.0, 1.0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not one JSON object"),
        ("Sure! " + answer(1, 2), "not one JSON object"),
        (answer(1, 2) + answer(1, 2), "not one JSON object"),
        (answer(1, 2)[:-3], "not one JSON object"),
        (answer(1), "image_2"),
        (answer(1, 2, 3), "image_3"),
        (answer(1, 6), "image_2.prompt_following.score"),
        (answer(1, 0), "image_2.prompt_following.score"),
        (answer(1, 4.5), "image_2.prompt_following.score"),
        (answer(1, "4"), "image_2.prompt_following.score"),
        (answer(1, None), "image_2.prompt_following.score"),
        (answer(1, True), "image_2.prompt_following.score"),
        (answer(1, 2).replace("2}", "NaN}"), "not one JSON object"),
        (answer(1, 2).replace("prompt_following", "alignment"), "alignment|prompt_following"),
        (answer(1, 2).replace('"rationale": "so", ', ""), "rationale"),
        ('{"image_1": 1, "image_1": 2}', "twice"),
        ("[" * 100_000, "not one JSON object"),
        ("3", "object"),
    ],
)
def test_what_does_not_fit_is_no_answer(text: str, told: str) -> None:
    value, problem = FORM.read(text)
    assert value is None and problem is not None
    assert re.search(told, problem), problem


def test_not_applicable_is_an_answer() -> None:
    body = read_questions("evalalign").questions[0]
    form = ScoresForm([body], (0,), joint=False)
    value, problem = form.read(json.dumps({body.key: {"rationale": "none there", "score": -1}}))
    assert problem is None
    assert form.scores(value)[0].value == "NA"


def test_refusals_are_told_from_answers() -> None:
    for text in (
        "I'm sorry, but I can't help with that.",
        "I cannot assist with this request.",
        "Sorry, no.",
        "I am unable to judge people.",
        "As an AI, I do not judge.",
    ):
        assert is_refusal(text), text
    for text in (answer(1, 2), "The image is great", 'I am sorry {"score": 1}', "", "Sorryful colours"):
        assert not is_refusal(text), text


def test_half_a_character_in_a_rationale_does_not_reach_a_file() -> None:
    text = answer(1, 2).replace('"so"', '"\\ud800"')
    value, problem = FORM.read(text)
    assert problem is None
    FORM.scores(value)[0].rationale.encode("utf-8")  # type: ignore[union-attr]
