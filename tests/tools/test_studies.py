"""The studies: labels are what they are said to be, a verdict needs interval and seeds, a short form runs through."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rewardkit.data.demo.dataset import demo_groups, demo_utilities
from rewardkit.data.group import Candidate, Comparison, Group
from rewardkit.data.index import ShardIndex
from rewardkit.data.index_build import build_index
from rewardkit.data.predictions import PredictionRows, Predictions
from rewardkit.data.shard_writer import ShardWriter

STUDIES = Path(__file__).parents[2] / "tools" / "studies"
DIMENSIONS = ("prompt_following", "aesthetic", "fidelity", "harmlessness")


@pytest.fixture(scope="module")
def study() -> Iterator[SimpleNamespace]:
    sys.path.insert(0, str(STUDIES))
    import study_labels
    import study_results
    import study_runs

    yield SimpleNamespace(labels=study_labels, results=study_results, runs=study_runs)
    sys.path.remove(str(STUDIES))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty groups of the embedded dataset."""
    folder = tmp_path_factory.mktemp("study") / "pictures"
    with ShardWriter(folder, "pictures") as writer:
        for group, images in demo_groups(seed=0, start=0, count=40, split="train"):
            writer.write(group, images)
    build_index(folder)
    return folder


def test_labels_are_what_they_are_said_to_be(study: SimpleNamespace, pictures: Path, tmp_path: Path) -> None:
    written = study.labels.write_label_sets(
        pictures, tmp_path, law=study.labels.law_of_demo, dimensions=DIMENSIONS, seed=0
    )
    clean, flipped = (list(_votes(written[name].folder)) for name in ("clean", "flipped"))
    assert len(clean) == len(flipped) == 40 * 6 * 4 == written["clean"].comparisons
    assert all(sum(votes) == max(votes) == 1 for _, votes in clean)
    sided = [(a, b) for (_, a), (_, b) in zip(clean, flipped, strict=True) if a[1] == 0]
    assert np.mean([a != b for a, b in sided]) == pytest.approx(0.2, abs=0.05)
    assert all(a == b for (_, a), (_, b) in zip(clean, flipped, strict=True) if a[1] == 1)
    assert written["ties"].ties == pytest.approx(0.7, abs=0.04)
    assert written["sparse"].comparisons == pytest.approx(0.1 * len(clean), rel=0.35)
    kept = ShardIndex.open(written["sparse"].folder)
    assert all(len(kept.record(n).dimensions) == 1 for n in range(len(kept)))
    whole = dict(clean)
    assert all(whole[pair] == votes for pair, votes in _votes(written["sparse"].folder))


def test_votes_and_scores_follow_the_worth(study: SimpleNamespace, pictures: Path, tmp_path: Path) -> None:
    written = study.labels.write_label_sets(
        pictures, tmp_path, law=study.labels.law_of_demo, dimensions=DIMENSIONS, seed=1
    )
    worth = demo_utilities(seed=0, start=0, count=40, split="train")
    place = {f"demo-train-0-{n:06d}": values for n, values in enumerate(worth)}
    right = [
        (votes[0] > votes[2]) == (place[group][i][d] > place[group][j][d])
        for (group, d, i, j), votes in _votes(written["clean"].folder)
        if votes[1] == 0 and place[group][i][d] != place[group][j][d]
    ]
    assert np.mean(right) > 0.95
    ties = ShardIndex.open(written["ties"].folder)
    said = [
        (a.value, place[ties.record(n).id][a.candidate][a.dimension]) for n in range(40) for a in ties.record(n).answers
    ]
    scores, values = map(np.array, zip(*said, strict=True))
    assert set(scores) <= {1, 2, 3, 4, 5} and (scores == 4).mean() == pytest.approx(0.83, abs=0.02)
    assert values[scores <= 2].mean() < values[scores == 4].mean() - 1 < values[scores == 5].mean()


def test_the_same_seed_gives_the_same_labels(study: SimpleNamespace, pictures: Path, tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        written = study.labels.write_label_sets(
            pictures, tmp_path / name, law=study.labels.law_of_demo, dimensions=DIMENSIONS, seed=seed
        )
        digests.append([ShardIndex.open(one.folder).digest for one in written.values()])
    assert digests[0] == digests[1]
    assert all(a != b for a, b in zip(digests[0], digests[2], strict=True))


def test_a_law_of_people(study: SimpleNamespace) -> None:
    group = Group("g", "p", (Candidate("0.png"), Candidate("1.png")), (Comparison("d", 0, 1, (6, 3, 1)),))
    with_answers = study.labels.Answer("d", 0, "r", 4.0)
    law = study.labels.law_of_people(study.labels.replace(group, answers=(with_answers,)), ["d"])
    assert law.answers == {("d", 0, 1): pytest.approx((0.6, 0.3, 0.1))}
    assert law.worth == {"d": [4.0, 4.0]}  # nobody rated the second


def predictions(right: float, seed: int, groups: int = 60) -> Predictions:
    """A model that is right on a share of comparisons of two pictures each."""
    rng = np.random.default_rng(seed)
    rows = PredictionRows(["d"])
    for n in range(groups):
        group = Group(f"g{n}", "p", (Candidate("0.png"), Candidate("1.png")), (Comparison("d", 0, 1, (1, 0, 0)),))
        score = 1.0 if rng.random() < right else -1.0
        rows.add(group, [[score], [0.0]], number=n, key=f"g{n}", source="s")
    return rows.predictions()


def test_a_clear_difference_and_none(study: SimpleNamespace) -> None:
    seeds = range(3)
    arms = study.results.compare_arms(
        "data",
        "condition",
        {
            "reference": [[predictions(0.6, s, 300)] for s in seeds],
            "good": [[predictions(0.9, 10 + s, 300)] for s in seeds],
            "bad": [[predictions(0.3, 20 + s, 300)] for s in seeds],
            "alike": [[predictions(0.6, 30 + s, 300)] for s in seeds],
        },
        "reference",
    )
    assert [arm.verdict for arm in arms] == ["reference", "better", "worse", "no difference"]
    good = arms[1]
    assert good.value == pytest.approx(0.9, abs=0.04) and good.low < good.value < good.high
    assert good.difference == pytest.approx(good.value - arms[0].value)
    assert (good.comparisons, good.groups, len(good.seeds)) == (300, 300, 3)
    names = {arm.name: arm.name for arm in arms}
    told = study.results.sentences(arms, names)
    assert told[0].startswith("good beats reference by ") and told[1].startswith("bad is worse than reference by ")
    assert told[2] == "no difference to reference: alike"
    assert len(study.results.rows(arms, names)) == 6


def test_a_page_says_where_nothing_was_learned(study: SimpleNamespace) -> None:
    guesses = {name: [[predictions(0.5, n, 60)]] for n, name in enumerate(("reference", "other"))}
    told = study.results.sentences(
        study.results.compare_arms("d", "c", guesses, "reference"), dict.fromkeys(guesses, "x")
    )
    assert told[0].startswith("nothing here is above chance (0.5)")


def test_folds_are_put_together(study: SimpleNamespace) -> None:
    whole = predictions(0.7, 0, 40)
    parts = []
    for first in (0, 20):
        inside = whole.scores["group"].between(first, first + 19)
        parts.append(Predictions(whole.scores[inside], whole.labels[whole.labels["group"].between(first, first + 19)]))
    together, once = (
        study.results.compare_arms("d", "c", {"r": [tables]}, "r")[0] for tables in (parts[::-1], [whole])
    )
    assert together == once
    with pytest.raises(AssertionError, match="held out twice"):
        study.results.compare_arms("d", "c", {"r": [[whole, whole]]}, "r")


@pytest.mark.parametrize(
    ("gap", "low", "high", "told"),
    [
        ([0.02, 0.03, 0.01], 0.001, 0.05, "better"),
        ([0.02, 0.05, -0.001], 0.001, 0.05, "no difference"),  # the seeds disagree
        ([0.02, 0.03, 0.01], -0.001, 0.05, "no difference"),  # the interval holds 0
        ([-0.02, -0.03, -0.01], -0.05, -0.001, "worse"),
    ],
)
def test_a_verdict_needs_interval_and_seeds(
    study: SimpleNamespace, gap: list[float], low: float, high: float, told: str
) -> None:
    assert study.results.verdict(np.array(gap), low, high) == told


def test_pages_are_written_between_their_marks(study: SimpleNamespace, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n<!-- results -->\n\nold\n\n<!-- end of results -->\n\nend\n", encoding="utf-8")
    study.results.write_page(page, "results", "new\n")
    assert page.read_text(encoding="utf-8") == (
        "# Title\n\n<!-- results -->\n\nnew\n\n<!-- end of results -->\n\nend\n"
    )
    with pytest.raises(SystemExit, match="has no <!-- other -->"):
        study.results.write_page(page, "other", "new")


@pytest.mark.parametrize("name", ["objectives", "pairing", "evaluator_avt"])
def test_the_pages_have_the_marks(name: str) -> None:
    page = (STUDIES.parents[1] / "docs" / "studies" / f"{name}.md").read_text(encoding="utf-8")
    assert f"<!-- results of {name} -->" in page and f"<!-- end of results of {name} -->" in page


def test_results_of_a_short_run_reach_no_page(tmp_path: Path) -> None:
    command = [sys.executable, str(STUDIES / "objectives.py"), str(tmp_path / "out"), "--short", "--page", "page.md"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "mean nothing" in done.stderr


@pytest.mark.slow
def test_the_short_studies_run_and_resume(tmp_path: Path) -> None:
    for name, plots in (("objectives", ["objectives-embedded.png"]), ("pairing", ["pairing.png"])):
        out = tmp_path / "out"
        command = [sys.executable, str(STUDIES / f"{name}.py"), str(out), "--short", "--jobs", "1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert "in all where nothing is finished yet" in done.stdout.splitlines()[0]
        record = json.loads((out / "results.json").read_text(encoding="utf-8"))
        assert record["study"] == name and record["short"] is True and record["seeds"] == [0]
        table = pd.read_csv(out / "results.csv")
        assert len(table) == len(record["arms"]) == (5 if name == "objectives" else 3)
        assert table["value"].between(0.3, 0.9).all() and (table["low"] < table["high"]).all()
        assert set(table["verdict"]) <= {"reference", "better", "worse", "no difference"}
        text = (out / "results.md").read_text(encoding="utf-8")
        assert "its figures mean nothing" in text
        assert "no difference" in text or "beats" in text or "is worse than" in text
        for plot in plots:
            assert (out / plot).read_bytes().startswith(b"\x89PNG") and (out / plot).stat().st_size > 10_000
        assert not list((out / "runs").glob("hpsv2/*seed0*/checkpoints"))
        if name == "objectives":
            rates = record["data"]["embedded"]["estimated flip rates"]
            assert rates and "aesthetic: 0." in rates[0]
            again = subprocess.run(command, capture_output=True, text=True, timeout=120)
            assert "5 runs, 5 of them finished; 0 to go" in again.stdout
            assert json.loads((out / "results.json").read_text(encoding="utf-8")) == record


def _votes(folder: Path) -> Iterator[tuple[tuple[str, str, int, int], tuple[float, float, float]]]:
    index = ShardIndex.open(folder)
    for position in range(len(index)):
        group = index.record(position)
        for c in group.comparisons:
            yield (group.id, c.dimension, c.first, c.second), c.votes
