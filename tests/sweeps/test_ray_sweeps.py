"""A small sweep through Ray Tune, which starts a cluster of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("optuna")
pytest.importorskip("ray.tune")

from test_local_sweeps import GRID, plan_of, sweep_of

from rewardkit.config.sweeps import Metric
from rewardkit.sweeps.ray_tune import search_on_ray
from rewardkit.sweeps.study import best_of


@pytest.mark.slow
def test_a_grid_on_ray(tmp_path: Path) -> None:
    records, names = search_on_ray(
        sweep_of(tmp_path, GRID.replace("[2, 3, 4]", "[2, 3]")),
        plan_of(tmp_path, "steps=2"),
        trials=4,
        jobs=2,
        seed=0,
        sampler="tpe",
        resources={"cpu": 1.0, "gpu": 0.0},
    )
    assert {record.state for record in records} == {"complete"}
    assert sorted(str(record.point) for record in records) == sorted(
        str({"x": x, "y": y}) for x in (2, 3) for y in ("a", "b")
    )
    best = best_of(records, Metric("val/m", maximize=True))
    assert best is not None and best.point == {"x": 3, "y": "b"}
    assert (tmp_path / "runs/fake" / names[best.number] / "bundle").is_dir()
