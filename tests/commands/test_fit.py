"""``fit`` end to end on a tiny tower: files, summary, resume bit for bit, refusals."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_run import TINY_TOWER, replaced, tiny_arguments

import rewardkit
from rewardkit import cli
from rewardkit.config.layout import RunLayout
from rewardkit.engine.loggers import read_metrics


def fit(arguments: list[str], *more: str) -> int:
    return cli.run(["fit", *arguments, *more])


def layout(arguments: list[str], name: str) -> RunLayout:
    (runs,) = (a.partition("=")[2] for a in arguments if a.startswith("run.dir="))
    return RunLayout(Path(runs) / "hpsv2" / name)


def final_state(run: RunLayout) -> dict[str, object]:
    return torch.load(run.last_checkpoint, weights_only=True)


def assert_same_training(a: RunLayout, b: RunLayout) -> None:
    """Weights, optimiser, logged losses and accuracies, and predictions are equal, bit for bit."""
    first, second = final_state(a), final_state(b)
    assert first["global_step"] == second["global_step"]
    assert first["state_dict"].keys() == second["state_dict"].keys()
    for name, tensor in first["state_dict"].items():
        assert torch.equal(tensor, second["state_dict"][name]), name
    for mine, theirs in zip(
        first["optimizer_states"][0]["state"].values(), second["optimizer_states"][0]["state"].values(), strict=True
    ):
        assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    kept = [[r for r in read_metrics(x.metrics) if "throughput" not in r[1]] for x in (a, b)]
    assert kept[0] == kept[1]
    names = sorted(p.name for p in a.predictions.iterdir())
    assert names == sorted(p.name for p in b.predictions.iterdir()) and names
    for name in names:
        assert (a.predictions / name).read_bytes() == (b.predictions / name).read_bytes(), name
    assert (a.bundle / "model.safetensors").read_bytes() == (b.bundle / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole_run(tiny_tower: Path, demo_folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> RunLayout:
    """An uninterrupted run; tests read it and leave it as it is."""
    arguments = tiny_arguments(tiny_tower, demo_folders, tmp_path_factory.mktemp("whole"))
    assert fit(arguments, "run.name=whole") == 0
    return layout(arguments, "whole")


@pytest.fixture
def again(tiny_fit: list[str], whole_run: RunLayout) -> list[str]:
    """Arguments that name ``whole_run``."""
    return replaced(tiny_fit, f"run.dir={whole_run.root.parents[1]}", "run.name=whole")


def test_a_run_leaves_what_it_promises(tiny_fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(tiny_fit, "run.name=a") == 0
    run = layout(tiny_fit, "a")
    for path in (run.config, run.overrides, run.environment, run.metrics, run.last_checkpoint, run.report, run.summary):
        assert path.is_file(), path
    assert (run.checkpoints / "best.ckpt").is_file() and any(run.tensorboard.iterdir())
    tables = {p.name for p in run.predictions.glob("*.parquet")}
    assert len(tables) == 4  # two validations, each with its labels
    printed = capsys.readouterr()
    for words in ("prompt_following", "chance", str(run.report), str(run.bundle), "95 %"):
        assert words in printed.out.replace("\n", ""), words
    assert "Warning" not in printed.out + printed.err and "warning" not in printed.err
    summary = json.loads(run.summary.read_text(encoding="utf-8"))
    assert summary["validations"] == 2 and summary["accuracies"]["overall"]["n_comparisons"] > 0
    names = {name for _, name, _ in read_metrics(run.metrics)}
    assert {"train/loss", "train/lr", "train/gradient_norm", "val/strict_micro/overall"} <= names
    assert {"train/accuracy/overall", "train/accuracy/fidelity"} <= names
    assert {"train/throughput/comparisons_per_s", "train/throughput/data_wait_s"} <= names


def test_the_bundle_scores_as_the_run_did(whole_run: RunLayout, demo_folders: tuple[Path, Path]) -> None:
    from rewardkit.data.index import ShardIndex
    from rewardkit.data.predictions import read_predictions

    summary = whole_run.read_summary()
    (table,) = (p for p in whole_run.predictions.glob(f"{summary['step']:08d}-*.parquet") if "labels" not in p.name)
    scores = read_predictions(table).scores
    model = rewardkit.load(whole_run.bundle)
    sample = ShardIndex.open(demo_folders[1]).sample(2)
    ours = model.score(sample.images, sample.group.prompt, output="logit")
    theirs = scores[scores["key"] == sample.key].pivot(index="candidate", columns="dimension", values="score")
    expected = torch.tensor(theirs[list(model.dimensions)].to_numpy())
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-5)
    assert torch.equal(ours, model.score(sample.images, sample.group.prompt, output="logit"))


@pytest.mark.parametrize("workers", [0, 2])
def test_stopped_and_resumed_is_uninterrupted(tiny_fit: list[str], whole_run: RunLayout, workers: int) -> None:
    # Step 3 is in the middle of an epoch (6 steps), and between two validations.
    tiny_fit = [f"data.workers={workers}" if a.startswith("data.workers") else a for a in tiny_fit]
    more = ["run.name=parts"]
    assert fit(tiny_fit, *more, "trainer.stop_after=3") == 0
    assert not layout(tiny_fit, "parts").is_finished
    assert fit(tiny_fit, *more, "trainer.stop_after=4", "resume=auto") == 0
    assert fit(tiny_fit, *more, "resume=auto") == 0
    assert_same_training(whole_run, layout(tiny_fit, "parts"))


def test_resume_by_path_needs_nothing_else(tiny_fit: list[str]) -> None:
    # Logged every 4 steps, so that the counts behind train/accuracy have to survive the stop.
    sparse = ["trainer.log_every=4" if a.startswith("trainer.log_every") else a for a in tiny_fit]
    assert fit(sparse, "run.name=whole") == 0
    assert fit(sparse, "run.name=parts", "trainer.stop_after=7") == 0
    run = layout(tiny_fit, "parts")
    assert cli.run(["fit", f"resume={run.root}"]) == 0
    assert_same_training(layout(tiny_fit, "whole"), run)


TIMM_TOWER = {**TINY_TOWER, "vision_cfg": {"timm_model_name": "test_vit", "image_size": 160}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tower", "drops"),
    [(TINY_TOWER, ["model.patch_dropout=0.5"]), (TIMM_TOWER, ["model.patch_dropout=0.5", "model.drop_path=0.3"])],
    ids=["open_clip", "timm"],
)
def test_all_that_moves_weights_resumes_bit_for_bit(
    tiny_fit: list[str], tmp_path: Path, tower: dict[str, object], drops: list[str]
) -> None:
    """An average of weights, a schedule, layer-wise rates, and draws of the model and of the augmentation."""
    (tmp_path / "tower.json").write_text(json.dumps(tower), encoding="utf-8")
    kept = [a for a in tiny_fit if not a.startswith("model.architecture")]
    arguments = [
        *kept, f"model.architecture={tmp_path / 'tower.json'}", *drops, "callbacks.ema.decay=0.8",
        "optim.schedule=linear", "optim.layer_decay=0.7", "data.augment.flip=true", "data.augment.shift=0.1",
    ]  # fmt: skip
    assert fit(arguments, "run.name=whole") == 0
    for more in ("trainer.stop_after=3", "resume=auto"):
        assert fit(arguments, "run.name=parts", more) == 0
    whole, parts = layout(tiny_fit, "whole"), layout(tiny_fit, "parts")
    assert_same_training(whole, parts)
    first, second = final_state(whole), final_state(parts)
    average, other = first["callbacks"]["EMA"], second["callbacks"]["EMA"]
    assert average["updates"] == other["updates"] == 8 and average["average"].keys() == other["average"].keys()
    for name, tensor in average["average"].items():
        assert torch.equal(tensor, other["average"][name]), name
    assert not torch.equal(average["average"]["head.image"], first["state_dict"]["model.head.image"])
    assert first["optimizer_states"][0]["param_groups"] == second["optimizer_states"][0]["param_groups"]
    assert len({group["initial_lr"] for group in first["optimizer_states"][0]["param_groups"]}) > 2
    assert first["lr_schedulers"] == second["lr_schedulers"]
    assert (whole.bundle / "bundle.json").read_text(encoding="utf-8").count("patch_dropout") == 1, (
        "only in the recipe's record"
    )


def test_a_finished_run_is_left_alone(
    again: list[str], whole_run: RunLayout, capsys: pytest.CaptureFixture[str]
) -> None:
    before = whole_run.last_checkpoint.stat().st_mtime_ns
    assert fit(again, "resume=auto") == 0
    assert "is finished" in capsys.readouterr().out
    assert whole_run.last_checkpoint.stat().st_mtime_ns == before


def test_refusals(again: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(again) == 2
    assert "exists already" in capsys.readouterr().err
    assert fit(replaced(again, "optim.lr=2e-3"), "resume=auto") == 2
    assert "optim.lr: 0.001 then, 0.002 now" in capsys.readouterr().err


def test_contradictions_are_told_at_once(tiny_fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    kept = [a for a in tiny_fit if not a.startswith(("optim.warmup", "trainer.validate_every", "data.val"))]
    assert fit(kept, "optim.warmup_steps=8", "trainer.validate_every=3", "data.val=[]", "optim.betas=[1]") == 2
    error = capsys.readouterr().err
    assert "4 mistakes" in error and "trainer.validate_every=2" in error


def test_dry_run_writes_nothing(tiny_fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(tiny_fit, "dry_run=true") == 0
    printed = capsys.readouterr().out
    for words in ("image tower", "pixels", "[8, 3, 32, 32]", "8 steps of 4 groups", "together", "towers/decayed"):
        assert words in printed, words
    assert not layout(tiny_fit, "x").root.parent.exists()


def test_dry_run_plans_for_machines_that_are_not_here(
    tiny_fit: list[str], whole_run: RunLayout, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its checkpoint is as large as a real one; four ranks share what one holds."""
    assert fit(tiny_fit, "dry_run=true") == 0
    here = planned(capsys.readouterr().out)
    written = (whole_run.checkpoints / "last.ckpt").stat().st_size
    assert here["a checkpoint, all files"] == pytest.approx(written / 1e6, rel=0.1)
    assert here["sent by a rank in a step"] == 0
    far = ("trainer.devices=2", "trainer.nodes=2", "trainer.strategy=fsdp")
    kept = [argument for argument in tiny_fit if not argument.startswith("data.micro_groups")]
    weights = "model.pretrained=laion2b_s32b_b79k"  # which are neither here nor of these towers
    assert fit(kept, "dry_run=true", "data.micro_groups=1", weights, *far) == 0
    printed, told = capsys.readouterr()
    there = planned(printed)
    assert "no weights were read" in printed and "Warning" not in told
    assert there["optimiser"] == pytest.approx(here["optimiser"] / 4, abs=0.01)
    assert there["sent by a rank in a step"] > 0


def planned(printed: str) -> dict[str, float]:
    """The rows of the plan, in megabytes."""
    found = re.findall(r"^  (.+?) +([\d,.]+) (GB|MB)", printed, re.MULTILINE)
    return {name: float(value.replace(",", "")) * (1000 if unit == "GB" else 1) for name, value, unit in found}


def test_a_full_disk_leaves_the_last_checkpoint_whole(
    tiny_fit: list[str], whole_run: RunLayout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rewardkit.engine import checkpoint_files

    real = checkpoint_files.save_durably

    def full_from_step_4(content: dict[str, int], path: Path) -> checkpoint_files.Written:
        if content["global_step"] >= 4:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(content, path)

    monkeypatch.setattr(checkpoint_files, "save_durably", full_from_step_4)
    assert fit(tiny_fit, "run.name=full") == 1
    error = capsys.readouterr().err
    run = layout(tiny_fit, "full")
    assert "the disk is full" in error and f"fit resume={run.root}" in error and "Traceback" not in error
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["last.ckpt", "step-00000002.ckpt"]
    monkeypatch.undo()
    assert cli.run(["fit", f"resume={run.root}"]) == 0
    assert_same_training(whole_run, run)


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_resume(tiny_fit: list[str], whole_run: RunLayout) -> None:
    tiny_fit = [a for a in tiny_fit if not a.startswith("data.workers")] + ["data.workers=2"]
    code, output = _run_and_signal(tiny_fit, "interrupted", signal.SIGINT, steps_before=1)
    assert code == 130, output
    assert "continue with: python -m rewardkit fit resume=" in output and "Traceback" not in output
    assert cli.run(["fit", f"resume={layout(tiny_fit, 'interrupted').root}"]) == 0
    assert_same_training(whole_run, layout(tiny_fit, "interrupted"))


@pytest.mark.slow
def test_a_preemption_signal_saves_and_asks_to_be_requeued(tiny_fit: list[str]) -> None:
    tiny_fit = [a for a in tiny_fit if not a.startswith("data.workers")] + ["data.workers=1"]
    code, output = _run_and_signal(tiny_fit, "preempted", signal.SIGTERM, steps_before=1)
    assert code == 75, output
    assert layout(tiny_fit, "preempted").last_checkpoint.is_file()


@pytest.mark.slow
def test_killed_at_a_random_moment_and_resumed(tiny_fit: list[str], whole_run: RunLayout) -> None:
    steps = random.SystemRandom().randint(0, 6)
    _run_and_signal(tiny_fit, "killed", signal.SIGKILL, steps_before=steps)
    assert fit(tiny_fit, "run.name=killed", "resume=auto") == 0, f"killed after {steps} logged steps"
    assert_same_training(whole_run, layout(tiny_fit, "killed"))


def _run_and_signal(arguments: list[str], name: str, number: signal.Signals, *, steps_before: int) -> tuple[int, str]:
    """Starts a run and sends it and its workers a signal, as a terminal does, once so many steps have been logged."""
    run = layout(arguments, name)
    command = [sys.executable, "-m", "rewardkit", "fit", *arguments, f"run.name={name}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        logged = run.metrics.is_file() and run.metrics.read_text(encoding="utf-8").count("train/lr")
        if logged is not False and logged >= steps_before:
            os.killpg(process.pid, number)
            break
        time.sleep(0.005)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output
