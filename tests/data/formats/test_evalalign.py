"""EvalAlign: conversations become answers on the questions' dimensions, prompt files become groups without labels."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.formats.evalalign import EvalAlignFormat, EvalAlignOptions
from rewardkit.data.group import Group
from rewardkit.data.grouping import read_groups
from rewardkit.data.questions import read_questions
from rewardkit.data.reading.format import ReadLog
from rewardkit.errors import UserError

SHARED = os.environ.get("REWARDKIT_SHARED")
QUESTIONS = read_questions("evalalign")
BODY, OBJECT = QUESTIONS["body"], QUESTIONS["Object"]


def groups(src: Path, log: ReadLog | None = None, **options: Any) -> list[Group]:
    return [made.group for made in read_groups(EvalAlignFormat(), src, EvalAlignOptions(**options), log) if made.group]


def turns(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"from": who, "value": said} for pair in pairs for who, said in zip(("human", "gpt"), pair, strict=True)]


def record(image: str, *pairs: tuple[str, str], **more: str) -> dict[str, Any]:
    return {"id": image, "image": image, "conversations": turns(*pairs), **more}


def write(folder: Path, records: list[Any], name: str = "train.json") -> Path:
    (folder / name).write_text(json.dumps(records))
    return folder / name


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)


def test_answers_are_on_the_dimension_of_their_question(tmp_path: Path) -> None:
    slots = {"Object": "elephant; bird;"}
    file = write(
        tmp_path,
        [
            record("sdxl/45.png", (BODY.template, "3"), (OBJECT.ask(slots), "2"), annotator="ann"),
            record("sd15/45.png", (BODY.template, "1"), (OBJECT.ask(slots), "0"), annotator="ann"),
            record("sdxl/45.png", (BODY.template, "-1"), annotator="bo"),
            record("sdxl/628.png", (BODY.template, "4")),
        ],
    )
    log = ReadLog()
    first, second = groups(file, log)
    assert not log.bad
    assert [c.file for c in first.candidates] == ["sdxl/45.png", "sd15/45.png"]
    assert [(a.dimension, a.candidate, a.by, a.value) for a in first.answers] == [
        ("body", 0, "ann", 3),
        ("Object", 0, "ann", 2),
        ("body", 1, "ann", 1),
        ("Object", 1, "ann", 0),
        ("body", 0, "bo", "NA"),
    ]
    assert first.slots == slots and first.prompt == "[prompt 45]" and second.prompt == "[prompt 628]"
    assert sum(log.notes.values()) == 4
    assert [c.votes for c in comparisons_of(first, "body")] == [(1, 0, 0)]


def test_prompts_are_joined_by_the_images_name(tmp_path: Path) -> None:
    write(tmp_path, [{"prompt_id": "45", "prompt": "a fox"}, {"prompt_id": "9", "prompt": "a hen"}], "prompts.json")
    file = write(tmp_path, [record("a/45.png", (BODY.template, "3")), record("a/7.png", (BODY.template, "3"))])
    log = ReadLog()
    [group] = groups(file, log, prompts=["prompts.json"])
    assert group.prompt == "a fox" and not log.notes
    assert [str(bad) for bad in log.bad] == ["train.json:2: there is no prompt for '7' in prompts.json"]


def test_a_prompt_that_two_files_give_differently_is_not_guessed(tmp_path: Path) -> None:
    write(tmp_path, [{"prompt_id": "45", "prompt": "a fox"}], "a.json")
    write(tmp_path, [{"prompt_id": "45", "prompt": "a hen"}, {"prompt_id": "9", "prompt": "an ox"}], "b.json")
    file = write(tmp_path, [record("a/45.png", (BODY.template, "3")), record("a/9.png", (BODY.template, "3"))])
    log = ReadLog()
    assert [g.prompt for g in groups(file, log, prompts=["a.json", "b.json"])] == ["an ox"]
    assert "'45' has two different prompts" in log.bad[0].reason


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("0", 0),
        (" 3. ", 3),
        ("\u22121", "NA"),
        ("-1.There are no human or animal body in the picture", "NA"),
        ("2, The body structure of the people or animals in the picture has a slight problem that does not affect the "
         "senses", 2),
        ("the body structure of the people or animals in the picture is basically fine,  with only a few flaws.", 3),
        ("4</s>", 4),
    ],
)  # fmt: skip
def test_spellings_of_an_option(tmp_path: Path, said: str, value: Any) -> None:
    [group] = groups(write(tmp_path, [record("1.png", (BODY.template, said))]))
    assert [a.value for a in group.answers] == [value]


@pytest.mark.parametrize(
    ("asked", "said", "message"),
    [
        (BODY.template, "5", "the answer '5' to body is none of its options: -1, There are no"),
        (BODY.template, "", "is none of its options"),
        (BODY.template, "I see two dogs", "is none of its options"),
        (BODY.template, "3.There are no human or animal body in the picture", "option 3 says 'The body structure"),
        (OBJECT.ask({"Object": "a"}), "-1", "the answer '-1' to Object is none of its options"),
        (BODY.template.replace("0.The body", "10.The body"), "3", "is a bare number, and the options .* not those pub"),
        ("<image>\nWhat is this?", "3", "turn 1 asks none of EvalAlign's 11 questions: 'What is this"),
    ],
)
def test_answers_that_match_nothing_are_bad_rows_and_never_zero(
    tmp_path: Path, asked: str, said: str, message: str
) -> None:
    file = write(tmp_path, [record("1.png", (asked, said)), record("2.png", (BODY.template, "2"))])
    log = ReadLog()
    [group] = groups(file, log)
    assert [a.value for a in group.answers] == [2]
    assert [(bad.file, bad.line) for bad in log.bad] == [("train.json", 1)]

    assert re.search(message, log.bad[0].reason)


@pytest.mark.parametrize(
    ("conversations", "message"),
    [
        ([], "it must be a list"),
        (turns((BODY.template, "1"))[:1], "has 1 turns; each human turn needs a gpt turn"),
        (turns((BODY.template, "1"))[::-1], "turn 1 of conversations is from 'gpt'; it must be from 'human'"),
        (["a", "b"], "turn 1 of conversations is 'a'"),
    ],
)
def test_conversations_of_another_shape(tmp_path: Path, conversations: Any, message: str) -> None:
    good = record("2.png", (BODY.template, "2"))
    log = ReadLog()
    groups(write(tmp_path, [good, {"image": "1.png", "conversations": conversations}]), log)
    assert len(log.bad) == 1 and message in log.bad[0].reason


def test_json_lines_are_read_too(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("\n".join(json.dumps(record(f"{n}.png", (BODY.template, "2"))) for n in range(3)) + "\n{oops\n")
    log = ReadLog()
    assert len(groups(file, log)) == 3
    assert [bad.line for bad in log.bad] == [4]


def test_a_file_that_is_cut_off_or_of_another_kind(tmp_path: Path) -> None:
    file = write(tmp_path, [record("1.png", (BODY.template, "2"))])
    file.write_text(file.read_text()[:-30])
    with pytest.raises(UserError, match=r"train.json is not valid JSON .*cut off"):
        groups(file)
    with pytest.raises(UserError, match="either image and conversations, or prompt_id and prompt; the first has a"):
        groups(write(tmp_path, [{"a": 1}]))


def test_images_of_each_model_become_the_candidates_of_a_prompt(tmp_path: Path) -> None:
    slots = dict.fromkeys(("Count", "Color", "Style", "Spatial", "Action"), "none")
    slots = {"Object": "fox;"} | slots
    records = [
        {"prompt_id": "45", "prompt": "a fox", "result_info": slots, "question_info": {"Object": OBJECT.ask(slots)}},
        {"prompt_id": "46", "prompt": "a hen", "result_info": slots, "question_info": {"Object": "something else"}},
        {"prompt_id": "47", "prompt": "an ox", "result_info": slots, "question_info": {}},
    ]
    write(tmp_path, records, "test_alignment_prompt.json")
    for name in ("sdxl/45.png", "pixart/45.webp", "sdxl/46.jpg", "sdxl/stray.png"):
        draw(tmp_path / "images" / name)
    log = ReadLog()
    made = read_groups(EvalAlignFormat(), tmp_path, None, log)
    assert [(g.group.id, g.group.prompt) for g in made if g.group] == [("45", "a fox"), ("46", "a hen")]
    first = made[0].group
    assert first is not None and not first.answers and not first.comparisons
    assert [(c.file, c.generator) for c in first.candidates] == [("pixart/45.webp", "pixart"), ("sdxl/45.png", "sdxl")]
    assert made[0].images[0].folder == "images"
    assert first.slots == {**slots, "questions": ["Object"]}
    assert [str(bad) for bad in log.bad] == ["test_alignment_prompt.json:3: no image is named '47' (prompt_id)"]
    assert log.notes["prompts without an image of pixart"] == 1
    assert log.notes["images that no prompt_id of the file names: not read"] == 1
    assert sum("question_info differs" in note for note in log.notes) == 1


def test_two_images_of_one_prompt_and_model_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, [{"prompt_id": "45", "prompt": "a fox"}], "test_faithfulness_prompt.json")
    draw(tmp_path / "a" / "45.png")
    draw(tmp_path / "a" / "45.jpg")
    with pytest.raises(UserError, match="are both the image of prompt '45'"):
        groups(file)
    with pytest.raises(UserError, match="images=nowhere: there is no such folder"):
        groups(file, images="nowhere")


def test_it_looks_like_itself_and_other_conversations_do_not(tmp_path: Path) -> None:
    format = EvalAlignFormat()
    assert format.matches(write(tmp_path, [record("1.png", (BODY.template, "2"))]))
    assert not format.matches(write(tmp_path, [record("1.png", ("<image>\nWhat is it?", "a fox"))]))
    assert not format.matches(write(tmp_path, [{"prompt_id": "1", "prompt": "p"}]))
    assert not format.matches(tmp_path / "none")


@pytest.mark.skipif(SHARED is None, reason="REWARDKIT_SHARED is not set")
@pytest.mark.parametrize(
    ("name", "count"), [("test_alignment_prompt.json", 120), ("test_faithfulness_prompt.json", 100)]
)
def test_the_published_prompts_go_through(tmp_path: Path, name: str, count: int) -> None:
    published = Path(SHARED or "") / "data" / "evalalign" / name
    (tmp_path / name).write_bytes(published.read_bytes())
    records = json.loads(published.read_text())
    for made in records:
        for model in ("sdxl", "pixart"):
            draw(tmp_path / "images" / model / f"{made['prompt_id']}.png")
    log = ReadLog()
    read = groups(tmp_path, log)
    assert len(read) == count and not log.bad and not log.notes
    assert [(g.id, g.prompt) for g in read] == [(made["prompt_id"], made["prompt"]) for made in records]
    asked = Counter(key for g in read for key in g.slots["questions"])
    alignment = {"Object": 118, "Count": 109, "Spatial": 85, "Action": 54, "Color": 26, "Style": 25}
    assert asked == (alignment if count == 120 else dict.fromkeys(("body", "Hand", "face", "object", "common"), 100))


@pytest.mark.skipif(SHARED is None, reason="REWARDKIT_SHARED is not set")
def test_every_published_question_is_recognised(tmp_path: Path) -> None:
    folder = Path(SHARED or "") / "data" / "evalalign"
    records = json.loads((folder / "test_alignment_prompt.json").read_text())
    made = [
        record(f"m/{r['prompt_id']}.png", *((asked, "1") for asked in r["question_info"].values()))
        for r in records
        if r["question_info"]
    ]
    log = ReadLog()
    read = groups(write(tmp_path, made), log, prompts=[str(folder / "test_alignment_prompt.json")])
    assert not log.bad and sum(len(g.answers) for g in read) == 417
    slots = {r["prompt"]: r["result_info"] for r in records}
    for g in read:
        assert dict(g.slots) == {key: slots[g.prompt][key] for key in g.slots}
