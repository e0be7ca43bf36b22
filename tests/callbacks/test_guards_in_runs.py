"""The guards in whole runs: silent while a run learns, and beside a term that they cannot compare with equal scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rewardkit import cli
from rewardkit.engine.loggers import read_metrics


def changed(arguments: list[str], *others: str) -> list[str]:
    keys = {other.partition("=")[0] for other in others}
    return [*(a for a in arguments if a.partition("=")[0] not in keys), *others]


def guards_of(run: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]["Guards"]
    return state


@pytest.mark.slow
def test_no_false_alarm_in_a_run_that_learns(tiny_fit: list[str], tmp_path: Path) -> None:
    steps = ("trainer.max_steps=208", "trainer.validate_every=208", "trainer.checkpoint_every=208")
    assert cli.run(["fit", *changed(tiny_fit, *steps, "callbacks.guards.action=stop"), "run.name=a"]) == 0
    run = tmp_path / "runs" / "hpsv2" / "a"
    state = guards_of(run)
    assert state["said"] == [] and len(state["windows"]["loss"]) == 200
    losses = [value for _, name, value in read_metrics(run / "metrics.csv") if name == "train/loss/bradley_terry"]
    assert sum(losses[-20:]) < 0.95 * sum(losses[:20]), "it has learned"


def test_in_batch_negatives_beside_guards(tiny_fit: list[str], tmp_path: Path) -> None:
    more = (
        "model.dimensions=overall",
        "data.dimension_map={prompt_following: null, aesthetic: null, fidelity: null, harmlessness: null}",
        "objective.name=pickscore",
        "objective.pickscore.in_batch_negatives=true",
        "callbacks.guards.action=stop",
        "trainer.max_steps=3",
        "trainer.validate_every=3",
    )
    assert cli.run(["fit", *changed(tiny_fit, *more), "run.name=a"]) == 0
    windows = guards_of(tmp_path / "runs" / "hpsv2" / "a")["windows"]
    assert len(windows["loss"]) == 3 and "equal/pickscore" not in windows, "equal scores cost no known number there"
