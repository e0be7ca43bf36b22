"""A small benchmark as ``benchmark`` leaves it: pictures, predictions tables and benchmark.json, made in no time.

Three generators on 12 prompts of three styles, two rewards (one with three dimensions) and an evaluator; one image is
missing, two generators cannot be told apart, a prompt and a generator's name try to break a page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rewardkit.benchmark.result import BenchmarkResult, write_result
from rewardkit.benchmark.result_published import Aspect, BothAspects, Published, PublishedStyle, Reference, Skill
from rewardkit.benchmark.result_rows import Agreement, BestOf, Generator, HumanValue, Missing, Part, Reward, Variant
from rewardkit.benchmark.standings import standings
from rewardkit.benchmark.tables import ScoredImage, predictions_of
from rewardkit.data.predictions import write_predictions

STYLES = ("anime", "paintings", "photo")
HOSTILE = "a <b>fox</b> & a \"cat\"</script><script>alert('x')</script> $x_1$ | \\textbf{b} 東京"
GENERATORS = ("alpha", "beta & <i>co</i> 50%_x", "gamma")
REWARDS: dict[str, tuple[str, ...]] = {
    "hpsv2": ("overall",),
    "vpscore": ("overall", "aesthetic", "fidelity"),
    "evaluator": ("body", "Object"),
}
MISSING = ("gamma", 5)
"""This generator has no image of the prompt in this place."""


def write_example(folder: Path, *, images: Path | None = None, per_style: int = 4) -> BenchmarkResult:
    """Writes the example.

    Args:
        folder: Gets benchmark.json and predictions/.
        images: Gets a folder of pictures for each generator; default: ``folder/images``.
        per_style: Prompts of each style.
    """
    images = images or folder / "images"
    places = [(style, n) for style in STYLES for n in range(per_style)]
    prompts = [HOSTILE if n == 0 else f"{style} prompt {n}" for style, n in places]
    _draw(images, places)
    generator = np.random.default_rng(0)
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    rewards = []
    for number, (label, dimensions) in enumerate(REWARDS.items()):
        file = f"predictions/{number}-{label}.parquet"
        scores[label] = {dimension: _scores(generator, len(places)) for dimension in dimensions}
        _predictions(folder / file, images, places, prompts, scores[label])
        kind = "mllm" if label == "evaluator" else "clip"
        scale = "logit" if kind == "mllm" else "cosine100"
        rewards.append(Reward(label, f"runs/{label}", kind, dimensions, scale, file, "0" * 64))
    result = _result(images, rewards, scores, places)
    write_result(folder, result)
    return result


def _scores(generator: np.random.Generator, prompts: int) -> dict[str, Any]:
    """alpha and beta alike, gamma behind."""
    base = generator.normal(27.0, 0.6, prompts)
    found = {
        name: base + generator.normal(shift, 0.4, prompts) for name, shift in zip(GENERATORS, (0, 0, -1.5), strict=True)
    }
    found[MISSING[0]][MISSING[1]] = np.nan
    return found


def _draw(images: Path, places: list[tuple[str, int]]) -> None:
    for g, name in enumerate(GENERATORS):
        for place, (style, n) in enumerate(places):
            if (name, place) != MISSING:
                path = images / str(g) / style / f"{n:05d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (48, 32), (60 * g + 40, 15 * place % 256, 90)).save(path)


def _predictions(
    path: Path, images: Path, places: list[tuple[str, int]], prompts: list[str], scores: dict[str, dict[str, Any]]
) -> None:
    rows, values = [], []
    for number, (style, n) in enumerate(places):
        file = f"{style}/{n:05d}.jpg"
        for g, name in enumerate(GENERATORS):
            if (name, number) != MISSING:
                size = (images / str(g) / file).stat().st_size
                tags = {"style": style}
                rows.append(ScoredImage(number, f"{style}/{n:05d}", g, name, tags, prompts[number], file, size))
                values.append([of[name][number] for of in scores.values()])
    write_predictions(path, predictions_of(rows, list(scores), values, source="example"))


def _result(
    images: Path, rewards: list[Reward], scores: dict[str, dict[str, Any]], places: list[tuple[str, int]]
) -> BenchmarkResult:
    style = np.array([style for style, _ in places])
    everything = Part("", "", len(places))
    parts = [(everything, np.ones(len(places), bool))]
    parts += [(Part("style", name, int((style == name).sum())), style == name) for name in STYLES]
    found = [
        standings(values, parts, reward=label, dimension=dimension, draws=200)
        for label, dimensions in scores.items()
        for dimension, values in dimensions.items()
    ]
    lacking = Missing(f"paintings/{MISSING[1] % 4:05d}", "paintings", MISSING[1] % 4, "no image")
    return BenchmarkResult(
        prompt_set="example",
        kind="hpsv2",
        main_tag="style",
        generators=tuple(
            Generator(
                name,
                str(images / str(g)),
                len(places) - (name == MISSING[0]),
                len(places) - (name == MISSING[0]),
                (lacking,) if name == MISSING[0] else (),
                ("notes.txt",) if g == 0 else (),
                1 if g == 0 else 0,
            )
            for g, name in enumerate(GENERATORS)
        ),
        rewards=tuple(rewards),
        parts=tuple(part for part, _ in parts),
        cells=tuple(cell for one in found for cell in one.cells),
        win_rates=tuple(rate for one in found for rate in one.win_rates),
        published=tuple(_published(name, scores["hpsv2"]["overall"][name], style) for name in GENERATORS),
        references=(
            Reference(
                "Stable Diffusion v1.4",
                "HPS v2.1",
                {"anime": 26.03, "concept-art": 24.87, "paintings": 24.80, "photo": 25.70},
                25.35,
                "github.com/tgxs002/HPSv2, README",
                ("hpsv2",),
            ),
        ),
        agreements=tuple(
            Agreement("hpsv2", "overall", "vpscore", "overall", level, metric, 0.5, 0.1, 0.8, 3, len(places))
            for level, metric in (("generators", "spearman"), ("generators", "kendall"), ("prompts", "kendall"))
        ),
        human=(Agreement("hpsv2", "overall", "", "overall", "generators", "spearman", 1.0, 0.5, 1.0, 3, len(places)),),
        human_values=tuple(
            HumanValue("overall", name, value, 1) for name, value in zip(GENERATORS, (3.0, 2.5, 1.0), strict=True)
        ),
        best_of=tuple(
            BestOf("alpha", "hpsv2", "overall", judge, "overall", n, value, value - 0.2, value + 0.2, value + 0.5, 9, 3)
            for judge in ("hpsv2", "vpscore")
            for n, value in ((1, 27.0), (2, 27.4), (4, 27.7))
        ),
        aspects=tuple(_aspect(name, place) for place, name in enumerate(GENERATORS)),
        both_aspects=tuple(BothAspects("evaluator", name, 2.0, 0.5, 0.6) for name in GENERATORS),
        variants=(
            Variant(
                "alpha", "alpha+append", "images", "hpsv2", "overall", "", "", len(places),
                0.3, 0.1, 0.5, 0.7, 0.5, 0.9,
            ),
        ),
        notes=("an example: none of these numbers was measured",),
        provenance={"command": ["benchmark"], "bootstrap": 200, "rewardkit": "0"},
    )  # fmt: skip


def _published(name: str, values: Any, style: Any) -> Published:
    styles = {}
    for one in STYLES:
        mine = values[style == one]
        mean = float(np.nanmean(mine))
        styles[one] = PublishedStyle(
            mean, float(np.nanstd(mine)), mean - 0.3, mean + 0.3, int((~np.isnan(mine)).sum()), len(mine)
        )
    mean = float(np.nanmean(values))
    n = int((~np.isnan(values)).sum())
    return Published("hpsv2", "overall", name, styles, mean, mean - 0.2, mean + 0.2, n, len(values))


def _aspect(name: str, place: int) -> Aspect:
    skill = Skill(3.0 - place, 2.5 - place, 3.5 - place, (3.0 - place) / 4, 30, 10, 2, 0, 0, 12)
    return Aspect(
        "evaluator", name, "faithfulness", 3.0 - place, 2.5 - place, 3.5 - place, 2.5 - place, (3.0 - place) / 4,
        0.6 - place / 5, 0.8 - place / 5, place + 1, place + 1, (), {"body": skill}, 12, (), {"avg_score": 3.0 - place},
    )  # fmt: skip
