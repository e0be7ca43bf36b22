"""``data leaks`` as it is typed: its table, its file, its exit codes."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from rewardkit.cli import run


def leaks(*arguments: str) -> int:
    return run(["data", "leaks", *arguments])


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("train.txt").write_text("a fox in the snow at dawn\nan old lighthouse on a cliff\n")
    Path("edited.json").write_text('[{"id": "e1", "prompt": "a fox in snow, at dawn"}]')
    Path("swapped.txt").write_text("an old lighthouse on a hill\n")
    return tmp_path


def test_an_edited_prompt_is_a_leak(lists: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leaks("a=train.txt", "b=edited.json", "out=m.csv") == 1
    out = capsys.readouterr().out
    assert re.search(r"prompt, edited +1 +1 +100\.0% +2 +1\n", out), out
    assert "a 1, b e1: a fox in the snow at dawn | a fox in snow, at dawn (0.9" in out
    assert "no images were compared" in out
    assert "wrote m.csv" in out
    with Path("m.csv").open(encoding="utf-8") as file:
        assert [(row["kind"], row["b_id"]) for row in csv.DictReader(file)] == [("edited", "e1")]
    assert leaks("a=train.txt", "b=edited.json", "prompts=exact") == 0


def test_a_prompt_of_the_same_template_is_shown_only(lists: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leaks("a=train.txt", "b=swapped.txt") == 0
    out = capsys.readouterr().out
    assert re.search(r"prompt, similar +1 +1 +100\.0% +2 +1\n", out), out
    assert out.endswith("shared: nothing\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a=train.txt"], "b= is missing"),
        (["a=train.txt", "b=none"], "none does not exist; give a folder of shards"),
        (["a=train.txt", "b=edited.json", "out=m.xml"], "must end in .csv, .jsonl, .parquet"),
        (["a=train.txt", "b=edited.json", "images=hash"], "images"),
        (["a=train.txt", "b=edited.json", "similarity=2"], "similarity: must be at most 1"),
    ],
)
def test_mistakes(lists: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert leaks(*arguments) == 2
    assert message in capsys.readouterr().err
