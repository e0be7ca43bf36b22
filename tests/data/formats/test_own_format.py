"""The format for one's own data: jsonl and csv say the same things, and every mistake is named."""

import json
from collections import Counter

import pytest

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.formats import FORMATS, find_format
from rewardkit.data.group import Group, to_json
from rewardkit.errors import UserError


def read(format_name, src, notes=None):
    format = FORMATS[format_name]
    notes = Counter() if notes is None else notes
    return list(format.read(src, format.options(), notes))


def jsonl(folder, *lines):
    file = folder / "prefs.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return file


def table(folder, text):
    file = folder / "prefs.csv"
    file.write_bytes(text.encode())
    return file


def votes(group: Group, dimension="overall"):
    files = [candidate.file for candidate in group.candidates]
    return {(files[c.first], files[c.second]): c.votes for c in comparisons_of(group, dimension)}


def test_one_line_per_comparison(tmp_path):
    file = jsonl(
        tmp_path,
        {"prompt": "a fox", "images": ["a.jpg", "b.jpg"], "better": 0},
        {"prompt": "a fox", "images": ["c.jpg", "./a.jpg"], "better": 0, "generators": ["sdxl", None]},
        {"prompt": "a fox", "images": ["b.jpg", "a.jpg"], "better": "tie"},
        {"prompt": "a hen", "images": ["d.jpg", "e.jpg"], "votes": [7, 1, 2], "dimension": "aesthetic"},
    )
    (fox, images), (hen, _) = read("jsonl", file)
    assert images == [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    assert votes(fox) == {("a.jpg", "b.jpg"): (1, 1, 0), ("a.jpg", "c.jpg"): (0, 0, 1)}
    assert fox.candidates[2].generator == "sdxl"
    assert fox.candidates[0].generator is None
    assert votes(hen, "aesthetic") == {("d.jpg", "e.jpg"): (7, 1, 2)}
    assert fox.provenance == {"format": "jsonl", "file": "prefs.jsonl", "line": 1}


def test_paths_are_relative_to_the_file_not_to_the_working_directory(tmp_path, monkeypatch):
    file = jsonl(tmp_path, {"prompt": "p", "images": ["img/a.jpg", "b.jpg"], "better": 1})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    [(_, images)] = read("jsonl", file)
    assert images == [tmp_path / "img/a.jpg", tmp_path / "b.jpg"]


def test_a_named_raters_choice_keeps_the_name(tmp_path):
    pair = {"prompt": "p", "images": ["b.jpg", "a.jpg"]}
    file = jsonl(tmp_path, pair | {"better": 1, "rater": "ann"}, pair | {"better": "tie", "by": "bo"})
    [(group, _)] = read("jsonl", file)
    assert [(r.by, r.ranks) for r in group.rankings] == [("ann", (2, 1)), ("bo", (1, 1))]
    assert votes(group) == {("b.jpg", "a.jpg"): (0, 1, 1)}


def test_a_named_choice_beside_unnamed_ones_becomes_a_vote(tmp_path):
    pair = {"prompt": "p", "images": ["a.jpg", "b.jpg"]}
    notes = Counter()
    [(group, _)] = read("jsonl", jsonl(tmp_path, pair | {"better": 1, "rater": "ann"}, pair | {"better": 0}), notes)
    assert votes(group) == {("a.jpg", "b.jpg"): (1, 0, 1)}
    assert sum(notes.values()) == 1
    assert "without the raters' names" in next(iter(notes))


def test_ratings_and_rankings(tmp_path):
    file = jsonl(
        tmp_path,
        {"prompt": "p", "image": "a.jpg", "rating": 4, "dimension": "fidelity", "rater": "ann", "generator": "x"},
        {"prompt": "p", "image": "b.jpg", "rating": 2, "dimension": "fidelity", "rater": "ann", "rationale": "blurred"},
        {"prompt": "p", "image": "b.jpg", "rating": "NA", "dimension": "fidelity", "rater": "bo"},
        {"prompt": "p", "images": ["b.jpg", "c.jpg", "a.jpg"], "ranks": [1, None, 2], "by": "bo"},
    )
    [(group, _)] = read("jsonl", file)
    assert votes(group, "fidelity") == {("a.jpg", "b.jpg"): (1, 0, 0)}
    assert group.answers[1].rationale == "blurred"
    assert group.answers[2].value == "NA"
    assert group.rankings[0].ranks == (2, 1, None)
    assert votes(group) == {("a.jpg", "b.jpg"): (0, 0, 1)}


def test_a_group_record_comes_back_as_it_is(tmp_path):
    text = (
        '{"id": "g", "prompt": "p", "candidates": [{"file": "a.png"}, {"file": "b.png"}], '
        '"comparisons": [{"dimension": "overall", "first": 0, "second": 1, "votes": [1, 0, 0], "weight": 0.5}]}'
    )
    [(group, images)] = read("jsonl", jsonl(tmp_path, text))
    assert json.loads(to_json(group)) == json.loads(text)
    assert images == [tmp_path / "a.png", tmp_path / "b.png"]


def test_groups_keep_lines_of_one_prompt_apart(tmp_path):
    pair = {"prompt": "p", "images": ["a.jpg", "b.jpg"], "better": 0}
    one, two = read("jsonl", jsonl(tmp_path, pair | {"group": "1"}, pair | {"group": "2"}))
    assert one[0].id != two[0].id
    [again, _] = read("jsonl", jsonl(tmp_path, pair | {"group": "1"}, pair | {"group": "2"}))
    assert again[0].id == one[0].id


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "p", "images": ["a", "b"], "beter": 0}', "'beter': Did you mean 'better'"),
        (
            {"promt": "p", "images": ["a", "b"], "better": 0},
            "'promt' is not a field of a comparison line. Did you mean",
        ),
        ({"images": ["a", "b"], "better": 0}, "the field 'prompt' is missing"),
        ({"prompt": " ", "images": ["a", "b"], "better": 0}, "prompt is empty"),
        ({"prompt": "p", "images": ["a", "b"], "better": 2}, "better is 2; it must be 0 (the first image), 1"),
        ({"prompt": "p", "images": ["a", "b"], "better": True}, "better is True"),
        ({"prompt": "p", "images": ["a", "a"], "better": 0}, "same image twice"),
        ({"prompt": "p", "images": ["a", "./a"], "better": 0}, "same image twice"),
        ({"prompt": "p", "images": ["a", "b", "c"], "better": 0}, "a comparison has two images, this line has 3"),
        ({"prompt": "p", "images": ["a", "b"], "votes": [1, 2]}, "[for the first, for a tie, for the second]"),
        ({"prompt": "p", "images": ["a", "b"], "votes": [0, 0, 0]}, "at least one must be positive"),
        ({"prompt": "p", "images": ["a", "b"], "votes": [1, 0, 0], "better": 0}, "write one of them"),
        ({"prompt": "p", "images": ["a", "b"], "votes": [1, 0, 0], "rater": "x"}, "several people's"),
        ({"prompt": "p", "images": ["a", "b"], "better": 0, "weight": -1}, "must not be negative"),
        ({"prompt": "p", "images": ["a", "https://x/b.jpg"], "better": 0}, "is a URL; download"),
        ({"prompt": "p", "image": "a", "rating": "good"}, "rating is 'good'; it must be a number (or \"NA\""),
        ('{"prompt": "p", "image": "a", "rating": NaN}', "NaN is not a number that can be used"),
        ({"prompt": "p", "images": ["a", "b"], "ranks": [1]}, "one rank (1 is best) or null per image (2)"),
        ({"prompt": "p", "images": ["a", "b"], "ranks": [1, 2], "better": 0}, "at once a comparison and a ranking"),
        ({"prompt": "p", "images": ["a", "b"], "better": 0, "generators": ["x"]}, "1 names for 2 images"),
        ({"prompt": "p", "images": "a.jpg", "better": 0}, 'must be a list like ["a.jpg", "b.jpg"]'),
        ({"prompt": "p", "images": ["a", "b"], "better": 0, "tags": {"style": 3}}, "object of texts"),
        ('{"prompt": "p", "prompt": "q"}', "'prompt' stands twice"),
        ('["p"]', "must be an object {…}, not a list"),
        ("{not json", "not a line of JSON"),
        ({"id": "g", "prompt": "p", "candidates": [{"fil": "a"}]}, "'fil' is not a field of candidates"),
        (
            '{"id": "g", "prompt": "p", "candidates": [{"file": "a"}], "comparisions": []}',
            "'comparisions' is not a field of a group record. Did you mean 'comparisons'",
        ),
        (
            {
                "id": "g",
                "prompt": "p",
                "candidates": [{"file": "a"}],
                "comparisons": [{"dimension": "d", "first": 0, "second": 5, "votes": [1, 0, 0]}],
            },
            "points at candidates 0 and 5, but there are 1",
        ),
    ],
)
def test_each_mistake_names_file_line_and_what_to_do(tmp_path, line, message):
    good = {"prompt": "p", "images": ["a.jpg", "b.jpg"], "better": 0}
    file = jsonl(tmp_path, good, "", line)
    with pytest.raises(UserError) as caught:
        read("jsonl", file)
    assert str(caught.value).startswith(f"{file}:3: ")
    assert message in str(caught.value)


def test_all_mistakes_are_told_at_once_up_to_ten(tmp_path):
    with pytest.raises(UserError) as caught:
        read("jsonl", jsonl(tmp_path, *[{"prompt": ""}] * 25))
    assert str(caught.value).count("\n") == 9
    assert "stopped after 10" in str(caught.value)


def test_a_generator_or_tag_that_contradicts_an_earlier_line(tmp_path):
    pair = {"prompt": "p", "images": ["a.jpg", "b.jpg"], "better": 0}
    with pytest.raises(UserError, match=r"prefs.jsonl:2: image 'a.jpg' is said to come from generator 'y'"):
        read("jsonl", jsonl(tmp_path, pair | {"generators": ["x", "z"]}, pair | {"generators": ["y", None]}))
    with pytest.raises(UserError, match=r"prefs.jsonl:2: tag 'style' is 'b'"):
        read("jsonl", jsonl(tmp_path, pair | {"tags": {"style": "a"}}, pair | {"tags": {"style": "b"}}))


def test_bom_crlf_and_other_scripts(tmp_path):
    prompt = "красная лиса\u2028赤い狐"
    file = tmp_path / "prefs.jsonl"
    line = json.dumps({"prompt": prompt, "images": ["a.jpg", "b.jpg"], "better": 0}, ensure_ascii=False)
    file.write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n\r\n" + line.encode() + b"\r\n")
    [(group, _)] = read("jsonl", file)
    assert group.prompt == prompt
    assert votes(group) == {("a.jpg", "b.jpg"): (2, 0, 0)}
    file.write_bytes(b'{"prompt": "caf\xe9", "images": ["a", "b"], "better": 0}')
    with pytest.raises(UserError, match=r"prefs.jsonl:1: byte 16 is not UTF-8"):
        read("jsonl", file)


def test_csv_comparisons_with_quoted_newlines_bom_and_crlf(tmp_path):
    file = table(
        tmp_path,
        "\ufeffprompt,image_a,image_b,better,dimension,generator_a,generator_b,tags.style\r\n"
        '"a ""red"" fox,\nrunning",a.jpg,b.jpg,a,aesthetic,sdxl,dalle,anime\r\n'
        "\r\n"
        '"a ""red"" fox,\nrunning",b.jpg,a.jpg,tie,aesthetic,,,\r\n',
    )
    [(group, images)] = read("csv", file)
    assert group.prompt == 'a "red" fox,\nrunning'
    assert votes(group, "aesthetic") == {("a.jpg", "b.jpg"): (1, 1, 0)}
    assert [c.generator for c in group.candidates] == ["sdxl", "dalle"]
    assert group.tags == {"style": "anime"}
    assert images == [tmp_path / "a.jpg", tmp_path / "b.jpg"]


def test_csv_votes_ratings_and_rankings(tmp_path):
    [(group, _)] = read("csv", table(tmp_path, "prompt,image_a,image_b,votes_a,votes_tie,votes_b\np,a,b,7,1,2\n"))
    assert votes(group) == {("a", "b"): (7, 1, 2)}
    text = "prompt,image,rating,dimension,rater\np,a,4.5,d,ann\np,b,NA,d,ann\np,c,2,d,ann\n"
    [(group, _)] = read("csv", table(tmp_path, text))
    assert votes(group, "d") == {("a", "c"): (1, 0, 0)}
    text = "prompt,image,rank,rater\np,a,2,ann\np,b,1,ann\np,c,2,ann\np,c,1,bo\np,a,1,bo\n"
    [(group, _)] = read("csv", table(tmp_path, text))
    assert [(r.by, r.ranks) for r in group.rankings] == [("ann", (2, 1, 2)), ("bo", (1, None, 1))]


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("prompt,image_a,image_b,beter\np,a,b,a\n", 1, "'beter' is not a column of a preference table. Did you mean"),
        ("prompt;image_a;image_b;better\n", 1, "not separated by commas"),
        ("prompt,image_a,better\np,a,a\n", 1, "the column 'image_b' is missing"),
        ("prompt,image_a,image_b\np,a,b\n", 1, "either the column 'better' or the columns 'votes_a' and 'votes_b'"),
        ("prompt,image,rating,better\n", 1, "at once comparison and rating"),
        ("prompt,image,rating,weight\n", 1, "'weight' does not go with a table of ratings"),
        ("prompt,image\np,a\n", 1, "say nothing about the images. comparisons need prompt, image_a, image_b"),
        ("prompt,prompt,image,rating\n", 1, "'prompt' stands twice"),
        ("prompt,image_a,image_b,better\np,a,b,0\n", 2, "better is '0'; it must be a, b or tie"),
        ("prompt,image_a,image_b,better\na fox, running,a,b,a\n", 2, "5 cells, the header has 4; a comma inside"),
        ("prompt,image_a,image_b,better\np,a,,a\n", 2, "image_b is empty"),
        ("prompt,image_a,image_b,better\np,a,a,a\n", 2, "the same image 'a'"),
        ('prompt,image,rating\n"x\ny",a,3\np,b,\n', 4, "rating is empty; leave the row out"),
        ("prompt,image,rating\np,b,inf\n", 2, "rating is 'inf'"),
        ("prompt,image,rank\np,a,1\np,b,2\np,a,1\n", 4, "already in line 2; several people's rankings need"),
        ("prompt,image,rank\np,a,1\n", 2, "ranks only one image"),
        ('prompt,image,rating\np,a,3\n"open,b,3\nq,c,2\n', 3, "cannot be read"),
    ],
)
def test_each_csv_mistake_names_file_line_and_what_to_do(tmp_path, text, where, message):
    file = table(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read("csv", file)
    assert str(caught.value).startswith(f"{file}:{where}: ")
    assert message in str(caught.value)


def test_csv_that_is_empty_or_not_utf8(tmp_path):
    with pytest.raises(UserError, match="is empty"):
        read("csv", table(tmp_path, ""))
    with pytest.raises(UserError, match="a header and no rows"):
        read("csv", table(tmp_path, "prompt,image,rating\n"))
    file = tmp_path / "prefs.csv"
    file.write_bytes(b"prompt,image,rating\ncaf\xe9,a,3\n")
    with pytest.raises(UserError, match=r"0xe9.*not UTF-8"):
        read("csv", file)


def test_a_folder_with_one_file_is_enough_and_with_two_is_not(tmp_path):
    jsonl(tmp_path, {"prompt": "p", "images": ["a", "b"], "better": 0})
    assert len(read("jsonl", tmp_path)) == 1
    (tmp_path / "more.jsonl").write_text("")
    with pytest.raises(UserError, match=r"holds 2 \(more.jsonl, prefs.jsonl\)"):
        read("jsonl", tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        read("jsonl", tmp_path / "nowhere")


def test_an_unknown_format_names_the_nearest_and_what_the_folder_looks_like(tmp_path):
    jsonl(tmp_path, {"prompt": "p", "images": ["a", "b"], "better": 0})
    with pytest.raises(UserError, match=r"Did you mean 'jsonl'.* looks like format=jsonl"):
        find_format("json", tmp_path)
    assert find_format("avt", tmp_path).name == "avt"


def test_hostile_lines_are_mistakes_not_crashes(tmp_path):
    for line in (
        "[" * 200_000,
        '{"prompt": "p", "image": "a", "rating": 1' + "0" * 400 + "}",
        '{"prompt": "p", "image": "a", "rating": 1e999}',
        '{"prompt": "p \\ud800", "image": "a", "rating": 1}',
        '{"id": "g", "prompt": "p", "candidates": 3}',
        '{"id": "g", "prompt": "p", "candidates": [{"file": "a"}], "answers": [{"dimension": "d", "candidate": 0, '
        '"value": 1' + "0" * 400 + "}]}",
    ):
        with pytest.raises(UserError, match=r"prefs.jsonl:1: "):
            read("jsonl", jsonl(tmp_path, line))


def test_whole_characters_written_as_escapes_are_read(tmp_path):
    [(group, _)] = read("jsonl", jsonl(tmp_path, '{"prompt": "\\ud83e\\udd8a", "image": "a", "rating": 1}'))
    assert group.prompt == "🦊"
