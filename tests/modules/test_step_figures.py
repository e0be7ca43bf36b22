"""Figures of a step's scores: by hand, and the same however the step is cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_batches import small_batch

from rewardkit.data.batch import Batch
from rewardkit.modules.step_figures import figures_of, score_sums


def two_groups() -> tuple[torch.Tensor, Batch]:
    """Groups of 2 with the scores (1, 3) and (6, 6); the better one of the first leads, the second's are a tie."""
    batch = replace(
        small_batch(groups=2, candidates=2),
        first=torch.tensor([0, 2]),
        second=torch.tensor([1, 3]),
        target=torch.tensor([[0.25, 0, 0.75], [0.0, 1, 0]]),
    )
    return torch.tensor([[1.0], [3], [6], [6]]), batch


def test_by_hand() -> None:
    found = figures_of(score_sums(*two_groups()))
    assert found["score_spread"] == pytest.approx((2 / 4) ** 0.5) and found["score_mean"] == 4.0
    assert found["margin"] == 2.0, "the tie does not count"


def test_without_a_preference_there_is_no_margin() -> None:
    scores, batch = two_groups()
    sums = score_sums(scores, replace(batch, target=torch.tensor([[0.5, 0, 0.5], [0.0, 1, 0]])))
    assert "margin" not in figures_of(sums) and "score_mean" in figures_of(sums)


def test_dummies_of_bad_samples_do_not_count() -> None:
    scores, batch = two_groups()
    one = replace(
        batch, valid=torch.tensor([True, True, False, False]), first=batch.first[:1], second=batch.second[:1],
        dimension=batch.dimension[:1], target=batch.target[:1],
    )  # fmt: skip
    found = figures_of(score_sums(scores, one))
    assert found["score_mean"] == 2.0 and found["score_spread"] == 1.0 and found["margin"] == 2.0
    assert figures_of(torch.zeros(5)) == {}


def test_shares_add_up() -> None:
    scores, batch = two_groups()
    parts = [
        score_sums(
            scores[2 * g : 2 * g + 2],
            replace(
                batch, group=torch.zeros(2, dtype=torch.int64), valid=batch.valid[:2], first=torch.tensor([0]),
                second=torch.tensor([1]), dimension=batch.dimension[:1], target=batch.target[g : g + 1],
            ),
        )
        for g in range(2)
    ]  # fmt: skip
    whole = figures_of(score_sums(scores, batch))
    assert figures_of(parts[0] + parts[1]) == whole and len(whole) == 3
