"""The metrics file survives kills and is cut back on resume."""

from __future__ import annotations

from pathlib import Path

from rewardkit.engine.loggers import MetricsCSV, cut_back, read_metrics


def test_figures_are_appended_with_their_step(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path / "metrics.csv", cut_after=0)
    logger.log_metrics({"train/loss": 0.5, "train/lr": 1e-6}, step=1)
    logger.log_metrics({"train/loss": float("nan")}, step=2)
    rows = read_metrics(tmp_path / "metrics.csv")
    assert rows[:2] == [(1, "train/loss", 0.5), (1, "train/lr", 1e-6)]
    assert rows[2][0] == 2 and rows[2][2] != rows[2][2]


def test_a_resumed_run_drops_later_steps_and_the_cut_off_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,name,value\n1,a,1\n2,a,2\n3,a,3\n4,a", encoding="utf-8")
    MetricsCSV(path, cut_after=2).log_metrics({"a": 9.0}, step=3)
    assert read_metrics(path) == [(1, "a", 1.0), (2, "a", 2.0), (3, "a", 9.0)]


def test_a_new_run_starts_empty(tmp_path: Path) -> None:
    cut_back(tmp_path / "metrics.csv", 0)
    assert (tmp_path / "metrics.csv").read_text(encoding="utf-8").strip() == "step,name,value"
