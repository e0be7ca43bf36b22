"""The guards notice a stuck loss, collapsed scores and a loss that is not finite, and say what to look at."""

from __future__ import annotations

import io
import math
from types import SimpleNamespace
from typing import Any

import pytest
from rewardkit.callbacks.guards import Guards, TrainingStuck
from rich.console import Console


def guards(action: str = "warn", **changes: Any) -> tuple[Guards, io.StringIO]:
    said = io.StringIO()
    options = {"patience": 3, "stuck_tolerance": 0.01, "min_spread": 1e-3, **changes}
    return Guards(action=action, console=Console(file=said, width=400), **options), said


def step(guard: Guards, *, loss: float = 0.5, pairwise: float | None = None, spread: float = 1.0) -> None:
    trainer = SimpleNamespace(accumulate_grad_batches=1, global_step=7, world_size=1)
    metrics = {"loss": loss, "loss/pairwise": loss if pairwise is None else pairwise, "score_spread": spread}
    module = SimpleNamespace(step_metrics=metrics, step_batches=[SimpleNamespace(keys=["some_group"])])
    guard.on_train_batch_end(trainer, module, None, None, 0)  # type: ignore[arg-type]


def test_a_stuck_loss_is_said_once_and_only_after_patience() -> None:
    guard, said = guards()
    for n in range(6):
        step(guard, loss=5.0, pairwise=math.log(2) + 0.001 * (-1) ** n)
        assert ("ln 2" in said.getvalue()) == (n >= 2)
    assert said.getvalue().count("ln 2") == 1 and "optim.lr" in said.getvalue()


def test_a_loss_that_moves_is_no_symptom() -> None:
    guard, said = guards()
    for n in range(9):
        step(guard, loss=0.6 - 0.02 * n)
    assert said.getvalue() == ""


def test_collapsed_scores() -> None:
    guard, said = guards()
    for spread in (1e-5, 1e-5, 1.0, 1e-5, 1e-5):
        step(guard, spread=spread)
    assert said.getvalue() == ""
    step(guard, spread=1e-5)
    assert "differed by less than 0.001" in said.getvalue()


def test_stop_stops() -> None:
    guard, _ = guards("stop")
    step(guard, loss=math.log(2))
    step(guard, loss=math.log(2))
    with pytest.raises(TrainingStuck, match="ln 2"):
        step(guard, loss=math.log(2))


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_always_stops_and_names_groups(loss: float) -> None:
    guard, _ = guards("warn")
    with pytest.raises(TrainingStuck, match=r"step 7.*some_group"):
        step(guard, loss=loss)


def test_a_sum_is_not_compared_with_ln_2() -> None:
    guard, said = guards(mean_loss=False)
    for _ in range(5):
        step(guard, loss=math.log(2))
    assert said.getvalue() == ""
