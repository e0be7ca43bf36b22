"""Trials are stopped where W&B's own rule stops them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

optuna = pytest.importorskip("optuna")

from rewardkit.sweeps.bands import Bands  # noqa: E402


def stopped(histories: Sequence[Sequence[float]], running: Sequence[int], bands: Bands, direction: str) -> list[int]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=direction, pruner=bands)
    trials = [study.ask() for _ in histories]
    for trial, history in zip(trials, histories, strict=True):
        for step, value in enumerate(history):
            trial.report(value, 10 * step)
        if trial.number not in running:
            study.tell(trial, history[-1])
    return [trial.number for trial in trials if trial.number in running and trial.should_prune()]


WANDBS_EXAMPLE = ([10, 9], [10, 10], [10, 8, 8], [10, 7, 7], [10, 6, 6])
"""Of its documentation: losses of five runs, the first and the last finished; max_iter 5, eta 2, s 2: bands 1 and 2."""


def test_wandbs_example() -> None:
    assert stopped(WANDBS_EXAMPLE, [1, 2, 3], Bands((1, 2), 2), "minimize") == [1, 2]


def test_more_is_better_is_the_same_with_signs_turned() -> None:
    turned = [[-value for value in history] for history in WANDBS_EXAMPLE]
    assert stopped(turned, [1, 2, 3], Bands((1, 2), 2), "maximize") == [1, 2]


def test_nobody_is_stopped_before_the_first_band_nor_alone() -> None:
    assert stopped([[1, 1], [9, 9]], [1], Bands((2,), 3), "minimize") == []
    assert stopped([[9, 9, 9]], [0], Bands((2,), 3), "minimize") == []


def test_the_best_value_so_far_counts() -> None:
    assert stopped([[5, 5], [3, 9], [6, 6]], [1, 2], Bands((1,), 4), "minimize") == [2]
