"""What was proposed is remembered: a search that is opened again for each trial proposes what one in one go does."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardkit.config.sweeps import read_sweep

optuna = pytest.importorskip("optuna")

from rewardkit.sweeps.study import SweepStudy  # noqa: E402

BAYES = """
method: bayes
metric: {name: m, goal: minimize}
parameters:
  a: {min: 0.0, max: 1.0}
  b: {values: [x, y]}
"""


def open_study(folder: Path, text: str, *, limit: int = 6, sampler: str = "tpe") -> SweepStudy:
    folder.mkdir(exist_ok=True)
    (folder / "s.yaml").write_text(text, encoding="utf-8")
    return SweepStudy(folder / "study.db", read_sweep(folder / "s.yaml"), seed=4, sampler=sampler, limit=limit)


def points(study: SweepStudy) -> list[dict[str, object]]:
    return [record.point for record in study.records()]


def take(study: SweepStudy) -> bool:
    record = study.next()
    if record is None:
        return False
    study.complete(record.number, value=float(record.point["a"]), step=1)
    return True


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_opened_again_for_each_trial(tmp_path: Path, sampler: str) -> None:
    once = open_study(tmp_path / "once", BAYES, sampler=sampler)
    while take(once):
        pass
    while take(open_study(tmp_path / "often", BAYES, sampler=sampler)):
        pass
    assert len(points(once)) == 6 and points(once) == points(open_study(tmp_path / "often", BAYES, sampler=sampler))
    assert len({str(point) for point in points(once)}) == 6  # though gp would come back to the end of a range


def test_a_kill_between_two_values_is_made_good(tmp_path: Path) -> None:
    study = open_study(tmp_path, BAYES)
    half = study._study.ask()
    half.suggest_float("a", 0.0, 1.0)  # and killed before b, and before the trial had a number
    again = open_study(tmp_path, BAYES)
    (record,) = again.unfinished()
    assert record.number == 0 and record.point["a"] == half.params["a"] and record.point["b"] in ("x", "y")
    second = again.next()
    assert second is not None and second.number == 1


def test_a_search_of_few_points_takes_each_once(tmp_path: Path) -> None:
    text = BAYES.replace("a: {min: 0.0, max: 1.0}", "a: {values: [1, 2]}")
    study = open_study(tmp_path, text, limit=9)
    while take(study):
        pass
    assert sorted((point["a"], point["b"]) for point in points(study)) == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]


def test_a_limit_can_be_raised(tmp_path: Path) -> None:
    study = open_study(tmp_path, BAYES, limit=1)
    assert take(study) and not take(study)
    assert take(open_study(tmp_path, BAYES, limit=2))
