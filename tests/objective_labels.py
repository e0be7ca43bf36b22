"""Labels of every kind for tests of objectives: random steps, their denominators, and their cut into micro-batches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.compared import Compared, is_decided

DIMENSIONS = ("overall", "aesthetic", "fidelity")
WIN, TIE, LOSE, NOTHING = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]
LEVELS = {"overall": 5, "aesthetic": 3, "fidelity": 5}


def labels(pairs: list[tuple[int, int, int, list[float], float]], group: list[int]) -> Any:
    """A batch's comparisons from (first, second, dimension, target, weight), and no other label."""
    columns = list(zip(*pairs, strict=True)) or [(), (), (), (), ()]
    first, second, dimension = (torch.tensor(c, dtype=torch.long) for c in columns[:3])
    groups = max(group, default=-1) + 1
    return SimpleNamespace(
        first=first,
        second=second,
        dimension=dimension,
        target=torch.tensor(columns[3], dtype=torch.float32).reshape(-1, 3),
        weight=torch.tensor(columns[4], dtype=torch.float32),
        group=torch.tensor(group),
        tokens=torch.zeros(max(groups, 1), 1, dtype=torch.long),
        valid=torch.ones(len(group), dtype=torch.bool),
        prompts=[f"prompt {g}" for g in range(max(groups, 1))],
        ratings=torch.full((len(group), len(DIMENSIONS)), float("nan")),
        ranking_dimension=torch.zeros(0, dtype=torch.long),
        ranking_candidate=torch.zeros(0, 0, dtype=torch.long),
        ranking_rank=torch.zeros(0, 0),
        answer_dimension=torch.zeros(0, dtype=torch.long),
        answer_candidate=torch.zeros(0, dtype=torch.long),
        answer_target=torch.zeros(0, 6),
    )


def random_step(seed: int, groups: int = 4, *, without: int | None = None) -> tuple[RewardOutput, Any]:
    """Groups of 4 candidates with sparse comparisons (ties among them), rankings, ratings and answers.

    Args:
        seed: Of all.
        groups: Their number.
        without: A dimension that nobody speaks to.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform() -> float:
        return float(torch.rand(1, generator=generator))

    pairs, rankings, answers = [], [], []
    ratings = torch.full((4 * groups, 3), float("nan"))
    for g in range(groups):
        for d in (d for d in range(3) if d != without):
            for i in range(4):
                for j in range(i + 1, 4):
                    if uniform() < 0.6:
                        kind = uniform()
                        votes = torch.rand(3, generator=generator)
                        soft = (votes / votes.sum()).tolist()
                        target = TIE if kind < 0.2 else [0.5, 0.0, 0.5] if kind < 0.3 else WIN if kind < 0.5 else soft
                        pairs.append((4 * g + i, 4 * g + j, d, target, uniform() + 0.1))
            many = 1 + int(uniform() * 4)
            ranks = torch.randint(1, 4, (many,), generator=generator).float()
            rankings.append((d, list(range(4 * g, 4 * g + many)), ranks.tolist()))
            for n in range(4):
                if uniform() < 0.7:
                    level = int(uniform() * list(LEVELS.values())[d])
                    shares = [0.0] * 6
                    shares[level], shares[-1] = 0.75, 0.25  # one of four raters said that it does not apply
                    answers.append((d, 4 * g + n, shares))
                    ratings[4 * g + n, d] = level + 1
    batch = labels(pairs, [n // 4 for n in range(4 * groups)])
    batch.ratings = ratings
    batch.ranking_dimension = torch.tensor([r[0] for r in rankings])
    batch.ranking_candidate = torch.tensor([r[1] + [-1] * (4 - len(r[1])) for r in rankings])
    batch.ranking_rank = torch.tensor([r[2] + [-1.0] * (4 - len(r[2])) for r in rankings])
    batch.answer_dimension = torch.tensor([a[0] for a in answers])
    batch.answer_candidate = torch.tensor([a[1] for a in answers])
    batch.answer_target = torch.tensor([a[2] for a in answers])
    scores = torch.randn(4 * groups, 3, generator=generator)
    return RewardOutput(scores=scores, log_sigma=torch.randn(4 * groups, 3, generator=generator) / 2), batch


def denominators(batch: Any) -> Any:
    """What the index would count of a step."""
    number = len(DIMENSIONS)
    decided = is_decided(batch.target)

    def summed(dimension: Tensor, values: Tensor) -> Tensor:
        return torch.zeros(number).index_add(0, dimension, values)

    def groups(kept: Tensor) -> Tensor:
        cells = {(int(batch.group[f]), int(d)) for f, d in zip(batch.first[kept], batch.dimension[kept], strict=True)}
        return torch.tensor([float(sum(d == column for _, d in cells)) for column in range(number)])

    return SimpleNamespace(
        comparisons=summed(batch.dimension, batch.weight),
        groups=groups(torch.ones_like(decided)),
        decided=summed(batch.dimension, batch.weight * decided),
        decided_groups=groups(decided),
        rankings=summed(batch.ranking_dimension, torch.ones(len(batch.ranking_dimension))),
        ratings=(~batch.ratings.isnan()).sum(dim=0).float(),
    )


def part_of(batch: Any, start: int, stop: int) -> Any:
    """The groups from ``start`` to ``stop`` as a micro-batch of their own (groups have 4 candidates)."""
    low, high = 4 * start, 4 * stop

    def within(candidate: Tensor) -> Tensor:
        return (candidate >= low) & (candidate < high)

    pairs, answers = within(batch.first), within(batch.answer_candidate)
    rankings = within(batch.ranking_candidate[:, 0]) if len(batch.ranking_candidate) else torch.zeros(0).bool()
    candidate = batch.ranking_candidate[rankings]
    return SimpleNamespace(
        first=batch.first[pairs] - low,
        second=batch.second[pairs] - low,
        dimension=batch.dimension[pairs],
        target=batch.target[pairs],
        weight=batch.weight[pairs],
        group=batch.group[low:high] - start,
        tokens=batch.tokens[start:stop],
        valid=batch.valid[low:high],
        prompts=batch.prompts[start:stop],
        ratings=batch.ratings[low:high],
        ranking_dimension=batch.ranking_dimension[rankings],
        ranking_candidate=torch.where(candidate >= 0, candidate - low, candidate),
        ranking_rank=batch.ranking_rank[rankings],
        answer_dimension=batch.answer_dimension[answers],
        answer_candidate=batch.answer_candidate[answers] - low,
        answer_target=batch.answer_target[answers],
    )


def compared(delta: Tensor, target: Tensor, *, log_sigma: float | None = 0.2, gap: Tensor | None = None) -> Compared:
    """Comparisons of the first dimension as a rule sees them; scores are symmetric about 0."""
    sigma = None if log_sigma is None else (torch.full_like(delta, log_sigma), torch.full_like(delta, -log_sigma))
    return Compared(
        delta=delta,
        total=torch.zeros_like(delta),
        target=target.to(delta.dtype),
        dimension=torch.zeros(len(delta), dtype=torch.long),
        gap=torch.full_like(delta, float("nan")) if gap is None else gap,
        log_sigma=sigma,
    )
