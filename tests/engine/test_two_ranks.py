"""One rank and two ranks train the same: the same groups in each step, the same weights within float tolerance."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rewardkit.data.predictions import read_predictions
from rewardkit.engine.loggers import read_metrics

TOLERANCE = 2e-5
"""Two ranks add the same gradients up in another order; AdamW divides by their size, so tiny ones move more."""


def start(arguments: list[str], name: str, devices: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rewardkit", "fit", *arguments, f"run.name={name}", f"trainer.devices={devices}"]
    environment = {k: v for k, v in os.environ.items() if k != "REWARDKIT_RUN_NAME"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


@pytest.mark.slow
def test_one_rank_equals_two(tiny_fit: list[str], tmp_path: Path) -> None:
    runs = tmp_path / "runs" / "hpsv2"
    arguments = ["optim.gradient_clip=1.0", *tiny_fit]
    for name, devices in (("one", 1), ("two", 2)):
        process = start(arguments, name, devices)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        assert output.count("Held-out preference accuracy") == 1, output
    states = [weights(runs / name) for name in ("one", "two")]
    for name, tensor in states[0].items():
        if "in_proj_bias" in name:
            continue  # the key's bias has gradient zero, and AdamW amplifies the noise of it
        torch.testing.assert_close(tensor, states[1][name], rtol=0, atol=TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")
    tables = [read_predictions(runs / n / "predictions" / "00000008-val.parquet") for n in ("one", "two")]
    assert tables[0].labels.equals(tables[1].labels)
    assert tables[0].scores["key"].tolist() == tables[1].scores["key"].tolist()
    assert (tables[0].scores["score"] - tables[1].scores["score"]).abs().max() < 1e-3


@pytest.mark.slow
def test_average_and_guards_of_two_ranks_are_those_of_one(tiny_fit: list[str], tmp_path: Path) -> None:
    """An average of weights, what guards see of each step (losses, spread, mean, margin), and what is logged of it."""
    runs = tmp_path / "runs" / "hpsv2"
    arguments = [*tiny_fit, "optim.gradient_clip=1.0", "callbacks.ema.decay=0.8"]
    for name, devices in (("one", 1), ("two", 2)):
        process = start(arguments, name, devices)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    one, two = (
        torch.load(runs / name / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"] for name in ("one", "two")
    )
    assert one["EMA"]["updates"] == two["EMA"]["updates"] == 8
    for name, tensor in one["EMA"]["average"].items():
        if "in_proj_bias" not in name:
            torch.testing.assert_close(tensor, two["EMA"]["average"][name], rtol=0, atol=TOLERANCE)
    seen = [state["Guards"]["windows"] for state in (one, two)]
    assert {"loss", "loss/bradley_terry", "equal/bradley_terry", "score_spread", "score_mean", "margin"} <= set(seen[0])
    assert seen[0].keys() == seen[1].keys()
    for name, values in seen[0].items():
        assert len(values) == 8 and values == pytest.approx(seen[1][name], rel=1e-3, abs=1e-3), name
    names = {"train/loss", "train/score_spread", "train/score_mean", "train/margin", "train/gradient_norm"}
    logged = [
        {(s, n): v for s, n, v in read_metrics(runs / run / "metrics.csv") if n in names} for run in ("one", "two")
    ]
    assert len(logged[0]) == 8 * len(names) and logged[0] == pytest.approx(logged[1], rel=1e-3, abs=1e-3)


@pytest.mark.slow
def test_parameters_that_no_term_reads_do_not_stop_two_ranks(tiny_fit: list[str], tmp_path: Path) -> None:
    """Bradley-Terry does not read sigma, so the rows that give it get no gradient on any rank."""
    process = start([*tiny_fit, "model.uncertainty=true"], "two", 2)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    state = weights(tmp_path / "runs" / "hpsv2" / "two")
    unread = {name: tensor for name, tensor in state.items() if ".uncertainty." in name}
    assert unread and not any(tensor.any() for tensor in unread.values()), "sigma stays at 1"


@pytest.mark.slow
def test_a_run_of_two_ranks_goes_on_with_one(tiny_fit: list[str], tmp_path: Path) -> None:
    runs = tmp_path / "runs" / "hpsv2"
    for name, parts in (("whole", [(1, [])]), ("parts", [(2, ["trainer.stop_after=3"]), (1, ["resume=auto"])])):
        for devices, more in parts:
            process = start([*tiny_fit, *more], name, devices)
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output
    states = [
        torch.load(runs / n / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for n in ("whole", "parts")
    ]
    for name, tensor in states[0].items():
        if "in_proj_bias" not in name:
            torch.testing.assert_close(tensor, states[1][name], rtol=0, atol=TOLERANCE)
    assert len(list((runs / "parts" / "predictions").glob("*-val.parquet"))) == 2
