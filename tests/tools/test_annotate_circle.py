"""The study of the full circle: what it holds labels and scores against."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from rewardkit.cli import run
from rewardkit.data.open_index import open_index
from rewardkit.data.predictions import PredictionRows
from rewardkit.metrics.evaluate import judged
from rewardkit.metrics.protocols import accuracy

STUDIES = Path(__file__).parents[2] / "tools" / "studies"


@pytest.fixture(scope="module")
def circle() -> Iterator[ModuleType]:
    sys.path.insert(0, str(STUDIES))
    import annotate_circle

    yield annotate_circle
    sys.path.remove(str(STUDIES))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight groups of the embedded dataset."""
    out = tmp_path_factory.mktemp("circle") / "pictures"
    assert run(["data", "demo", f"out={out}", "groups=8", "workers=0", "split=val", "seed=3"]) == 0
    return out


def test_ten_votes_on_an_aspect_are_nearly_the_truth(circle: ModuleType, pictures: Path) -> None:
    right, pairs, _ = circle.label_sums(pictures, ["aesthetic", "fidelity"]).sum(axis=0)
    assert pairs > 40 and 0.9 < right / pairs <= 1


def test_scores_that_are_the_truth_are_always_right_and_others_are_not(circle: ModuleType, pictures: Path) -> None:
    truth, index = circle.true_labels(pictures), open_index(str(pictures))
    for sign, expected in ((1.0, 1.0), (-1.0, 0.0)):
        rows = PredictionRows(["overall"])
        for number in range(len(index)):
            group = index.record(number)
            over = {(i, j): gap for i, j, d, gap in truth[group.id] if d == "overall"}
            scores = [[0.0], *([-sign * over[0, k]] for k in range(1, 4))]
            rows.add(group, scores, number=number, key=group.id, source="demo")
        held = circle.as_truth(circle.only(rows.predictions(), ["overall"]), truth)
        assert accuracy(judged(held)["overall"].by_votes, "strict_micro", draws=0).value == expected
