"""Two processes under every strategy train what one does; and the tool that says so can tell when they don't."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "bench"))
import equivalence
from equivalence_cases import CASES

IN_CI = ("frozen", "sparse", "bad", "mllm_bad")
STRATEGIES = tuple(strategy for strategy in equivalence.STRATEGIES if strategy != "zero3_offload")
"""The tool has more of both; these accumulate, but for ``frozen``."""


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    found = equivalence.measure(tmp_path, list(IN_CI), list(STRATEGIES), steps=20)
    assert len(found) == len(IN_CI) * len(STRATEGIES)
    assert [f for f in found if not f.is_equal] == []


def training(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "loss": [1.0, 0.5],
        "norm": [2.0, 1.0],
        "weights": {"a": torch.ones(3), "frozen": torch.ones(2), "attn.in_proj_bias": torch.zeros(6)},
        "trained": ["a", "attn.in_proj_bias"],
        "average": {"a": torch.ones(3)},
        "scores": torch.zeros(4),
        "comparisons": 7,
        "bad": 0,
    }
    return {**found, **changes}


def compared(folder: Path, case: str = "plain", **changes: Any) -> equivalence.Found:
    for name, content in (("one", training()), ("two", training(**changes))):
        torch.save(content, folder / f"{name}.pt")
    return equivalence.compare(case, "ddp", folder / "one.pt", folder / "two.pt")


def test_the_same_is_equal(tmp_path: Path) -> None:
    assert compared(tmp_path).is_equal


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": [1.0, 0.5001]},
        {"norm": [2.0, 1.01]},
        {"weights": {**training()["weights"], "a": torch.full((3,), 1.001)}},
        {"weights": {**training()["weights"], "frozen": torch.full((2,), 1.0 + 1e-7)}},
        {"weights": {**training()["weights"], "attn.in_proj_bias": torch.tensor([0, 0, 0, 0, 0, 1.0])}},
        {"average": {"a": torch.full((3,), 1.001)}},
        {"scores": torch.full((4,), 0.1)},
        {"comparisons": 8},
        {"bad": 1},
        {"loss": [1.0]},
    ],
)
def test_what_differs_is_told(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert not compared(tmp_path, **changes).is_equal


def test_the_bias_of_a_key_is_left_out(tmp_path: Path) -> None:
    biases = torch.tensor([0, 0, 9.0, 9.0, 0, 0])
    assert compared(tmp_path, weights={**training()["weights"], "attn.in_proj_bias": biases}).is_equal


def test_weights_in_bfloat16_are_not_compared_and_losses_are(tmp_path: Path) -> None:
    moved = {**training()["weights"], "a": torch.full((3,), 1.001)}
    assert compared(tmp_path, case="bf16", weights=moved).is_equal
    assert not compared(tmp_path, case="bf16", loss=[1.0, 0.6]).is_equal


def test_a_training_that_failed_is_told_with_its_last_word(tmp_path: Path) -> None:
    torch.save(training(), tmp_path / "plain-auto.pt")
    (tmp_path / "plain-ddp.1.error").write_text("Traceback\nValueError: no\n")
    found = equivalence.compare("plain", "ddp", tmp_path / "plain-auto.pt", tmp_path / "plain-ddp.pt")
    assert found.error is not None and "ValueError: no" in found.error and not found.is_equal


def test_every_case_says_what_it_is_about() -> None:
    assert set(IN_CI) <= set(CASES) and all(case.about for case in CASES.values())
