"""The page of ``data inspect``: whole, escaped, loading nothing, and true to what was counted."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_page import Outline

from rewardkit.cli import run
from rewardkit.data.group import AGGREGATE, Answer, Candidate, Comparison, Group, Ranking
from rewardkit.data.index import ShardIndex
from rewardkit.data.index_build import build_index
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.report.inspect_charts import column_chart, number_chart
from rewardkit.report.inspect_counts import BINS, LabelCounts
from rewardkit.report.inspect_samples import draw_samples

EVIL = "<script>alert(\"x\")</script> & 'quoted'"


def jpeg(seed: int, size: tuple[int, int] = (60, 40)) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


def group(n: int) -> Group:
    """Two candidates, the first of which wins on every dimension."""
    return Group(
        f"g{n}",
        f"{EVIL} {n}",
        (Candidate("0.jpg", "glide", 60, 40), Candidate("1.jpg", f"<b>own</b> {n % 2}", 60, 40)),
        (Comparison("overall", 0, 1, (5.0, 2.0, 3.0)),),
        (
            Ranking("style", "ann", (1.0, 2.0)),
            Ranking("style", "bo", (1.0, 2.0)),
            Ranking("style", AGGREGATE, (2.0, 1.0)),
        ),
        (
            Answer("real", 0, "ann", 5.0, EVIL),
            Answer("real", 0, "bo", 4.0),
            Answer("real", 1, "ann", 1.0),
            Answer("real", 1, "bo", "NA"),
        ),
        {"style": EVIL},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with ShardWriter(tmp_path / "set", "s") as writer:
        for n in range(30):
            writer.write(group(n), [jpeg(2 * n), jpeg(2 * n + 1)])
    build_index(
        tmp_path / "set", made={"action": "convert", "src": EVIL, "summary": {"rows": 7, "notes": {}, "split": None}}
    )
    return tmp_path / "set"


def inspect(folder: Path, *more: str) -> tuple[str, Outline]:
    page = folder.parent / "page.html"
    assert run(["data", "inspect", f"src={folder}", f"html={page}", *more]) == 0
    text = page.read_text(encoding="utf-8")
    return text, Outline(text)


def test_the_page_is_whole_and_loads_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, page = inspect(folder)
    assert capsys.readouterr().out.endswith(f"wrote {folder.parent / 'page.html'}\n")
    assert page.open == []
    assert "script" not in page.tags
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in page.loads)
    anchors = set(re.findall(r'id="([^"]+)"', text))
    assert {link[1:] for link in page.loads if link.startswith("#")} <= anchors
    assert "http" not in re.sub(r"<meta http-equiv", "", text)
    assert len([link for link in page.loads if link.startswith("data:")]) == 48
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_all_text_is_escaped(folder: Path) -> None:
    text, page = inspect(folder)
    assert EVIL in page.text and "<b>own</b> 0" in page.text
    assert EVIL not in text and "<b>own" not in text


def test_figures_are_those_of_the_data(folder: Path) -> None:
    _, page = inspect(folder, "samples=3")
    for words in (
        "Groups 30",
        "Images 60",
        "summary rows 7 digest",
        "overall 30 300 0.311 0.464",  # pairs: (20 + 2 + 6) / 90; without ties (20 + 6) / 56
        "glide 30 50.0 %",
        "real mean rating 4.50 of 2 1 1 NA",
        "style mean rank 1.00 of 2 2.00 of 2",
        "overall votes won 50% of 10 30% of 10",
        "1 · real 5 (ann): " + EVIL,
        "3 groups, drawn with seed 0.",
    ):
        assert words in page.text, words


def test_samples_follow_the_seed_and_damage_is_told(folder: Path) -> None:
    index = ShardIndex.open(folder)
    ids = [[card.id for card in draw_samples(index, 5, seed)] for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]
    assert len(set(ids[0])) == 5 and ids[0] == sorted(ids[0], key=lambda name: int(name[1:]))
    assert len(draw_samples(index, 100, 0)) == 30
    path = index.path(0)
    data = path.read_bytes()
    at = data.index(index.sample(0).images[0])
    path.write_bytes(data[:at] + b"none" + data[at + 4 :])
    _, page = inspect(folder, "samples=30")
    assert "1 pictures cannot be shown" in page.text
    assert "no picture" in page.text
    assert "samples" not in inspect(folder, "samples=0")[1].text.lower().split("shards")[0]


def test_pictures_are_small_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ShardWriter(tmp_path / "set", "s") as writer:
        for n in range(3):
            writer.write(Group(f"g{n}", "p", (Candidate("0.jpg", None, 900, 700),)), [jpeg(n, (900, 700))])
    index = build_index(tmp_path / "set")
    cards = draw_samples(index, 3, 0)
    assert all(card.pictures[0].uri and len(card.pictures[0].uri) < 60_000 for card in cards)
    monkeypatch.setattr("rewardkit.report.inspect_samples.MAX_PICTURE_BYTES", 1000)
    assert [card.pictures[0].uri is None for card in draw_samples(index, 3, 0)] == [False, True, True]
    _, page = inspect(tmp_path / "set")
    assert "Generators" not in page.text and "Agreement" not in page.text


def test_counts_of_ratings_and_wins(folder: Path) -> None:
    index = ShardIndex.open(folder)
    counts = LabelCounts(index.scales)
    for position in range(len(index)):
        counts.add(index.record(position))
    assert counts.ratings["real"].tolist() == [30, 0, 0, 30, 30]
    assert counts.labels("real") == ["1", "2", "3", "4", "5"]
    assert counts.votes == {"overall": {10: 30}, "style": {2: 30}, "real": {1: 30}}
    won = counts.wins["overall"]
    assert (won["glide"].won, won["glide"].decided) == (30, 30)
    assert (won["<b>own</b> 1"].won, won["<b>own</b> 1"].decided) == (0, 15)


def test_ratings_on_a_continuous_scale_are_binned(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "s") as writer:
        for n, value in enumerate((0.0, 0.5, 49.9, 100.0)):
            answers = (Answer("mos", 0, "x", value),)
            writer.write(Group(f"g{n}", "p", (Candidate("0.jpg"),), answers=answers), [jpeg(n)])
    index = build_index(tmp_path)
    counts = LabelCounts(index.scales)
    for position in range(4):
        counts.add(index.record(position))
    assert np.flatnonzero(counts.ratings["mos"]).tolist() == [0, 19, BINS - 1]
    assert len(counts.labels("mos")) == BINS


def test_columns_hold_every_count() -> None:
    chart = number_chart({1: 3, 2: 1, 500: 2}, x_label="tokens", y_label="groups")
    assert re.findall(r"<title>([\d,]+): (\d+)", chart) == [("1", "4"), ("495", "2")]
    assert "in steps of 13" in chart
    assert column_chart(["a", "b"], [0, 0], x_label="x", y_label="y") == ""
    assert number_chart({}, x_label="x", y_label="y") == ""
    assert "&lt;" in column_chart(["<"], [1], x_label="x", y_label="y")


@pytest.mark.parametrize(
    ("html", "message"), [("page.txt", "must end in .html"), ("nowhere/page.html", "nowhere does not exist")]
)
def test_where_the_page_cannot_be_written(
    folder: Path, capsys: pytest.CaptureFixture[str], html: str, message: str
) -> None:
    assert run(["data", "inspect", f"src={folder}", f"html={html}"]) == 2
    assert message in capsys.readouterr().err
