"""Trials as processes: killed sweeps go on, nothing is lost or done twice, failures are told, the worse are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rewardkit.config.sweeps import Sweep, read_sweep

pytest.importorskip("optuna")

from rewardkit.sweeps.local import Interrupted, TrialPlan, run_local
from rewardkit.sweeps.study import SweepStudy, TrialRecord
from rewardkit.sweeps.trial import TrialProcess

FAKE = Path(__file__).with_name("fake_fit.py")

GRID = """
method: grid
metric: {name: val/m, goal: maximize}
parameters:
  x: {values: [2, 3, 4]}
  y: {values: [a, b]}
"""


def sweep_of(folder: Path, text: str) -> Sweep:
    path = folder / "sweep.yaml"
    path.write_text(text, encoding="utf-8")
    return read_sweep(path)


def study_of(folder: Path, text: str, *, limit: int | None = None) -> SweepStudy:
    return SweepStudy(folder / "study.db", sweep_of(folder, text), seed=0, sampler="tpe", limit=limit)


def plan_of(folder: Path, *fixed: str) -> TrialPlan:
    return TrialPlan(root=folder, recipe="fake", fixed=["recipe=fake", *fixed], program=(sys.executable, str(FAKE)))


def search(folder: Path, text: str, *fixed: str, jobs: int = 2, limit: int | None = None) -> list[TrialRecord]:
    study = study_of(folder, text, limit=limit)
    run_local(study, plan_of(folder, *fixed), jobs=jobs, say=lambda line: None)
    return study.records()


def steps_of(folder: Path, number: int) -> list[int]:
    return [int(line.split()[0]) for line in (folder / f"runs/fake/{number:04d}/steps.txt").read_text().splitlines()]


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewardkit.sweeps.local.LOOK_SECONDS", 0.05)


def test_a_grid_is_tried_once_and_the_best_found(tmp_path: Path) -> None:
    records = search(tmp_path, GRID, "steps=2", jobs=4)
    assert [record.number for record in records] == list(range(6))
    assert {record.state for record in records} == {"complete"}
    assert [(record.point["x"], record.point["y"]) for record in records[:4]] == [
        (2, "a"),
        (2, "b"),
        (3, "a"),
        (3, "b"),
    ]
    best = study_of(tmp_path, GRID).best()
    assert best is not None and best.point == {"x": 3, "y": "b"}
    assert (best.value, best.step) == (pytest.approx(1.52), 2)
    assert all(steps_of(tmp_path, number) == [1, 2] for number in range(6))


DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_local_sweeps import GRID, plan_of, study_of
from rewardkit.sweeps.local import run_local
import rewardkit.sweeps.local as local
local.LOOK_SECONDS = 0.05
folder = Path({folder!r})
plan = plan_of(folder, "steps=3", "wait=0.5")
run_local(study_of(folder, GRID), plan, jobs=2, say=lambda line: print(line, flush=True))
"""


def start_sweep(folder: Path) -> subprocess.Popen[str]:
    code = DRIVER.format(tests=str(Path(__file__).parent), folder=str(folder))
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=folder
    )


def wait_for(what, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def pids(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in folder.glob("logs/*.pid") if path.read_text()]


@pytest.mark.parametrize("trials_die_too", [False, True])
def test_a_killed_sweep_loses_nothing_and_does_nothing_twice(tmp_path: Path, trials_die_too: bool) -> None:
    driver = start_sweep(tmp_path)
    wait_for(lambda: (tmp_path / "runs/fake/0002/steps.txt").exists())
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    before = study_of(tmp_path, GRID).unfinished()
    assert before, "the kill came while trials were running"
    if trials_die_too:
        for pid in pids(tmp_path):
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    records = search(tmp_path, GRID, "steps=3", "wait=0.1")
    assert [record.number for record in records] == list(range(6))
    assert {record.state for record in records} == {"complete"}
    assert len({str(record.point) for record in records}) == 6
    starts = [len((tmp_path / f"runs/fake/{n:04d}/starts.txt").read_text().split()) for n in range(6)]
    if trials_die_too:
        assert sum(starts) == 6 + len([one for one in before if starts[one.number] == 2])
    else:
        assert starts == [1] * 6, "a trial that outlived the sweep was waited for, not started again"
        assert all(steps_of(tmp_path, number) == [1, 2, 3] for number in range(6))


def test_an_interrupted_sweep_saves_its_trials_and_goes_on(tmp_path: Path) -> None:
    driver = start_sweep(tmp_path)
    wait_for(lambda: (tmp_path / "runs/fake/0001/steps.txt").exists())
    os.kill(driver.pid, signal.SIGTERM)
    said = driver.communicate(timeout=30)[0]
    assert driver.returncode == 1 and "is saved" in said  # the driver lets Interrupted escape
    waiting = study_of(tmp_path, GRID).unfinished()
    assert waiting and len(waiting) <= 2
    records = search(tmp_path, GRID, "steps=3")
    assert {record.state for record in records} == {"complete"}
    assert all(steps_of(tmp_path, number) == [1, 2, 3] for number in range(6))


def test_interrupted_says_which_signal(tmp_path: Path) -> None:
    study, seen = study_of(tmp_path, GRID), []
    before = signal.getsignal(signal.SIGINT)

    def say(line: str) -> None:
        if not seen:
            os.kill(os.getpid(), signal.SIGINT)
        seen.append(line)

    with pytest.raises(Interrupted) as caught:
        run_local(study, plan_of(tmp_path, "wait=0.3"), jobs=1, say=say)
    assert caught.value.number == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before


def test_a_failed_trial_is_told_and_ends_nothing(tmp_path: Path) -> None:
    text = GRID.replace("y: {values: [a, b]}", "fails: {values: [false, true]}")
    records = search(tmp_path, text)
    assert [record.state for record in records] == ["complete", "failed"] * 3
    assert records[1].cause == "y cannot be that choose another"
    assert records[1].value is None


def test_a_metric_that_no_trial_logs_is_a_cause(tmp_path: Path) -> None:
    records = search(tmp_path, GRID.replace("[2, 3, 4]", "[2]").replace("[a, b]", "[a]"), "logs=val/n")
    assert {record.state for record in records} == {"failed"}
    assert records[0].cause is not None and "did not log val/m. Did you mean 'val/n'?" in records[0].cause


@pytest.mark.parametrize(("dies", "state"), [(1, "complete"), (5, "failed")])
def test_a_trial_that_is_killed_is_continued_a_few_times(tmp_path: Path, dies: int, state: str) -> None:
    text = GRID.replace("[2, 3, 4]", "[2]").replace("[a, b]", "[a]")
    records = search(tmp_path, text, f"dies={dies}", "steps=9")
    assert {record.state for record in records} == {state}
    if state == "failed":
        assert records[0].cause == "killed by SIGKILL, 3 times"
    else:
        assert steps_of(tmp_path, 0) == list(range(1, 10))


EARLY = """
method: grid
metric: {name: val/m, goal: maximize}
early_terminate: {type: hyperband, min_iter: 2, eta: 3}
parameters:
  x: {values: [3, 2, 1]}
"""


def test_worse_trials_are_stopped_at_a_validation(tmp_path: Path) -> None:
    records = search(tmp_path, EARLY, "steps=6", "holds=4", "free=3", jobs=1)
    assert [record.state for record in records] == ["complete", "stopped early", "stopped early"]
    assert all(len(steps_of(tmp_path, record.number)) == 4 for record in records[1:])
    best = study_of(tmp_path, EARLY).best()
    assert best is not None and best.point == {"x": 3}


def test_a_target_ends_the_search(tmp_path: Path) -> None:
    text = GRID.replace("goal: maximize", "goal: maximize, target: -0.5")
    records = search(tmp_path, text, jobs=1)
    assert len(records) == 2 and records[-1].value is not None and records[-1].value >= -0.5


def test_a_random_search_of_few_points_tries_each_once(tmp_path: Path) -> None:
    records = search(tmp_path, GRID.replace("grid", "random"), "steps=1", jobs=3)
    assert len(records) == 6 and len({str(record.point) for record in records}) == 6


def test_gpus_go_to_the_places(tmp_path: Path) -> None:
    study = study_of(tmp_path, GRID, limit=2)
    plan = TrialPlan(
        root=tmp_path,
        recipe="fake",
        fixed=["recipe=fake"],
        gpus=["0,2", "1,3"],
        program=("sh", "-c", "echo error: $CUDA_VISIBLE_DEVICES; exit 1"),
    )
    run_local(study, plan, jobs=2, say=lambda line: None)
    assert [record.cause for record in study.records()] == ["0,2", "1,3"]


def test_a_running_trial_is_found_by_its_lock(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "steps=2", "wait=0.3")
    record = study_of(tmp_path, GRID).next()
    assert record is not None
    arguments = (plan.layout("0000"), plan.log("0000"))
    first = TrialProcess(*arguments, command=plan.command("0000", record.point), environment=plan.environment)
    second = TrialProcess(*arguments, command=["false"], environment=plan.environment)
    assert (first.adopted, second.adopted) == (False, True)
    wait_for(lambda: second.poll() is not None)
    ended = second.poll()
    assert ended is not None and ended.finished
    assert first.poll() == ended
