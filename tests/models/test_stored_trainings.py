"""Stored trainings: tied tensors, moments and steps come out of ZeRO's parts, and out of rows, as they went in."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from rewardkit.errors import CheckpointError
from rewardkit.models.stored.opening import open_training
from rewardkit.models.stored.row_folder import WHOLE, name_of_rank

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.arange(5.0) + 10}
"""11 numbers: two ranks hold 6 and 5 of them in stages 1 and 2; in stage 3 b ends with a number that is nobody's."""


def write_zero(folder: Path, stage: int) -> None:
    """Two ranks' parts of one group, with moments, and a second name of a."""
    folder.mkdir()

    def vectors(factor: float) -> list[torch.Tensor]:
        if stage == 3:
            a, b = WEIGHTS["a"].view(-1) * factor, torch.cat([WEIGHTS["b"] * factor, torch.zeros(1)])
            return [torch.cat([a[:3], b[:3]]), torch.cat([a[3:], b[3:]])]
        joined = torch.cat([WEIGHTS["a"].view(-1), WEIGHTS["b"]]) * factor
        return [joined[:6], torch.cat([joined[6:], torch.zeros(1)])]

    for rank in range(2):
        state = {0: {"step": torch.tensor(4.0), "exp_avg": vectors(2)[rank], "exp_avg_sq": vectors(3)[rank]}}
        optimizer = {"state": state, "param_groups": [{"name": "all", "lr": 0.5, "params": [0]}]}
        weight = vectors(1)[rank] if stage == 3 else vectors(1)[rank][: 6 - rank]  # saved without the last padding
        part: dict[str, Any] = {"zero_stage": stage, "partition_count": 2}
        part |= {"fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups": [weight]}
        part |= {"optimizer_state_dict" if stage == 3 else "base_optimizer_state": optimizer}
        torch.save({"optimizer_state_dict": part}, folder / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
        module = {name: torch.empty(0) if stage == 3 else tensor for name, tensor in WEIGHTS.items()}
        module |= {"a_again": module["a"], "count": torch.tensor([7])}
        shapes = [OrderedDict((name, tensor.shape) for name, tensor in WEIGHTS.items())]
        states = {"module": module, "param_shapes": shapes, "shared_params": {"a_again": "a"}, "global_step": 4}
        prefix = f"zero_pp_rank_{rank}_" if stage == 3 else ""
        torch.save(states, folder / f"{prefix}mp_rank_00_model_states.pt")


def write_rows(folder: Path) -> None:
    """Two ranks' rows: of a one each, of b three and two."""
    folder.mkdir()
    cuts = {"a": [[0, 1], [1, 2]], "b": [[0, 3], [3, 5]]}
    for rank in range(2):
        rows = {name: cut[rank] for name, cut in cuts.items()}
        tensors = {
            name: {
                "weight": WEIGHTS[name][first:end],
                "exp_avg": 2 * WEIGHTS[name][first:end],
                "exp_avg_sq": 3 * WEIGHTS[name][first:end],
                "step": torch.tensor(4.0),
            }
            for name, (first, end) in rows.items()
        }
        torch.save({"rows": rows, "tensors": tensors}, folder / name_of_rank(rank))
    whole = {
        "record": {"global_step": 4}, "ranks": 2, "shapes": {name: list(t.shape) for name, t in WEIGHTS.items()},
        "tied": {"a_again": "a"}, "tensors": {"count": torch.tensor([7])}, "trained": ["a", "b"],
        "groups": [{"name": "all", "lr": 0.5}],
    }  # fmt: skip
    torch.save(whole, folder / WHOLE)


@pytest.mark.parametrize("layout", [1, 2, 3, "rows"])
def test_what_went_in_comes_out(tmp_path: Path, layout: int | str) -> None:
    folder = tmp_path / "c"
    if isinstance(layout, int):
        write_zero(folder, layout)
    else:
        write_rows(folder)
    stored = open_training(folder)
    assert set(stored) == {"a", "b", "a_again", "count"} and len(stored) == 4 and stored.trained == ["a", "b"]
    for name in ("a", "b"):
        assert torch.equal(stored[name], WEIGHTS[name]) and stored.shape(name) == WEIGHTS[name].shape
        assert torch.equal(stored.read(name, "exp_avg"), 2 * WEIGHTS[name])  # type: ignore[arg-type]
        assert torch.equal(stored.read(name, "exp_avg_sq"), 3 * WEIGHTS[name])  # type: ignore[arg-type]
        assert stored.steps(name) == 4
    assert torch.equal(stored["a_again"], WEIGHTS["a"]) and stored["count"].tolist() == [7]
    assert stored.group_values == [{"name": "all", "lr": 0.5}] and stored.record["global_step"] == 4


def test_rows_of_a_rank_that_are_missing(tmp_path: Path) -> None:
    write_rows(tmp_path / "c")
    part = torch.load(tmp_path / "c" / name_of_rank(1), weights_only=True)
    del part["tensors"]["b"]
    torch.save(part, tmp_path / "c" / name_of_rank(1))
    with pytest.raises(CheckpointError, match="b: the ranks' files hold 3 of 5 rows"):
        open_training(tmp_path / "c")["b"]
    (tmp_path / "c" / name_of_rank(1)).unlink()
    with pytest.raises(CheckpointError, match=r"rank-00001\.pt is missing"):
        open_training(tmp_path / "c")
