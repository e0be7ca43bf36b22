"""The format for one's own data: jsonl and csv say the same things, and every mistake is named."""

import json

import pytest

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.formats import FORMATS, find_format, looks_like
from rewardkit.data.group import Group, to_json
from rewardkit.data.grouping import read_groups
from rewardkit.data.reading.format import ReadLog, TooManyBadRows
from rewardkit.errors import UserError


def read(format_name, src, log=None):
    """Groups and the names of their images, none of its rows bad."""
    log = ReadLog() if log is None else log
    made = read_groups(FORMATS[format_name], src, None, log)
    assert not log.bad
    return [(grouped.group, [place.name for place in grouped.images]) for grouped in made]


def bad_rows(format_name, src):
    """The rows that are left out, as messages call them."""
    log = ReadLog()
    try:
        read_groups(FORMATS[format_name], src, None, log)
    except TooManyBadRows as error:
        return [str(row) for row in error.bad]
    return [str(row) for row in log.bad]


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
    assert images == ["a.jpg", "b.jpg", "c.jpg"]
    assert votes(fox) == {("a.jpg", "b.jpg"): (1, 1, 0), ("a.jpg", "c.jpg"): (0, 0, 1)}
    assert fox.candidates[2].generator == "sdxl"
    assert fox.candidates[0].generator is None
    assert votes(hen, "aesthetic") == {("d.jpg", "e.jpg"): (7, 1, 2)}
    assert fox.provenance == {"format": "jsonl", "file": "prefs.jsonl", "line": 1}


def test_a_named_raters_choice_keeps_the_name(tmp_path):
    pair = {"prompt": "p", "images": ["b.jpg", "a.jpg"]}
    file = jsonl(tmp_path, pair | {"better": 1, "rater": "ann"}, pair | {"better": "tie", "by": "bo"})
    [(group, _)] = read("jsonl", file)
    assert [(r.by, r.ranks) for r in group.rankings] == [("ann", (2, 1)), ("bo", (1, 1))]
    assert votes(group) == {("b.jpg", "a.jpg"): (0, 1, 1)}


def test_a_named_choice_beside_unnamed_ones_becomes_a_vote(tmp_path):
    pair = {"prompt": "p", "images": ["a.jpg", "b.jpg"]}
    log = ReadLog()
    [(group, _)] = read("jsonl", jsonl(tmp_path, pair | {"better": 1, "rater": "ann"}, pair | {"better": 0}), log)
    assert votes(group) == {("a.jpg", "b.jpg"): (1, 0, 1)}
    assert sum(log.notes.values()) == 1
    assert "without the raters' names" in next(iter(log.notes))


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
    record = json.loads(to_json(group))
    assert record.pop("provenance") == {"format": "jsonl", "file": "prefs.jsonl", "line": 1}
    assert record == json.loads(text)
    assert images == ["a.png", "b.png"]


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
        ({"prompt": "p", "images": ["a", "a"], "better": 0}, "names the image 'a' twice"),
        ({"prompt": "p", "images": ["a", "./a"], "better": 0}, "names the image 'a' twice"),
        ({"prompt": "p", "images": ["a", "b", "c"], "better": 0}, "a comparison has two images, this line has 3"),
        ({"prompt": "p", "images": ["a", "b"], "votes": [1, 2]}, "[for the first, for a tie, for the second]"),
        ({"prompt": "p", "images": ["a", "b"], "votes": [0, 0, 0]}, "at least one must be positive"),
        ({"prompt": "p", "images": ["a", "b"], "votes": [1e308, 0, 0]}, "together they may be 9e+15 at most"),
        ({"prompt": "p", "images": ["a", "b"], "votes": [1, 0, 0], "better": 0}, "write one of them"),
        ({"id": "g", "prompt": "p", "candidates": [{"file": "a"}], "tags": {"style": ["x"]}}, "object of texts"),
        ({"id": "g", "prompt": "p", "candidates": [{"file": "a", "generator": 7}]}, "generator is 7; it must be text"),
        ({"prompt": "p", "images": ["a", "b"], "votes": [1, 0, 0], "rater": "x"}, "several people's"),
        ({"prompt": "p", "images": ["a", "b"], "better": 0, "weight": -1}, "must not be negative"),
        ({"prompt": "p", "images": ["a", "https://x/b.jpg"], "better": 0}, "is the URL 'https://x/b.jpg'; download"),
        ({"prompt": "p", "image": "a", "rating": "good"}, "rating is 'good'; it must be a number (or \"NA\""),
        ('{"prompt": "p", "image": "a", "rating": NaN}', "NaN is not a number that can be used"),
        ({"prompt": "p", "images": ["a", "b"], "ranks": [1]}, "one rank (1 is best) or null per image (2)"),
        ({"prompt": "p", "images": ["a", "b"], "ranks": [0, 1]}, "ranks is [0, 1]; 1 is best"),
        ({"prompt": "p", "images": ["a", "b"], "ranks": [1, 2], "better": 0}, "at once a comparison and a ranking"),
        ({"prompt": "p", "images": [{"path": "a"}, "b"], "better": 0}, 'must be a list like ["a.jpg", "b.jpg"]'),
        ({"prompt": "p", "image": "a", "rating": 1, "raw_prompt": ""}, "raw_prompt is empty"),
        ({"prompt": "p", "image": "a", "rating": 1, "id": 7}, "id is 7; it must be text"),
        ({"prompt": "p", "images": ["a", "b"], "better": 0, "generators": ["x"]}, "1 names for 2 images"),
        ({"prompt": "p", "images": "a.jpg", "better": 0}, 'must be a list like ["a.jpg", "b.jpg"]'),
        ({"prompt": "p", "images": ["a", "b"], "better": 0, "tags": {"style": 3}}, "object of texts"),
        ('{"prompt": "p", "prompt": "q"}', "'prompt' stands twice"),
        ('["p"]', "it is a list, not an object {…}"),
        ("{not json", "not a line of JSON"),
        ('{"prompt": "p", "images": ["a", "b"], "bet', "not a line of JSON"),
        ({"id": "g", "prompt": "p", "candidates": [{"file": "a"}, {"file": "a"}]}, "names the image 'a' twice"),
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
    file = jsonl(tmp_path, good, "", line, good)
    [bad] = bad_rows("jsonl", file)
    assert bad.startswith("prefs.jsonl:3: ")
    assert message in bad
    log = ReadLog()
    [made] = read_groups(FORMATS["jsonl"], file, None, log)
    assert votes(made.group) == {("a.jpg", "b.jpg"): (2, 0, 0)} and log.rows == 3


def test_a_file_of_mistakes_is_refused_with_the_first_ten(tmp_path):
    with pytest.raises(TooManyBadRows, match="and 15 more") as caught:
        read("jsonl", jsonl(tmp_path, *[{"prompt": ""}] * 25))
    assert str(caught.value).count("prefs.jsonl:") == 10
    assert len(caught.value.bad) == 25


def test_a_generator_or_tag_that_contradicts_an_earlier_line(tmp_path):
    pair = {"prompt": "p", "images": ["a.jpg", "b.jpg"], "better": 0}
    [bad] = bad_rows("jsonl", jsonl(tmp_path, pair | {"generators": ["x", "z"]}, pair | {"generators": ["y", None]}))
    assert bad.startswith("prefs.jsonl:2: image 'a.jpg' is said to come from generator 'y'")
    [bad] = bad_rows("jsonl", jsonl(tmp_path, pair | {"tags": {"style": "a"}}, pair | {"tags": {"style": "b"}}))
    assert bad.startswith("prefs.jsonl:2: tag 'style' is 'b'")


def test_the_raw_prompt_and_the_id_are_kept(tmp_path):
    pair = {"prompt": "a fox", "images": ["a.jpg", "b.jpg"], "better": 0}
    file = jsonl(tmp_path, pair | {"raw_prompt": "a fox, trending, 8k", "id": "fox-1"}, pair)
    [(group, _)] = read("jsonl", file)
    assert group.slots == {"raw_prompt": "a fox, trending, 8k"}
    assert group.id == "fox-1"
    text = 'prompt,raw_prompt,image_a,image_b,better\na fox,"a fox, trending, 8k",a,b,a\na hen,,a,b,a\n'
    (fox, _), (hen, _) = read("csv", table(tmp_path, text))
    assert fox.slots == {"raw_prompt": "a fox, trending, 8k"} and hen.slots == {}


def test_an_id_is_one_groups_and_a_group_has_one(tmp_path):
    pair = {"prompt": "p", "images": ["a.jpg", "b.jpg"], "better": 0}
    [bad] = bad_rows("jsonl", jsonl(tmp_path, pair | {"id": "x"}, pair | {"prompt": "q", "id": "x"}, pair))
    assert bad.startswith("prefs.jsonl:2: the group id 'x' is that of another group, at prefs.jsonl:1")
    [bad] = bad_rows("jsonl", jsonl(tmp_path, pair | {"id": "x"}, pair | {"id": "y"}, pair))
    assert bad.startswith("prefs.jsonl:2: the id is 'y', but an earlier row of this prompt says 'x'")
    record = {"id": "x", "prompt": "p", "candidates": [{"file": "a"}]}
    [bad] = bad_rows("jsonl", jsonl(tmp_path, record, record))
    assert bad.startswith("prefs.jsonl:2: a group with the id 'x' stands already")


def test_an_id_that_comes_late_is_the_groups_id(tmp_path):
    pair = {"prompt": "p", "images": ["a.jpg", "b.jpg"], "better": 0}
    [(group, _)] = read("jsonl", jsonl(tmp_path, pair, pair | {"id": "late"}))
    assert group.id == "late"


def test_bom_crlf_and_other_scripts(tmp_path):
    prompt = "красная лиса\u2028赤い狐"
    file = tmp_path / "prefs.jsonl"
    line = json.dumps({"prompt": prompt, "images": ["a.jpg", "b.jpg"], "better": 0}, ensure_ascii=False)
    file.write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n\r\n" + line.encode() + b"\r\n")
    [(group, _)] = read("jsonl", file)
    assert group.prompt == prompt
    assert votes(group) == {("a.jpg", "b.jpg"): (2, 0, 0)}
    file.write_bytes(b'{"prompt": "caf\xe9", "images": ["a", "b"], "better": 0}')
    [bad] = bad_rows("jsonl", file)
    assert bad.startswith("prefs.jsonl:1: prompt: the text is not UTF-8")


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
    assert images == ["a.jpg", "b.jpg"]


def test_csv_votes_ratings_and_rankings(tmp_path):
    [(group, _)] = read("csv", table(tmp_path, "prompt,image_a,image_b,votes_a,votes_tie,votes_b\np,a,b,7,1,2\n"))
    assert votes(group) == {("a", "b"): (7, 1, 2)}
    text = "prompt,image,rating,dimension,rater\np,a,4.5,d,ann\np,b,NA,d,ann\np,c,2,d,ann\n"
    [(group, _)] = read("csv", table(tmp_path, text))
    assert votes(group, "d") == {("a", "c"): (1, 0, 0)}
    text = "prompt,image,rank,rater\np,a,2,ann\np,b,1,ann\np,c,2,ann\np,c,1,bo\np,a,1,bo\n"
    [(group, _)] = read("csv", table(tmp_path, text))
    assert [(r.by, r.ranks) for r in group.rankings] == [("ann", (2, 1, 2)), ("bo", (1, None, 1))]


def test_ranks_of_a_ranking_need_not_stand_together(tmp_path):
    rows = ["p,a,2,ann", "q,a,1,ann", "p,c,1,bo", "p,b,1,ann", "q,b,2,ann", "p,a,2,bo", "p,c,3,ann"]
    (p, _), (q, _) = read("csv", table(tmp_path, "\n".join(["prompt,image,rank,rater", *rows])))
    assert [c.file for c in p.candidates] == ["a", "c", "b"]
    assert [(r.by, r.ranks) for r in p.rankings] == [("ann", (2, 3, 1)), ("bo", (2, 1, None))]
    assert [(r.by, r.ranks) for r in q.rankings] == [("ann", (1, 2))]


def test_tabs_instead_of_commas(tmp_path):
    file = tmp_path / "prefs.tsv"
    file.write_text("prompt\timage_a\timage_b\tbetter\na fox, red\ta\tb\tb\n")
    [(group, _)] = read("csv", file)
    assert group.prompt == "a fox, red" and votes(group) == {("a", "b"): (0, 0, 1)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,image_a,image_b,beter\np,a,b,a\n", "'beter' is not a column of a preference table. Did you mean"),
        ("prompt;image_a;image_b;better\n", "not separated as the file's ending says"),
        ("prompt,image_a,better\np,a,a\n", "the column 'image_b' is missing"),
        ("prompt,image_a,image_b\np,a,b\n", "either the column 'better' or the columns 'votes_a' and 'votes_b'"),
        ("prompt,image,rating,better\n", "at once comparison and rating"),
        ("prompt,image,rating,weight\n", "'weight' does not go with a table of ratings"),
        ("prompt,image\np,a\n", "say nothing about the images. comparisons need prompt, image_a, image_b"),
        ("prompt,prompt,image,rating\n", "'prompt' stands twice"),
        ("", "is empty"),
        ("\nprompt,image,rating\np,a,1\n", "the first line is empty"),
        ("prompt,image,rating\n", "a header and no rows"),
        ('prompt,image,rating\np,a,3\n"open,b,3\n' + "q" * (1 << 20), "a quote that is never closed"),
    ],
)
def test_each_mistake_of_a_whole_table_is_an_error(tmp_path, text, message):
    with pytest.raises(UserError) as caught:
        read("csv", table(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path / 'prefs.csv'}")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("prompt,image_a,image_b,better\np,a,b,0\n", 2, "better is '0'; it must be a, b or tie"),
        ("prompt,image_a,image_b,better\np,a,b,\n", 2, "better is ''; it must be a, b or tie"),
        ("prompt,image_a,image_b,better\na fox, running,a,b,a\n", 2, "5 cells, the header has 4; a comma in"),
        ("prompt,image_a,image_b,better\np,a,,a\n", 2, "image_b is ''"),
        ("prompt,image_a,image_b,better\n ,a,b,a\n", 2, "prompt is empty; write the prompt"),
        ("prompt,image_a,image_b,better\np,a,a,a\n", 2, "image_a and image_b names the image 'a' twice"),
        ("prompt,image_a,image_b,better,weight\np,a,b,a,-1\n", 2, "must not be negative"),
        ("prompt,image_a,image_b,votes_a,votes_b\np,a,b,1,-1\n", 2, "none may be negative"),
        ("prompt,image_a,image_b,votes_a,votes_b\np,a,b,0,0\n", 2, "at least one must be positive"),
        ("prompt,image_a,image_b,votes_a,votes_b\np,a,b,1e300,0\n", 2, "together they may be 9e+15 at most"),
        ("prompt,image_a,image_b,votes_a,votes_b,rater\np,a,b,1,0,ann\n", 2, "votes are several people's"),
        ('prompt,image,rating\n"x\ny",a,3\np,b,\n', 4, "it must be a number; leave the row out"),
        ("prompt,image,rating\np,b,inf\n", 2, "rating is 'inf'"),
        ("prompt,image,rank\np,a,0\np,b,1\np,c,2\n", 2, "rank is '0'; 1 is best"),
        ("prompt,image,rank\np,a,1\np,b,2\np,a,1\n", 4, "already in line 2; several people's rankings need"),
        ("prompt,image,rank\np,a,1\n", 2, "ranks only one image"),
        ("prompt,image,rank,rater\np,a,1,ann\np,b,1,bo\np,a,2,bo\n", 2, "rater 'ann' ranks only one image"),
        ('prompt,image,rating\np,a,3\n"open,b,3\nq,c,2\n', 3, "cannot be read"),
    ],
)
def test_each_bad_row_of_a_table_is_named(tmp_path, text, where, message):
    [bad] = bad_rows("csv", table(tmp_path, text))
    assert bad.startswith(f"prefs.csv:{where}: ")
    assert message in bad


def test_a_row_that_is_not_utf8_is_left_out_alone(tmp_path):
    file = tmp_path / "prefs.csv"
    file.write_bytes(b"prompt,image,rating\ncaf\xe9,a,3\np,a,3\n")
    [bad] = bad_rows("csv", file)
    assert bad.startswith("prefs.csv:2: the text is not UTF-8")
    file.write_bytes(b"prompt,im\xe9ge,rating\np,a,3\n")
    with pytest.raises(UserError, match=r"prefs.csv:1: the text is not UTF-8"):
        read("csv", file)
    file.write_text("prompt,image,rating\np,a,3\n", encoding="utf-16")
    with pytest.raises(UserError, match=r"prefs.csv:1: the text is not UTF-8"):
        read("csv", file)


def test_a_file_of_another_ending_is_not_read(tmp_path):
    file = jsonl(tmp_path, {"prompt": "p", "images": ["a", "b"], "better": 0})
    with pytest.raises(UserError, match=r"format=csv reads files whose names end in .csv or .tsv"):
        read("csv", file)
    assert looks_like(file) == ["jsonl"]


def test_a_folder_with_one_file_is_enough_and_with_two_is_not(tmp_path):
    jsonl(tmp_path, {"prompt": "p", "images": ["a", "b"], "better": 0})
    assert len(read("jsonl", tmp_path)) == 1
    (tmp_path / "more.jsonl").write_text("\n")
    with pytest.raises(UserError, match=r"holds 2 \(more.jsonl, prefs.jsonl\)"):
        read("jsonl", tmp_path)
    with pytest.raises(UserError, match="is empty: it has no line that says anything"):
        read("jsonl", tmp_path / "more.jsonl")
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
        [bad] = bad_rows("jsonl", jsonl(tmp_path, line))
        assert bad.startswith("prefs.jsonl:1: ")


def test_whole_characters_written_as_escapes_are_read(tmp_path):
    [(group, _)] = read("jsonl", jsonl(tmp_path, '{"prompt": "\\ud83e\\udd8a", "image": "a", "rating": 1}'))
    assert group.prompt == "🦊"
