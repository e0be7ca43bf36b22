"""``fit logger=csv,tensorboard,wandb``, killed and continued: what W&B's files hold, and what they do not tell."""

from __future__ import annotations

import getpass
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rewardkit.config.layout import RunLayout
from rewardkit.engine.loggers import read_metrics
from rewardkit.engine.wandb_file import files_of, read_records, step_of

pytest.importorskip("wandb")

KILLER = """
import os, signal
from lightning.pytorch.callbacks import Callback

class Killer(Callback):
    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.global_step == 6 and "KILL_ME" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)

def callbacks():
    return [Killer()]
"""

USER = "margarethe-the-trainer"


@pytest.fixture(scope="module")
def followed(
    tmp_path_factory: pytest.TempPathFactory, tiny_tower: Path, demo_folders: tuple[Path, Path]
) -> tuple[RunLayout, str]:
    """A run of 8 steps that was killed after step 6, two steps behind its last checkpoint, and what its end printed."""
    root = tmp_path_factory.mktemp("followed") / USER
    root.mkdir()
    (root / "killer.py").write_text(KILLER, encoding="utf-8")
    train, val = demo_folders
    arguments = [
        "recipe=hpsv2", f"data.train={train}", f"data.val={val}", f"model.architecture={tiny_tower}",
        "model.dimensions=overall,fidelity", "data.dimension_map={prompt_following: null, aesthetic: null, "
        "harmlessness: null}", "objective.name=bradley_terry", "transform.size=null", "data.batch_groups=4",
        "data.workers=0", "optim.warmup_steps=2", "trainer.max_steps=8", "trainer.validate_every=4",
        "trainer.checkpoint_every=4", "trainer.log_every=1", "trainer.precision=32", "trainer.threads=1",
        "evaluation.bootstrap=100", f"run.dir={root / 'runs'}", "run.name=one", "resume=auto",
        f"plugins={root / 'killer.py'}", "logger=csv,tensorboard,wandb", "wandb.group=trials", "wandb.tags=a,b",
        "wandb.table_rows=5", "callbacks.gallery.groups=3", "callbacks.guards.patience=3",
        "callbacks.guards.min_spread=100",
    ]  # fmt: skip
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    here = {**kept, "HOME": str(root), "USER": USER, "LOGNAME": USER, "WANDB_HOST": "secret-host"}
    command = [sys.executable, "-m", "rewardkit", "fit", *arguments]
    killed = subprocess.run(command, env={**here, "KILL_ME": "1"}, cwd=root, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    ended = subprocess.run(command, env=here, cwd=root, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return RunLayout(root / "runs" / "hpsv2" / "one"), ended.stdout


def records(run: RunLayout) -> list[Any]:
    run_id = (run.wandb / "run_id").read_text(encoding="utf-8").strip()
    files = files_of(run.wandb, run_id)
    assert len(files) == 2  # one for each attempt, of the same run
    return [record for path in files for record, _ in read_records(path)]


def of_kind(run: RunLayout, kind: str) -> list[Any]:
    return [record for record in records(run) if record.WhichOneof("record_type") == kind]


def row(record: Any) -> dict[str, Any]:
    """A row of the history; media are maps."""
    found: dict[str, Any] = {}
    for item in record.history.item:
        *parents, leaf = list(item.nested_key) or [item.key]
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = json.loads(item.value_json)
    return found


@pytest.mark.slow
def test_every_step_is_there_once_with_what_the_csv_has(followed: tuple[RunLayout, str]) -> None:
    run, _ = followed
    rows = {step_of(record): row(record) for record in of_kind(run, "history")}
    assert Counter(step_of(record) for record in of_kind(run, "history")) == Counter(range(1, 9))
    for step, name, value in read_metrics(run.metrics):
        if "throughput" not in name:  # how fast it was differs between attempts
            assert rows[step][name] == pytest.approx(value, rel=1e-5), (step, name)


@pytest.mark.slow
def test_config_has_values_origins_and_the_revision(followed: tuple[RunLayout, str]) -> None:
    for record in of_kind(followed[0], "run"):
        config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
        assert record.run.run_group == "trials" and list(record.run.tags) == ["a", "b"]
        assert record.run.project == "rewardkit" and record.run.display_name == "hpsv2/one"
        assert config["optim"]["warmup_steps"] == 2 and config["data"]["train"] == ["…/train"]
        assert config["origins"]["optim"]["warmup_steps"] == "command line"
        assert config["origins"]["optim"]["lr"] == "scale demo of hpsv2"
        assert config["environment"]["seed"] == 0 and "git_revision" in config["environment"]


@pytest.mark.slow
def test_validations_have_tables_histograms_and_plots(followed: tuple[RunLayout, str]) -> None:
    run, _ = followed
    rows = {step_of(record): row(record) for record in of_kind(run, "history")}
    for step in (4, 8):
        table, histogram = rows[step]["val/comparisons"], rows[step]["val/scores/overall"]
        assert table["nrows"] == 5 and histogram["_type"] == "histogram" and sum(histogram["values"]) > 0
        (path,) = run.wandb.glob(f"offline-run-*/files/{table['path']}")
        content = json.loads(path.read_text(encoding="utf-8"))
        first = dict(zip(content["columns"], content["data"][0], strict=True))
        assert first["dimension"] == "overall" and first["right"] in (True, False, None)
        assert first["votes_first"] + first["votes_tie"] + first["votes_second"] > 0 and first["prompt"]
        for name in ("val/reliability", "val/gallery"):
            assert list(run.wandb.glob(f"offline-run-*/files/{rows[step][name]['path']}")), name
    assert not {"val/comparisons", "val/gallery"} & rows[5].keys()


@pytest.mark.slow
def test_the_bundle_names_the_shard_sets_and_guards_alert(
    followed: tuple[RunLayout, str], demo_folders: tuple[Path, Path]
) -> None:
    from rewardkit.data.index import ShardIndex

    run, _ = followed
    (model,) = [record.artifact for record in of_kind(run, "artifact") if record.artifact.type == "model"]
    about = json.loads(model.metadata)
    digests = [(one["used_for"], one["digest"]) for one in about["shard_sets"]]
    assert digests == [(name, ShardIndex.open(at).digest) for name, at in zip(("train", "val"), demo_folders)]  # noqa: B905
    assert {entry.path for entry in model.manifest.contents} >= {"model.safetensors", "bundle.json", "README.md"}
    assert model.name == "hpsv2-bundle" and about["step"] in (4, 8)
    assert "collapsed" in of_kind(run, "alert")[0].alert.title


@pytest.mark.slow
def test_nothing_in_the_files_says_where_the_run_ran(followed: tuple[RunLayout, str]) -> None:
    """The one exception is where W&B itself finds what it will upload, in this folder; that is not sent."""
    run, _ = followed
    assert {path.name for path in run.wandb.glob("*/files/*")} == {"media"}  # no metadata, packages, console log
    for record in records(run):
        if record.WhichOneof("record_type") == "artifact":
            for entry in record.artifact.manifest.contents:
                if os.path.isabs(entry.local_path):
                    assert Path(entry.local_path).is_relative_to(run.wandb.resolve()), entry.local_path
                    entry.local_path = ""
        text = str(record)
        for told in (USER, "secret-host", socket.gethostname(), str(Path.home()), sys.prefix):
            if len(told) > 3:
                assert told not in text, (told, text[:500])
        assert not re.search(r"(?<![\w…:/.])/(home|tmp|root|usr|var|private|Users)\b", text), text[:500]
    assert getpass.getuser() not in {item for r in of_kind(run, "run") for item in (r.run.host, r.run.notes)}


@pytest.mark.slow
def test_tensorboard_has_the_same_and_the_sheet_is_a_picture(followed: tuple[RunLayout, str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, printed = followed
    events = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0, "images": 0, "histograms": 0})
    events.Reload()
    tags = events.Tags()
    assert {"val/reliability", "val/gallery"} <= set(tags["images"])
    assert {"val/scores/overall", "val/scores/fidelity"} <= set(tags["histograms"])
    losses = {event.step: event.value for event in events.Scalars("train/loss")}
    assert losses == pytest.approx({step: v for step, name, v in read_metrics(run.metrics) if name == "train/loss"})
    for step in (4, 8):
        with Image.open(run.gallery / f"{step:08d}-val.png") as sheet:
            assert sheet.format == "PNG" and sheet.width > 4 * 160 and sheet.height > 3 * 160
    assert "WANDB_RESUME=allow wandb sync" in printed
