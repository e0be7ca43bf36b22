"""EvalAlign's aggregates: golden files, answers that begin with their score, and what is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rewardkit.errors import DataError
from rewardkit.metrics.evalalign_answers import SKILLS, read_answer
from rewardkit.metrics.evalalign_published import alignment_published, faithfulness_published, read_published
from rewardkit.metrics.evalalign_scores import aspect_measurements, aspect_scores, evalalign_overall

SHARED = os.environ.get("REWARDKIT_SHARED")
CASES = json.loads((Path(__file__).parents[1] / "golden" / "evalalign.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=[f"{case['kind']}-{case['name']}" for case in CASES])
def test_golden_files(case: dict[str, Any]) -> None:
    published = {"faithfulness": faithfulness_published, "alignment": alignment_published}[case["kind"]]
    table = {row["id"]: row["answers"] for row in case["inputs"]["table"]}
    assert published(list(table.values()), case["inputs"]["n_images"]) == pytest.approx(case["expected"]["reference"])
    found = aspect_scores(table, case["kind"]).as_record()
    for key, wanted in case["expected"]["corrected"].items():
        ours = found if key == "total" else found["skills"][key]
        assert {name: ours[name] for name in wanted} == pytest.approx(wanted), key


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("3", 3),
        ("-1.There is no face, and 2 hands</s>", -1),
        ("−1", -1),
        ("－１", -1),
        ("４. completely fine", 4),
        ("<s> 2, some text", 2),
        ("Answer: 2", 2),
        ("The answer is 0.", 0),
        ("**1**", 1),
        ("3分", 3),
        ("NA", -1),
        (4, 4),
        (2.0, 2),
        ("", None),
        ("fine", None),
        ("I see 3 arms", None),
        ("7", None),
        ("-2", None),
        ("10", None),
        ("3rd option", None),
        ("3.5", None),
        ("2 or 3", None),
        ("2-3", None),
        ("2/4", None),
        ("- 1", None),
        (2.5, None),
        (float("nan"), None),
        (None, None),
    ],
)
def test_an_answer_begins_with_its_score_or_is_none(text: Any, score: int | None) -> None:
    assert read_answer(text, "face") == score


def test_scales_are_those_of_the_questions() -> None:
    assert read_answer("-1", "object") is None and read_answer("4", "object") == 4
    assert read_answer("3", "Style") is None and read_answer("2", "Style") == 2 and read_answer("-1", "Style") is None
    with pytest.raises(DataError, match="no question 'Body'"):
        read_answer("1", "Body")


def test_published_reading_has_its_defects() -> None:
    assert read_published("no human", "faithfulness") == 0
    assert read_published("I see -1 arms", "faithfulness") == -1 and read_published("-1", "alignment") == 1
    assert faithfulness_published([{"body": "-1"}])["body_average"] == 0
    # The denominator is the number of files, asked or not.
    assert faithfulness_published([{"body": "4"}], 2) == {
        "body_score": 4,
        "body_num": 2,
        "body_average": 2.0,
        "total_score": 4,
        "num": 2,
        "avg_score": 2.0,
    }
    with pytest.raises(DataError, match="no image"):
        alignment_published([])


def test_a_missing_image_leaves_the_denominator_and_is_named() -> None:
    plan = {"0001": ["Object", "Count"], "0002": ["Object"], "0003": ["Object", "Color"]}
    answers = {"0001": {"Object": "2", "Count": "who knows"}, "0002": {"Object": "1"}}
    found = aspect_scores(answers, "alignment", planned=plan)
    assert (found.n_images, found.missing_images) == (3, ("0003",))
    assert (found.n_planned, found.n_scored, found.n_invalid, found.n_missing) == (5, 2, 1, 2)
    assert found.total_average == 1.0 and found.average_micro == 1.5 and found.average_over_planned == 3 / 5
    skills = found.skills
    assert skills["Object"].average == 1.5 and skills["Object"].average_over_planned == 1.0
    assert skills["Color"].average is None and skills["Color"].n_missing == 1
    assert skills["Count"].average is None and skills["Count"].n_invalid == 1
    assert found.average_macro_over_dimensions == 1.5 and found.normalised_macro == 0.75


def test_an_unread_answer_is_never_the_worst() -> None:
    fine = {str(n): {"object": "4"} for n in range(4)}
    lost = fine | {"3": {"object": "all good"}}
    assert aspect_scores(lost, "faithfulness").average_micro == aspect_scores(fine, "faithfulness").average_micro == 4
    assert faithfulness_published(list(lost.values()))["avg_score"] == 3.0


def test_what_is_not_in_the_plan_is_refused() -> None:
    with pytest.raises(DataError, match="image 'b', which is not one of the planned 1"):
        aspect_scores({"b": {"Object": "1"}}, "alignment", planned={"a": ["Object"]})
    with pytest.raises(DataError, match="answer to 'Count'"):
        aspect_scores({"a": {"Count": "1"}}, "alignment", planned={"a": ["Object"]})
    with pytest.raises(DataError, match="'object' is a question on faithfulness"):
        aspect_scores({"a": {"object": "1"}}, "alignment")


def test_both_in_one_number() -> None:
    faithfulness = aspect_scores({"a": {"body": "-1", "Hand": "2", "object": "4"}}, "faithfulness")
    alignment = aspect_scores({"a": {"Object": "2", "Count": "1"}}, "alignment")
    found = evalalign_overall(faithfulness, alignment)
    assert found["average_of_the_two"] == (3.0 + 3.0) / 2
    assert found["normalised"] == pytest.approx((0.75 + 0.75) / 2)
    assert found["normalised_macro_over_skills"] == pytest.approx((0.5 + 1 + 1 + 0.5) / 4)
    nothing = aspect_scores({"a": {"Object": "?"}}, "alignment")
    assert nothing.normalised_macro is None and evalalign_overall(faithfulness, nothing)["normalised"] is None


@pytest.mark.parametrize("case", CASES, ids=[f"{case['kind']}-{case['name']}" for case in CASES])
def test_intervals_are_of_the_same_numbers(case: dict[str, Any]) -> None:
    table = {row["id"]: row["answers"] for row in case["inputs"]["table"]}
    whole = aspect_scores(table, case["kind"])
    found = {m.metric: m.result(draws=200) for m in aspect_measurements(table, case["kind"])}
    assert found["average_micro"].value == pytest.approx(whole.average_micro)
    assert found["normalised_macro"].value == pytest.approx(whole.normalised_macro)
    assert 0 <= found["normalised_macro"].low <= whole.normalised_macro <= found["normalised_macro"].high <= 1
    for key, skill in whole.skills.items():
        assert found[key].value == pytest.approx(skill.average) and found[key].comparisons == skill.n_scored
        assert found[key].unscored == skill.n_invalid + skill.n_missing
    assert not aspect_measurements({}, "alignment") and set(whole.skills) <= set(SKILLS)


@pytest.mark.skipif(not SHARED, reason="needs REWARDKIT_SHARED")
def test_the_most_that_the_published_prompts_can_give() -> None:
    folder = Path(str(SHARED)) / "data" / "evalalign"
    prompts = json.loads((folder / "test_alignment_prompt.json").read_text())
    plan = {prompt["prompt_id"]: list(prompt["question_info"]) for prompt in prompts}
    best = {image: dict.fromkeys(keys, "2") for image, keys in plan.items()}
    found = aspect_scores(best, "alignment", planned=plan)
    assert (found.n_images, found.n_planned, found.score) == (120, 417, 834)
    assert found.total_average == pytest.approx(834 / 120) and found.normalised_macro == 1.0
    assert found.total_average == alignment_published(list(best.values()))["total_avgerage"]
    # One image fewer: the published total moves with it, ours stays on the plan and names it.
    gone = next(image for image, keys in plan.items() if len(keys) == 1)
    del best[gone]
    fewer = aspect_scores(best, "alignment", planned=plan)
    assert found.missing_images == () and fewer.missing_images == (gone,)
    assert fewer.total_average == pytest.approx(832 / 120)
    assert alignment_published(list(best.values()))["total_avgerage"] == pytest.approx(832 / 119)
    assert fewer.normalised_macro == 1.0
