"""The embedded dataset: groups of four drawn candidates with simulated votes, each a pure function of (seed, index)."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from rewardkit.data.demo.drawing import draw_candidate, jpeg
from rewardkit.data.demo.faults import LEVELS
from rewardkit.data.demo.prompts import Scene, Split, draw_scene, mistake, sentence, wrong_slots
from rewardkit.data.demo.raters import rate
from rewardkit.data.demo.voters import DIMENSIONS, Ceilings, cast_votes, ceilings, utilities
from rewardkit.data.group import Answer, Candidate, Comparison, Group

CANDIDATES = 4
"""Candidates of every group."""

GENERATORS: Mapping[str, Mapping[str, float]] = {
    "lantern-xl": {"prompt_following": 0.7, "aesthetic": 0.8, "fidelity": 0.8, "harmlessness": 0.9},
    "juniper-2": {"prompt_following": 0.8, "aesthetic": 1.1, "fidelity": 1.0, "harmlessness": 0.8},
    "marble-turbo": {"prompt_following": 1.0, "aesthetic": 0.8, "fidelity": 1.3, "harmlessness": 1.0},
    "otter-1.5": {"prompt_following": 1.2, "aesthetic": 1.0, "fidelity": 0.9, "harmlessness": 1.2},
    "pebble-base": {"prompt_following": 1.3, "aesthetic": 1.3, "fidelity": 1.1, "harmlessness": 1.1},
}
"""Fictitious generators, and how prone each is to faults of each dimension (1 is the average)."""

_PRONE = 0.62
"""Chance that an average generator makes a fault of a dimension at all."""

_SPLIT_CODES: Mapping[str, int] = {"train": 0, "val": 1, "all": 2}


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is decided about a group before anything is drawn; never stored.

    Attributes:
        asked: The scene of the prompt.
        shown: The scene that each candidate really shows.
        generators: The generator of each candidate.
        levels: Fault levels of each candidate, dimension to 0 (none) … 3.
    """

    asked: Scene
    shown: tuple[Scene, ...]
    generators: tuple[str, ...]
    levels: tuple[Mapping[str, int], ...]


def plan_group(*, seed: int, index: int, split: Split) -> Plan:
    """Decides what group ``index`` of a split holds. Quick: nothing is drawn."""
    rng = _random(seed, index, split, 0)
    asked = draw_scene(rng, split)
    names = tuple(GENERATORS)
    generators = tuple(names[n] for n in rng.permutation(len(names))[:CANDIDATES])
    levels = []
    for generator in generators:
        prone = {dimension: _PRONE * factor for dimension, factor in GENERATORS[generator].items()}
        levels.append({d: int(rng.integers(1, LEVELS + 1)) if rng.uniform() < p else 0 for d, p in prone.items()})
    shown = tuple(mistake(rng, asked, level["prompt_following"], split) for level in levels)
    assert all(wrong_slots(asked, s) == level["prompt_following"] for s, level in zip(shown, levels, strict=True))
    return Plan(asked, shown, generators, tuple(levels))


def demo_group(*, seed: int, index: int, split: Split = "all", answers: bool = False) -> tuple[Group, list[bytes]]:
    """Group ``index`` of a split with the JPEG files of its candidates.

    The record tells what people said and what is to be seen (``slots["captions"]``: the true caption of each
    candidate), never the utilities that the votes were drawn from.

    Args:
        seed: Of drawings, votes and answers.
        index: Which group.
        split: Of which split.
        answers: Whether raters also said how good each candidate is; all else is the same with and without.
    """
    plan = plan_group(seed=seed, index=index, split=split)
    files, candidates = [], []
    for n, (scene, levels) in enumerate(zip(plan.shown, plan.levels, strict=True)):
        picture = draw_candidate(_random(seed, index, split, 1 + n), scene, levels)
        file = jpeg(picture)
        files.append(file)
        digest = hashlib.sha256(file).hexdigest()
        candidates.append(Candidate(f"{n}.jpg", plan.generators[n], picture.width, picture.height, digest))
    group = Group(
        id=f"demo-{split}-{seed}-{index:06d}",
        prompt=sentence(plan.asked),
        candidates=tuple(candidates),
        comparisons=_votes(_random(seed, index, split, 1 + CANDIDATES), plan),
        answers=_answers(_random(seed, index, split, 2 + CANDIDATES), plan) if answers else (),
        tags={"style": plan.asked.style},
        slots={**plan.asked.slots(), "captions": [sentence(scene) for scene in plan.shown]},
        provenance={"source": "demo", "seed": seed, "index": index, "split": split},
    )
    return group, files


def demo_groups(
    *, seed: int, start: int, count: int, split: Split = "all", answers: bool = False
) -> Iterator[tuple[Group, list[bytes]]]:
    """Groups ``start`` to ``start + count - 1`` of a split, in order."""
    for index in range(start, start + count):
        yield demo_group(seed=seed, index=index, split=split, answers=answers)


def draw_groups(
    *,
    seed: int,
    start: int,
    count: int,
    split: Split = "all",
    answers: bool = False,
    workers: int = 2,
    chunk: int = 16,
) -> Iterator[tuple[Group, list[bytes]]]:
    """The same groups in the same order as ``demo_groups``, drawn by ``workers`` processes (0 draws in this one)."""
    if workers == 0:
        yield from demo_groups(seed=seed, start=start, count=count, split=split, answers=answers)
        return
    # Spawned, not forked: the caller may hold threads of torch, which a fork would leave in an unknown state.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        draw = partial(_draw, seed=seed, split=split, answers=answers)
        yield from pool.map(draw, range(start, start + count), chunksize=chunk)


def demo_utilities(*, seed: int, start: int, count: int, split: Split = "all") -> list[list[dict[str, float]]]:
    """The utilities behind the votes, per group and candidate, worked out anew from (seed, index)."""
    plans = (plan_group(seed=seed, index=index, split=split) for index in range(start, start + count))
    return [[utilities(levels) for levels in plan.levels] for plan in plans]


def demo_ceilings(*, seed: int, start: int, count: int, split: Split = "all") -> Ceilings:
    """What the law of the votes allows on groups ``start`` to ``start + count - 1`` of a split."""
    return ceilings(demo_utilities(seed=seed, start=start, count=count, split=split))


def _draw(index: int, *, seed: int, split: Split, answers: bool) -> tuple[Group, list[bytes]]:
    return demo_group(seed=seed, index=index, split=split, answers=answers)


def _votes(rng: np.random.Generator, plan: Plan) -> tuple[Comparison, ...]:
    """The annotators' votes on every pair of candidates and every dimension."""
    values = [utilities(levels) for levels in plan.levels]
    return tuple(
        Comparison(dimension, i, j, cast_votes(rng, dimension, values[i][dimension], values[j][dimension]))
        for dimension in DIMENSIONS
        for i, j in combinations(range(len(values)), 2)
    )


def _answers(rng: np.random.Generator, plan: Plan) -> tuple[Answer, ...]:
    """The raters' answers on every candidate and every dimension that faults lie on.

    Beside how well a picture follows its prompt they say what it shows, from which an evaluator can learn the words.
    """
    return tuple(
        Answer(dimension, n, f"rater-{who}", float(value), _rationale(dimension, plan.shown[n]))
        for n, levels in enumerate(plan.levels)
        for dimension, values in rate(rng, utilities(levels)).items()
        for who, value in enumerate(values)
    )


def _rationale(dimension: str, shown: Scene) -> str | None:
    return f"It shows {sentence(shown)}." if dimension == "prompt_following" else None


def _random(seed: int, index: int, split: Split, stream: int) -> np.random.Generator:
    """Random numbers of one purpose of one group."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, _SPLIT_CODES[split], index, stream])))
