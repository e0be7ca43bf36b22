"""A run's folder as a training leaves it, drawn up without training."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from browser import chromium

from rewardkit.config.layout import RunLayout
from rewardkit.config.recipes import compose_fit
from rewardkit.config.show import composed_yaml
from rewardkit.data.demo.dataset import demo_group, demo_utilities
from rewardkit.data.demo.voters import DIMENSIONS
from rewardkit.data.group import Candidate, Comparison, Group
from rewardkit.data.predictions import ImagePlace, PredictionRows, write_predictions
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.data.shards import scan_shard


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One browser for all pages."""
    with chromium(tmp_path_factory.mktemp("browser")) as started:
        yield started


def write_metrics(path: Path, rows: list[tuple[int, str, float]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("step", "name", "value"), *((s, n, f"{v:.9g}") for s, n, v in rows)])


def curves_of_a_run(steps: int, dimensions: tuple[str, ...], protocol: str) -> list[tuple[int, str, float]]:
    rng = np.random.default_rng(0)
    rows: list[tuple[int, str, float]] = []
    for step in [1, *range(10, steps + 1, 10)]:
        share = step / steps
        pairwise = 0.69 - 0.25 * (1 - math.exp(-3 * share)) + 0.015 * rng.normal()
        contrast = 2.4 * math.exp(-2.5 * share) + 0.4 + 0.05 * rng.normal()
        rows += [
            (step, "train/loss", pairwise + contrast),
            (step, "train/loss/bradley_terry", pairwise),
            (step, "train/loss/caption_contrast", contrast),
            (step, "train/lr", 1e-3 * min(1, step / 40) * 0.5 * (1 + math.cos(math.pi * share))),
            (step, "train/throughput/images_per_s", 820 + 30 * rng.normal()),
            (step, "train/throughput/comparisons_per_s", 1230 + 45 * rng.normal()),
            (step, "train/throughput/peak_memory_gb", 1.9 + 0.1 * share),
            (step, "train/gradient_norm", 1 + 0.3 * rng.normal() ** 2),
            (step, "train/score_spread", 0.02 + 0.6 * share),
        ]
    for n in range(1, 7):
        for k, dimension in enumerate(dimensions):
            value = 0.5 + (0.3 + 0.02 * (k % 5)) * (1 - math.exp(-0.6 * n)) + 0.008 * rng.normal()
            rows.append((n * steps // 6, f"val/{protocol}/{dimension}", value))
    return rows


def demo_run(folder: Path, *, groups: int, pictures: int, shards: Path, noise: float = 0.8, seed: int = 0) -> RunLayout:
    """A finished run on the embedded dataset: real drawings for the first ``pictures`` groups, noisy utilities."""
    rng = np.random.default_rng(seed)
    layout = RunLayout(folder)
    utilities = demo_utilities(seed=0, start=0, count=groups, split="val")
    rows = PredictionRows(DIMENSIONS)
    if not shards.exists():
        with ShardWriter(shards, "val") as writer:
            for index in range(pictures):
                group, files = demo_group(seed=0, index=index, split="val")
                writer.write(group, files)
    shard = next(shards.glob("*.tar"))
    places = {s.key: ImagePlace(shard.name, s.offset, s.length) for s in scan_shard(shard)}
    drawn = {index: demo_group(seed=0, index=index, split="val")[0] for index in range(pictures)}
    for index in range(groups):
        scores = [[u[d] + noise * rng.normal() for d in DIMENSIONS] for u in utilities[index]]
        group = drawn.get(index) or votes_only(index, utilities[index], rng)
        rows.add(group, scores, number=index, key=group.id, source="embedded", place=places.get(group.id))
    write_predictions(layout.predictions / "000600-val.parquet", rows.predictions())
    write_run(layout, dimensions=DIMENSIONS, steps=600)
    return layout


def votes_only(index: int, utilities: list[dict[str, float]], rng: np.random.Generator) -> Group:
    """A group without pictures: the simulated votes alone."""
    from rewardkit.data.demo.voters import cast_votes

    k = len(utilities)
    names = rng.permutation(["lantern-xl", "juniper-2", "marble-turbo", "otter-1.5", "pebble-base"])
    comparisons = tuple(
        Comparison(d, i, j, cast_votes(rng, d, utilities[i][d], utilities[j][d]))
        for d in DIMENSIONS
        for i in range(k)
        for j in range(i + 1, k)
    )
    style = ["photo", "watercolour", "poster", "pixel art"][index % 4]
    return Group(
        f"demo-val-0-{index:06d}",
        "a red boat beside two trees at night",
        tuple(Candidate(f"{n}.jpg", str(names[n])) for n in range(k)),
        comparisons,
        tags={"style": style},
    )


def write_run(layout: RunLayout, *, dimensions: tuple[str, ...], steps: int, protocol: str = "strict_micro") -> None:
    """config.yaml, overrides.txt, environment.json and metrics.csv of a run of the shipped recipe."""
    layout.root.mkdir(parents=True, exist_ok=True)
    overrides = {"recipe": "hpsv2", "seed": 3, "run.name": "first", "evaluation.protocol": protocol}
    layout.config.write_text(composed_yaml(compose_fit(overrides), origins=True) + "\n", encoding="utf-8")
    layout.overrides.write_text("recipe=hpsv2\nseed=3\nrun.name=first\n", encoding="utf-8")
    environment = {
        "seed": 3,
        "versions": {"rewardkit": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "lightning": "2.6.6"},
        "system": "Linux x86_64",
        "cpu_cores": 2,
        "gpus": [],
        "git_revision": "0f3c9a5b7d2e4f60718293a4b5c6d7e8f9012345",
    }
    layout.environment.write_text(json.dumps(environment), encoding="utf-8")
    write_metrics(layout.metrics, curves_of_a_run(steps, dimensions, protocol))


def write_summary(layout: RunLayout, **fields: Any) -> None:
    layout.summary.write_text(json.dumps({"protocol": "strict_micro", "step": 600, **fields}), encoding="utf-8")


def small_predictions(
    layout: RunLayout,
    *,
    dimensions: tuple[str, ...] = ("overall",),
    groups: int = 12,
    prompt: str = "a cat",
    source: str = "mine",
    generator: str | None = "g",
    step: int = 100,
    name: str = "val",
    seed: int = 0,
    infinite: bool = False,
) -> None:
    """A predictions table of a few groups of three candidates, right about two times in three."""
    rng = np.random.default_rng(seed)
    rows = PredictionRows(dimensions)
    for number in range(groups):
        comparisons = tuple(
            Comparison(d, i, j, (4.0, 0.0, 1.0) if rng.uniform() < 0.5 else (1.0, 0.0, 4.0))
            for d in dimensions
            for i, j in ((0, 1), (0, 2), (1, 2))
        )
        candidates = tuple(Candidate(f"{n}.jpg", generator and f"{generator}{n}") for n in range(3))
        group = Group(f"id-{number}", prompt, candidates, comparisons, tags={"style": f"s{number % 2}"})
        scores = rng.normal(size=(3, len(dimensions)))
        if infinite and number == 0:
            scores[0, 0] = math.inf
        rows.add(group, scores.tolist(), number=number, key=f"key-{number}", source=source)
    write_predictions(layout.predictions / f"{step:06d}-{name}.parquet", rows.predictions())


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return RunLayout(tmp_path / "runs" / "hpsv2" / "first")


@pytest.fixture
def write() -> SimpleNamespace:
    """What draws up the parts of a run: ``write.run``, ``write.metrics``, ``write.predictions``, ``write.summary``."""
    return SimpleNamespace(run=write_run, metrics=write_metrics, predictions=small_predictions, summary=write_summary)


@pytest.fixture(scope="session")
def drawn_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunLayout, RunLayout, Path]:
    """Two runs on the embedded dataset, the first one better, and the folder of their pictures."""
    folder = tmp_path_factory.mktemp("drawn")
    better = demo_run(folder / "runs/hpsv2/first", groups=60, pictures=60, shards=folder / "shards")
    other = demo_run(folder / "runs/hpsv2/second", groups=60, pictures=60, shards=folder / "shards", noise=2.0, seed=1)
    return better, other, folder / "shards"
