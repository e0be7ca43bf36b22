"""The leaderboard's page without a browser: its table, what its cells open, its policy, and what it does not hold."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from benchmark_results import GENERATORS, HOSTILE, write_example

from rewardkit import cli
from rewardkit.benchmark.result import BenchmarkResult, read_result, write_result
from rewardkit.benchmark.result_rows import Missing
from rewardkit.errors import UserError
from rewardkit.report.behind import look_behind
from rewardkit.report.board import leaders, make_board, rank_name, span
from rewardkit.report.leaderboard import write_leaderboard
from rewardkit.report.win_matrix import win_matrices

HPS, VP = "hpsv2 · overall", "vpscore · overall"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("benchmark")
    write_example(made)
    return made


@pytest.fixture(scope="module")
def result(folder: Path) -> BenchmarkResult:
    return read_result(folder)


@pytest.fixture(scope="module")
def page(folder: Path) -> Path:
    """The page with all its pictures, kept apart from those that tests write."""
    return write_leaderboard(folder, images=3, megabytes=1).rename(folder / "whole.html")


def data_of(page: Path) -> dict[str, Any]:
    """The block of JSON that the page's script reads."""
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.S)
    assert block is not None
    found: dict[str, Any] = json.loads(block[1])
    return found


def test_the_table_has_each_reward_dimension_and_part(result: BenchmarkResult) -> None:
    board = make_board(result)
    assert len(board.columns) == 6 * 4 + 1  # six dimensions on all prompts and three styles, and what people said
    assert board.judges[:2] == [HPS, VP] and board.judges[-1] == "people · overall"
    first = {row.name: row.cells[0] for row in board.rows}
    cells = {c.generator: c for c in result.cells if (c.reward, c.dimension, c.tag) == ("hpsv2", "overall", "")}
    for name, cell in cells.items():
        assert first[name].value == cell.mean and first[name].text == f"{cell.mean:.2f}"
        assert first[name].best == (name in GENERATORS[:2])
    assert first["gamma"].below.startswith("#3 · ") and first["alpha"].below.startswith("#1–2 · ")
    means = [row.cells[0].value for row in board.rows]
    assert means == sorted(means, reverse=True)


def test_published_rows_stand_only_where_they_may_be_compared(result: BenchmarkResult) -> None:
    board = make_board(result)
    row = next(row for row in board.rows if row.published)
    known = {(c.judge, c.part): cell.text for c, cell in zip(board.columns, row.cells, strict=True) if cell.value}
    assert known == {
        (HPS, "all prompts"): "25.35",
        (HPS, "style: anime"): "26.03",
        (HPS, "style: paintings"): "24.80",
        (HPS, "style: photo"): "25.70",
    }
    assert all(cell.behind is None and not cell.best for cell in row.cells)
    apart = replace(result, references=(replace(result.references[0], rewards=()),))
    assert not make_board(apart).published


def test_who_leads_a_column(result: BenchmarkResult) -> None:
    cells = [c for c in result.cells if (c.reward, c.dimension, c.tag) == ("hpsv2", "overall", "")]
    assert leaders(cells) == set(GENERATORS[:2])
    assert leaders(replace(cell, same_as=()) for cell in cells) == {max(cells, key=lambda c: c.mean or 0).generator}
    assert leaders(replace(cell, mean=None) for cell in cells) == set()
    assert span(27.1, 27.5, "cosine100") == "27.10\u2009–\u200927.50" and span(-1, 2, "") == "−1.000 to 2.000"
    assert [rank_name(*ranks) for ranks in ((None, None), (2, 2), (2, 5))] == ["", "2", "2–5"]


def test_a_cell_opens_the_images_that_the_table_of_predictions_says(folder: Path, result: BenchmarkResult) -> None:
    board = make_board(result)
    behind = look_behind(result, folder, board.opened, images=2, max_bytes=10**7)
    table = pd.read_parquet(folder / result.rewards[1].predictions)
    for number, cell in enumerate(board.opened):
        if (cell.reward, cell.dimension, cell.value) != ("vpscore", "aesthetic", "photo"):
            continue
        rows = table[(table["generator"] == cell.generator) & (table["dimension"] == "aesthetic")]
        rows = rows[rows["tags"].str.contains("photo")].sort_values("score", ascending=False)
        record = behind.record["cells"][number]
        assert record["title"] == f"{cell.generator} · vpscore · aesthetic · style: photo"
        shown = {kind: [one[4] for one in ones] for kind, ones in record["examples"]}
        paths = rows["shard"].tolist()
        assert shown == {"Best": paths[:2], "Worst": paths[2:]}  # four images: all are shown
        assert [one[1] for _, ones in record["examples"] for one in ones] == [f"{s:.2f}" for s in rows["score"]]
        prompts = [behind.record["prompts"][one[3]] for _, ones in record["examples"] for one in ones]
        assert prompts == rows["prompt"].tolist()
    assert behind.pictures.over_budget == 0 and behind.pictures.unreadable == 0


def test_a_cell_says_rank_interval_ties_missing_and_place(folder: Path, result: BenchmarkResult) -> None:
    board = make_board(result)
    behind = look_behind(result, folder, board.opened, images=1, max_bytes=0)
    found = {
        (c.generator, c.value): record
        for c, record in zip(board.opened, behind.record["cells"], strict=True)
        if c.reward == "hpsv2"
    }
    lines = found["gamma", "paintings"]["lines"]
    assert lines[0].startswith("Mean 2") and "over 3 prompts" in lines[0]
    assert any(line.startswith("As HPS v2's table counts: ") for line in lines)
    assert lines[-1] == "1 without a score: paintings/00001."
    assert not any("without a score" in line for line in found["gamma", "photo"]["lines"])
    assert "Not distinguishable from beta & <i>co</i> 50%_x." in found["alpha", ""]["lines"][1]
    picture, _, place, _, path = found["alpha", ""]["examples"][0][1][0]
    assert picture is None and re.fullmatch(r"(1st|2nd|3rd) of 3 on this prompt", place) and path.endswith(".jpg")


def test_win_rates_are_whole_and_mirrored(result: BenchmarkResult) -> None:
    matrices, more = win_matrices(result)
    assert len(matrices) == 12 and more == 24 - 12
    first = matrices[0]
    assert first.title == HPS and first.names[-1] == "gamma"
    for i in range(3):
        assert first.rows[i][i].text == ""
        for j in range(i):
            assert abs(int(first.rows[i][j].text) + int(first.rows[j][i].text) - 100) <= 1
            kinds = {first.rows[i][j].kind, first.rows[j][i].kind}
            assert kinds in ({"even"}, {"ahead", "behind"})
    assert first.rows[0][2].kind == "ahead" and first.rows[2][0].kind == "behind"


def test_the_policy_names_the_one_script(page: Path) -> None:
    text = page.read_text("utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy[1] and policy[1].startswith("default-src 'none'")
    assert "unsafe-inline'; script" not in policy[1] and "unsafe-eval" not in policy[1]


def test_the_data_hold_no_markup(folder: Path, page: Path, result: BenchmarkResult) -> None:
    separator = "\u2028"
    table = folder / result.rewards[0].predictions
    frame = pd.read_parquet(table)
    assert HOSTILE in set(frame["prompt"])
    text = page.read_text("utf-8")
    block = text.split('id="data">')[1].split("</script>")[0]
    assert not set(block) & {"<", ">", "&", separator}
    assert HOSTILE in data_of(page)["prompts"]
    assert "<i>co</i>" not in text and "<b>fox" not in text


def test_without_a_script_all_numbers_and_missing_images_are_there(page: Path) -> None:
    text = re.sub(r"<script.*?</script>", "", page.read_text("utf-8"), flags=re.S)
    for said in ("As HPS v2", "EvalAlign: faithfulness", "Agreement with people", "Agreement of the rewards",
                 "Best of n", "appended text", "Missing images", "paintings/00001", "no image", "notes.txt",
                 "belongs to no prompt", "an example: none of these numbers was measured", "github.com/tgxs002/HPSv2",
                 "<small>1 missing</small>", ">published<"):  # fmt: skip
        assert said in text, said
    assert "<button" not in text.split("<dialog")[0], "a button that does nothing without the script"


def test_pictures_keep_to_the_budget(folder: Path, page: Path) -> None:
    whole = data_of(page)["pictures"]
    size = sum(map(len, whole))
    small = write_leaderboard(folder, images=3, megabytes=size / 2e6)
    kept = data_of(small)["pictures"]
    assert 0 < sum(map(len, kept)) <= size / 2 and len(kept) < len(whole)
    assert re.search(r"\d+ of these pictures are not in this file", small.read_text("utf-8"))
    opened = make_board(read_result(folder)).opened
    none = look_behind(read_result(folder), folder, opened, images=0, max_bytes=10**6)
    assert none.record["pictures"] == [] and none.shown == 0


def test_a_benchmark_of_one_generator_and_nothing_else(folder: Path, result: BenchmarkResult, tmp_path: Path) -> None:
    small = replace(
        result, kind="prompts", generators=result.generators[:1], rewards=result.rewards[:1], parts=result.parts[:1],
        cells=tuple(c for c in result.cells if (c.generator, c.reward, c.tag) == ("alpha", "hpsv2", "")),
        win_rates=(), published=(), references=(), agreements=(), human=(), human_values=(), best_of=(), aspects=(),
        both_aspects=(), variants=(), notes=(), provenance={},
    )  # fmt: skip
    write_result(tmp_path, small)
    (tmp_path / "predictions").symlink_to(folder / "predictions")
    text = write_leaderboard(tmp_path, images=1, megabytes=1).read_text("utf-8")
    assert 'id="wins"' not in text and "Best of n" not in text and "Missing images" in text  # of a stray file


def test_a_generator_without_any_score(folder: Path, result: BenchmarkResult, tmp_path: Path) -> None:
    lost = tuple(Missing(f"photo/{n:05d}", "photo", n, "no image") for n in range(100))
    empty = replace(result.generators[0], name="empty", images=0, prompts=0, missing=lost, stray=(), strays=0)
    more = replace(result, generators=(*result.generators, empty))
    row = next(row for row in make_board(more).rows if row.name == "empty")
    assert all(cell.text == "–" and cell.behind is None for cell in row.cells)
    write_result(tmp_path, more)
    (tmp_path / "predictions").symlink_to(folder / "predictions")
    text = write_leaderboard(tmp_path, images=1, megabytes=1).read_text("utf-8")
    assert "photo/00059 and 40 more" in text and "<small>100 missing</small>" in text


def test_where_there_is_no_benchmark_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"benchmark\.json"):
        write_leaderboard(tmp_path, images=1, megabytes=1)


def test_report_writes_a_benchmarks_page_and_tables_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", f"run={folder}", "page.images=1", "page.megabytes=0"]) == 0
    made = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in made] == ["leaderboard.html", "table.tex", "table.md"]
    assert "its best image, one at the median" in made[0].read_text("utf-8") and data_of(made[0])["pictures"] == []


def test_report_names_what_does_not_go_together(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["report", f"run={folder}", "against=other"]) == 2
    assert "against= compares two runs" in capsys.readouterr().err
    assert cli.run(["report", f"run={tmp_path}", "page.images=1"]) == 2
    assert "page.images is of a benchmark's page" in capsys.readouterr().err
