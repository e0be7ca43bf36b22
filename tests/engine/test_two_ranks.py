"""One rank and two ranks train the same: the same groups in each step, the same weights within float tolerance."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rewardkit.data.predictions import read_predictions

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
