"""The examples on the pages about data and about formats are read as the pages say."""

import json
import re
import shlex
from pathlib import Path

import pytest

from rewardkit.commands.data import USAGE
from rewardkit.config.options import leaves
from rewardkit.data.formats import FORMATS
from rewardkit.data.group import from_json
from rewardkit.data.grouping import read_groups
from rewardkit.data.reading.format import ReadLog

DOCS = Path(__file__).parents[2] / "docs"
DATA = (DOCS / "data.md").read_text(encoding="utf-8")
FORMATS_PAGE = (DOCS / "formats.md").read_text(encoding="utf-8")
PAGES = {"data.md": DATA, "formats.md": FORMATS_PAGE}


def blocks(page):
    return [re.sub(r"^\w*\n", "", block) for block in page.split("```")[1::2]]


def section(name):
    """The text of a format's section."""
    text = FORMATS_PAGE[FORMATS_PAGE.index(f"\n### {name}: ") + 1 :]
    return re.split(r"\n##+ ", text, maxsplit=1)[0]


def read(format_name, file):
    log = ReadLog()
    made = [grouped.group for grouped in read_groups(FORMATS[format_name], file, None, log)]
    assert not log.bad
    return made


def test_every_jsonl_example_is_a_line_of_the_format(tmp_path):
    pages = DATA + section("jsonl")
    examples = re.findall(r'`(\{"prompt".*?\})`', pages) + re.findall(r'^\{"prompt".*$', pages, re.MULTILINE)
    assert len(examples) >= 6
    for example in examples:
        (tmp_path / "prefs.jsonl").write_text(example, encoding="utf-8")
        assert read("jsonl", tmp_path / "prefs.jsonl")


def test_every_field_of_a_line_has_its_row():
    from rewardkit.data.formats.own_lines import KINDS

    rows = " ".join(re.findall(r"^\| (.*?) \|", section("jsonl"), re.MULTILINE))
    named = set(re.findall(r"`(\w+)`", rows))
    lines = {name for kind in ("comparison", "rating", "ranking") for name in KINDS[kind][1]}
    assert lines - {"prompt", "image", "images"} <= named


def test_the_warning_on_the_data_page_is_what_a_reader_says(tmp_path):
    [warning] = [block for block in blocks(DATA) if block.startswith("warning: ")]
    pair = {"prompt": "p", "images": ["a", "b"], "better": 0}
    lines = [pair, pair, pair | {"dimenson": "detail"}]
    (tmp_path / "prefs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    log = ReadLog()
    read_groups(FORMATS["jsonl"], tmp_path, None, log)
    assert [str(bad) for bad in log.bad] == [warning.splitlines()[1].strip()]


def test_the_csv_example_and_every_header_of_the_table(tmp_path):
    page = section("csv")
    [block] = [block for block in blocks(page) if block.startswith("prompt,image_a")]
    (tmp_path / "prefs.csv").write_text(block)
    assert len(read("csv", tmp_path / "prefs.csv")) == 2
    headers = re.findall(r"`(prompt,image[a-z_,]*)`", page)
    assert len(headers) == 4
    values = {"prompt": "p", "image_a": "a", "image_b": "b", "better": "tie", "rater": "x", "rating": "NA"}
    for header in headers:
        rows = [",".join(values.get(name, str(n)) for name in header.split(",")) for n in (1, 2)]
        if "rank" in header:
            rows = ["p,a,1,x", "p,b,2,x"]
        (tmp_path / "prefs.csv").write_text("\n".join([header, *rows]))
        assert read("csv", tmp_path / "prefs.csv")


def test_the_record_is_a_record():
    [block] = [block for block in blocks(DATA) if block.startswith('{"id"')]
    assert from_json(json.dumps(json.loads(block))).id == "avt_p01"


@pytest.mark.parametrize("name", list(PAGES))
def test_every_option_in_a_command_exists(name):
    page = PAGES[name].replace("\\\n", "")
    commands = re.findall(r"^python -m rewardkit (data .*)$", page, re.MULTILINE)
    commands += [command for command in re.findall(r"`(data \w+ [^`…]*)`", page) if "=" in command]
    assert len(commands) >= 9
    for command in commands:
        action, *options = shlex.split(command)[1:]
        format = next((o.removeprefix("format=") for o in options if o.startswith("format=")), None)
        known = {leaf.key for leaf in leaves(USAGE[action][1])}
        known |= {leaf.key for leaf in leaves(FORMATS[format].options)} if format else set()
        given = {option.split("=")[0] for option in options if "=" in option}
        assert given <= known, command


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_has_its_section_and_its_command(name):
    assert f"format={name} " in section(name) or name in ("jsonl", "csv")
    assert f"[{name}](#{name}-" in FORMATS_PAGE
