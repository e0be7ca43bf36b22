"""The examples on the page about data are read as the page says."""

import json
import re
import shlex
from collections import Counter
from pathlib import Path

import pytest

from rewardkit.commands.data import USAGE
from rewardkit.config.options import leaves
from rewardkit.data.formats import FORMATS
from rewardkit.data.group import from_json

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = [re.sub(r"^\w*\n", "", block) for block in PAGE.split("```")[1::2]]


def read(format_name, file):
    format = FORMATS[format_name]
    return [group for group, _ in format.read(file, format.options(), Counter())]


def test_every_jsonl_example_is_a_line_of_the_format(tmp_path):
    examples = re.findall(r'`(\{"prompt".*?\})`', PAGE) + re.findall(r'^\{"prompt".*$', PAGE, re.MULTILINE)
    assert len(examples) >= 6
    for example in examples:
        (tmp_path / "prefs.jsonl").write_text(example, encoding="utf-8")
        assert read("jsonl", tmp_path / "prefs.jsonl")


def test_the_csv_example_and_every_header_of_the_table(tmp_path):
    [block] = [block for block in BLOCKS if block.startswith("prompt,image_a")]
    (tmp_path / "prefs.csv").write_text(block)
    assert len(read("csv", tmp_path / "prefs.csv")) == 2
    headers = re.findall(r"`(prompt,image[a-z_,]*)`", PAGE)
    assert len(headers) == 4
    values = {"prompt": "p", "image_a": "a", "image_b": "b", "better": "tie", "rater": "x", "rating": "NA"}
    for header in headers:
        rows = [",".join(values.get(name, str(n)) for name in header.split(",")) for n in (1, 2)]
        if "rank" in header:
            rows = ["p,a,1,x", "p,b,2,x"]
        (tmp_path / "prefs.csv").write_text("\n".join([header, *rows]))
        assert read("csv", tmp_path / "prefs.csv")


def test_the_record_is_a_record():
    [block] = [block for block in BLOCKS if block.startswith('{"id"')]
    assert from_json(json.dumps(json.loads(block))).id == "avt_p01"


def test_every_option_in_a_command_exists():
    commands = re.findall(r"^python -m rewardkit (data .*)$", PAGE, re.MULTILINE)
    commands += [command for command in re.findall(r"`(data \w+ [^`…]*)`", PAGE) if "=" in command]
    assert len(commands) >= 10
    for command in commands:
        action, *options = shlex.split(command)[1:]
        format = next((o.removeprefix("format=") for o in options if o.startswith("format=")), None)
        known = {leaf.key for leaf in leaves(USAGE[action][1])}
        known |= {leaf.key for leaf in leaves(FORMATS[format].options)} if format else set()
        given = {option.split("=")[0] for option in options if "=" in option}
        assert given <= known, command


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_has_its_section(name):
    assert f"\n### {name}: " in PAGE
