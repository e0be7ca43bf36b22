"""The worst disagreements: clear verdicts only, one of each group, with the right pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rewardkit.data.group import Candidate, Comparison, Group
from rewardkit.data.predictions import ImagePlace, PredictionRows, Predictions
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.data.shards import scan_shard
from rewardkit.metrics.judged_pairs import judged_pairs
from rewardkit.report.disagreements import Disagreement, Thumbnails, worst_disagreements

RED, GREEN, BLUE = (200, 20, 20), (20, 180, 20), (20, 20, 200)


def jpeg(colour: tuple[int, int, int], size: tuple[int, int] = (400, 300)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG", quality=95)
    return out.getvalue()


def group(name: str, votes: list[tuple[int, int, tuple[float, float, float]]]) -> Group:
    comparisons = tuple(Comparison("overall", i, j, v) for i, j, v in votes)
    return Group(name, f"prompt of {name}", tuple(Candidate(f"{n}.jpg", f"g{n}") for n in range(3)), comparisons)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    with ShardWriter(tmp_path / "shards", "val") as writer:
        for name in ("a", "b", "c"):
            writer.write(group(name, []), [jpeg(RED), jpeg(GREEN), jpeg(BLUE)])
    return tmp_path / "shards"


def table(shards: Path) -> Predictions:
    rows = PredictionRows(("overall",))
    places = {s.key: ImagePlace("val-000000.tar", s.offset, s.length) for s in scan_shard(shards / "val-000000.tar")}
    groups = [
        # The model is wrong twice here; only the larger margin is shown.
        (group("a", [(0, 1, (9, 0, 1)), (0, 2, (9, 0, 1))]), [[0.0], [3.0], [1.0]]),
        # Wrong by more, but people are not clear.
        (group("b", [(0, 1, (6, 0, 4))]), [[0.0], [50.0], [0.0]]),
        # Wrong by less; the preferred candidate is the second one.
        (group("c", [(1, 2, (1, 1, 8))]), [[0.0], [2.0], [0.5]]),
    ]
    for number, (record, scores) in enumerate(groups):
        place = places[record.id]
        rows.add(record, scores, number=number, key=record.id, source="s", place=place)
    return rows.predictions()


def worst(shards: Path, thumbnails: Thumbnails, count: int = 5) -> list[Disagreement]:
    predictions = table(shards)
    pairs = judged_pairs(predictions)
    return worst_disagreements(pairs, predictions.scores, "overall", count=count, thumbnails=thumbnails)


def colour(uri: str | None) -> np.ndarray:
    assert uri is not None and uri.startswith("data:image/jpeg;base64,")
    image = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert image.size == (256, 192)
    return np.asarray(image).reshape(-1, 3).mean(0)


def test_the_largest_margins_against_clear_verdicts(shards: Path) -> None:
    found = worst(shards, Thumbnails([shards]))
    assert [(d.key, d.margin) for d in found] == [("a", 3.0), ("c", 1.5)]
    assert [(d.preferred.candidate, d.other.candidate) for d in found] == [(0, 1), (2, 1)]
    assert [(d.preferred.votes, d.ties, d.other.votes) for d in found] == [(9, 0, 1), (8, 1, 1)]
    assert [d.prompt for d in found] == ["prompt of a", "prompt of c"]
    assert found[0].preferred.generator == "g0"
    assert [d.key for d in worst(shards, Thumbnails([shards]), count=1)] == ["a"]


def test_pictures_belong_to_their_candidates(shards: Path) -> None:
    found = worst(shards, Thumbnails([shards]))
    for side in (found[0].preferred, found[0].other, found[1].preferred):
        assert np.abs(colour(side.picture) - (RED, GREEN, BLUE)[side.candidate]).max() < 12


def test_another_set_with_shards_of_the_same_name_is_not_taken(shards: Path, tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "decoy", "val") as writer:
        for name in ("x", "y", "z"):
            writer.write(group(name, []), [jpeg(BLUE), jpeg(BLUE), jpeg(BLUE)])
    found = worst(shards, Thumbnails([tmp_path / "decoy", shards]))
    assert np.abs(colour(found[0].preferred.picture) - RED).max() < 12


def test_missing_shards_and_full_pages_leave_places_empty(shards: Path, tmp_path: Path) -> None:
    nothing = Thumbnails([tmp_path / "nowhere"])
    assert all(d.preferred.picture is None for d in worst(shards, nothing))
    assert nothing.missing == 4
    full = Thumbnails([shards], max_bytes=1)
    found = worst(shards, full)
    assert found[0].preferred.picture is not None and found[1].other.picture is None
    assert full.missing == 3


def test_a_broken_picture_leaves_its_place_empty(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "shards", "val") as writer:
        for name in ("a", "b", "c"):
            writer.write(group(name, []), [jpeg(RED)[:200], jpeg(GREEN), jpeg(BLUE)])
    found = worst(tmp_path / "shards", Thumbnails([tmp_path / "shards"]))
    assert found[0].preferred.picture is None and found[0].other.picture is not None
