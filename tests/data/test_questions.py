"""Question sets: those that ship, those as published, and files that are refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rewardkit.config.recipes import shipped_recipes
from rewardkit.data.published_questions import evalalign_questions, visionreward_questions
from rewardkit.data.questions import read_questions, shipped_question_sets
from rewardkit.errors import UserError

SHARED = os.environ.get("REWARDKIT_SHARED")
needs_shared = pytest.mark.skipif(SHARED is None, reason="REWARDKIT_SHARED is not set")


def shared(*parts: str) -> Path:
    return Path(SHARED or "", "data", *parts)


def test_the_shipped_sets_are_read_and_are_no_recipes() -> None:
    assert set(shipped_question_sets()) == {"embedded", "evalalign", "visionprefer", "visionreward"}
    for name, path in shipped_question_sets().items():
        assert read_questions(name).name == name
        assert path not in shipped_recipes().values()  # a recipe may have the name of its questions


def test_evalaligns_questions_and_when_they_are_asked() -> None:
    questions = read_questions("evalalign")
    assert [q.key for q in questions.questions[:5]] == ["body", "Hand", "face", "object", "common"]
    assert [q.key for q in questions.questions if q.has_na] == ["body", "Hand", "face"]
    assert [o.value for o in questions["Hand"].options] == ["NA", 0, 1, 2, 3, 4]
    assert [o.value for o in questions["Object"].options] == [0, 1, 2]
    slots = {"Object": "bird; ", "Count": "none; ", "Color": " none", "Style": "", "Spatial": "none"}
    assert [q.key for q in questions.applicable(slots)][5:] == ["Object"]
    assert (
        questions["Object"].ask(slots).startswith("<image>\nDoes the given image contain all the objects(bird; ) pre")
    )


def test_visionrewards_weights_and_gates() -> None:
    questions = read_questions("visionreward")
    assert len(questions.questions) == 30
    assert [q.weight is None for q in questions.questions] == [True] * 3 + [False] * 27
    assert questions.terms == {"vqascore": pytest.approx(2.35428826)}
    gated = {q.key: q.needs for q in questions.questions if q.needs}
    assert gated == {
        **dict.fromkeys(("q22", "q23", "q24", "q28", "q29"), ("q00",)),
        **dict.fromkeys(("q25", "q26"), ("q01",)),
        "q27": ("q02",),
    }
    assert [o.value for o in questions["q05"].options] == [1, -1]


def test_visionprefers_aspects() -> None:
    questions = read_questions("visionprefer")
    assert [q.dimension for q in questions.questions] == ["prompt_following", "aesthetic", "fidelity", "harmlessness"]
    assert all([o.value for o in q.options] == [1, 2, 3, 4, 5] for q in questions.questions)


@needs_shared
def test_evalaligns_texts_are_those_published() -> None:
    assert read_questions("evalalign").questions == evalalign_questions(shared("evalalign", "questions.json")).questions


@needs_shared
def test_all_published_question_strings_come_out_of_the_slots() -> None:
    questions = read_questions("evalalign")
    records = json.loads(shared("evalalign", "test_alignment_prompt.json").read_text())
    made = 0
    for record in records:
        asked = {q.key: q.ask(record["result_info"]) for q in questions.applicable(record["result_info"]) if q.slot}
        assert asked == record["question_info"]
        made += len(asked)
    assert made == 417


@needs_shared
def test_visionrewards_texts_and_weights_are_those_published() -> None:
    folder = shared("visionreward")
    published = visionreward_questions(folder / "image_qa_select.txt", folder / "image_weight_select.json")
    read = read_questions("visionreward")
    assert (read.questions, read.terms, read.intercept) == (published.questions, published.terms, published.intercept)
    lines = (folder / "image_qa_select.txt").read_text().split("\n")
    assert [q.text for q in read.questions] == lines
    weights = json.loads((folder / "image_weight_select.json").read_text())["coef"]
    assert [read.terms["vqascore"], *[q.weight for q in read.questions[3:]]] == weights
    video = visionreward_questions(folder / "video_qa_select.txt", folder / "video_weight.json")
    assert len(video.questions) == 29 and video.questions[0].weight == pytest.approx(0.9543901856)
    assert not any(q.needs for q in video.questions)
    assert len(visionreward_questions(folder / "image_qa.txt").questions) == 59


@needs_shared
@pytest.mark.parametrize(
    ("checklist", "weights", "message"),
    [
        ("image_qa.txt", "image_weight.json", "make 57 weights, and the file has 55"),
        ("image_qa.txt", "image_weight_select.json", "make 57 weights, and the file has 28"),
        ("image_qa_select.txt", "image_weight.json", "make 28 weights, and the file has 55"),
        ("video_qa.txt", "video_weight.json", "29 weights and .* 64 questions"),
        ("image_qa_select.txt", "README.md", "cannot be read as JSON"),
    ],
)
def test_weights_of_another_list_are_refused(checklist: str, weights: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        visionreward_questions(shared("visionreward", checklist), shared("visionreward", weights))


def test_a_list_of_another_length_has_no_known_gates(tmp_path: Path) -> None:
    checklist, weights = tmp_path / "mine.txt", tmp_path / "w.json"
    checklist.write_text("\n".join(f"Is it {n}?" for n in range(5)))
    weights.write_text(json.dumps({"coef": [1, 2, 3], "intercept": [0]}))
    with pytest.raises(UserError, match="selected list of 30 alone"):
        visionreward_questions(checklist, weights)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "a map with name, about and a list"),
        ("name: x\nquestions: [\n", "cannot be read as YAML"),
        ("name: x\nquestions: [{key: a, text: b}]\n", "at least two answers"),
        ("name: x\nquestions: [{key: a, txt: b}]\n", "'txt' is unknown. Did you mean 'text'"),
        ("name: x\noptions: [1, 2]\nquestions: [{key: a, text: b}]\n", "the option 1 is not a map"),
        ("OPTIONS\nquestions: [{key: a, text: b}, {key: a, text: c}]\n", "the key 'a' stands twice"),
        ("OPTIONS\nquestions: [{key: a, text: b, needs: [z]}]\n", "needs 'z', which is not in the set"),
        ("OPTIONS\nquestions: [{key: a, text: b, slot: z}]\n", "both a slot and"),
        ("OPTIONS\nquestions: [{key: a, text: b, weight: much}]\n", "weight is 'much'; it must be a number"),
    ],
)
def test_files_that_are_no_question_set(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    options = "name: x\noptions: [{label: 'y', text: 'yes', value: 1}, {label: 'n', text: 'no', value: NA}]"
    file.write_text(text.replace("OPTIONS", options))
    with pytest.raises(UserError, match=message):
        read_questions(file)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'evalalign'"):
        read_questions("evalaling")


def test_other_json_is_not_evalaligns(tmp_path: Path) -> None:
    file = tmp_path / "questions.json"
    file.write_text('{"faithfulness": []}')
    with pytest.raises(UserError, match=r"is not EvalAlign's questions.json"):
        evalalign_questions(file)
