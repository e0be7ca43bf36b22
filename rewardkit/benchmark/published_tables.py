"""HPS v2's table of a benchmark, and the published rows that may stand beside it.

``published/hpsv2.csv`` holds the numbers of the tables in the README of github.com/tgxs002/HPSv2 (commit 866735e,
Apache-2.0): facts, not measured here. They were made with the authors' images and the weights that ``version`` names;
numbers of another reward model, and those of v2 and v2.1, are on scales that cannot be compared.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from rewardkit.benchmark.published_prompts import DRAWBENCH
from rewardkit.benchmark.result_published import Published, PublishedStyle, Reference
from rewardkit.data.formats.hpdv2_benchmark import STYLES
from rewardkit.metrics.benchmark_scores import StyleScore, benchmark_scores, plain_score
from rewardkit.metrics.intervals import DRAWS

SOURCE = "github.com/tgxs002/HPSv2, README (commit 866735e), Apache-2.0"
VERSIONS = {"v2": "HPS v2", "v2.1": "HPS v2.1"}


def published_rows(
    scores: Mapping[str, NDArray[np.float64]],
    styles: Sequence[str],
    *,
    reward: str,
    dimension: str,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Published]:
    """A row of the table for each generator.

    Args:
        scores: Generator to ``[P]``, NaN where an image is missing.
        styles: Of each prompt.
        reward: Label, for the rows.
        dimension: Likewise.
        draws: Resamples of prompts behind each interval.
        seed: Of the resamples.
    """
    of_prompt = np.asarray(styles, dtype=object)
    present = [style for style in STYLES if (of_prompt == style).any()]
    rows = []
    for generator, values in scores.items():
        by_style = {style: values[of_prompt == style] for style in present if style != DRAWBENCH}
        found = benchmark_scores(by_style, draws=draws, seed=seed)
        table = {style: _style(score) for style, score in found.styles.items()}
        whole = (found.average, found.low, found.high, found.n_scored, found.n_planned)
        if DRAWBENCH in present:
            alone = plain_score(values[of_prompt == DRAWBENCH], draws=draws, seed=seed)
            table[DRAWBENCH] = _style(alone, spread=False)
            if not by_style:
                whole = (alone.mean, alone.low, alone.high, alone.n_scored, alone.n_planned)
        rows.append(Published(reward, dimension, generator, table, *whole))
    return rows


def reference_rows(version: str) -> list[Reference]:
    """The published table of ``v2`` or ``v2.1``, in its order."""
    text = files("rewardkit").joinpath("benchmark", "published", "hpsv2.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [
        Reference(
            row["model"],
            VERSIONS[version],
            {style: float(row[style]) for style in STYLES if style != DRAWBENCH},
            float(row["average"]),
            SOURCE,
        )
        for row in csv.DictReader(lines)
        if row["version"] == version
    ]


def _style(score: StyleScore, *, spread: bool = True) -> PublishedStyle:
    return PublishedStyle(
        score.mean, score.std if spread else None, score.low, score.high, score.n_scored, score.n_planned
    )
