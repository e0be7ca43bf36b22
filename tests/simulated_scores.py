"""Scores of simulated annotators, for the tests of what is made of a log."""

from __future__ import annotations

import numpy as np

from rewardkit.annotate.scores import Scores, scores_of


def joint_scores(
    *,
    groups: int = 200,
    candidates: int = 4,
    repeats: int = 2,
    noise: tuple[float, ...] = (0.5,),
    first_bonus: float = 0.0,
    seed: int = 0,
) -> tuple[Scores, np.ndarray]:
    """Scores 1 to 5 on one dimension of annotators who differ in noise; the true quality ``[G, K]``.

    The image shown first gets ``first_bonus`` on top; an odd repeat shows the order of the one before reversed.
    """
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1, 5, (groups, candidates))
    rows, order = [], np.arange(candidates)
    for g in range(groups):
        for a, deviation in enumerate(noise):
            for r in range(repeats):
                order = rng.permutation(candidates) if r % 2 == 0 else order[::-1]
                for slot, k in enumerate(order):
                    value = truth[g, k] + rng.normal(0, deviation) + (first_bonus if slot == 0 else 0)
                    rows.append((g, int(k), 0, a, r, slot, float(np.clip(round(value), 1, 5))))
    names = [f"a{n}" for n in range(len(noise))]
    return scores_of(rows, groups=groups, dimensions=["aesthetic"], annotators=names), truth
