"""Whoever does the units, the shards are the same; a worker that dies is told, and the same call goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from rewardkit.data import convert_engines
from rewardkit.data.convert import convert
from rewardkit.errors import RewardkitError, UserError


@pytest.fixture
def source(tmp_path):
    """Forty prompts with two images each."""
    folder = tmp_path / "mine"
    folder.mkdir()
    lines = []
    for n in range(40):
        for side in "ab":
            Image.new("RGB", (20 + n, 10), (6 * n, 0, 0)).save(folder / f"{n}{side}.png")
        lines.append({"prompt": f"prompt {n}", "images": [f"{n}a.png", f"{n}b.png"], "better": n % 2})
    (folder / "prefs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_process_and_several_give_the_same_bytes(source, tmp_path):
    seen = []
    for workers in (1, 2):
        convert(
            "jsonl", source, tmp_path / str(workers), name="x", source="x", shard_groups=6, workers=workers,
            progress=lambda stage, done, total: seen.append((stage, done, total)),
        )  # fmt: skip
    assert files(tmp_path / "1") == files(tmp_path / "2")
    assert ("rows", 40, 40) in seen and ("groups", 40, 40) in seen


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_bytes(source, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    convert("jsonl", source, tmp_path / "here", name="x", source="x", shard_groups=20)
    monkeypatch.chdir(tmp_path)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        done = convert("jsonl", source, tmp_path / "ray", name="x", source="x", shard_groups=20, engine="ray")
    finally:
        ray.shutdown()
    assert done.written == 40 and files(tmp_path / "here") == files(tmp_path / "ray")


def test_ray_that_is_not_there_is_told_with_its_extra(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r'pip install "rewardkit\[ray\]"'):
        convert("jsonl", source, tmp_path / "out", engine="ray")


def die(settings, unit, threads, groups=None):
    """Stands for a worker that the system kills."""
    if unit == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return convert_engines.do_unit(settings, unit, threads, groups=groups)


def test_a_worker_that_is_killed_is_told_and_the_same_call_goes_on(source, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(convert_engines, "_in_worker", die)
        with pytest.raises(RewardkitError, match=r"a worker was killed .*the same command goes on"):
            convert("jsonl", source, tmp_path / "out", shard_groups=6)
    done = convert("jsonl", source, tmp_path / "out", shard_groups=6)
    assert done.written == 40


@pytest.mark.slow
def test_workers_end_with_the_main_process(source, tmp_path):
    """A kill -9 of the main process leaves no worker behind that would write on."""
    command = [sys.executable, "-m", "rewardkit", "data", "convert", "format=jsonl", f"src={source}"]
    slow = "import time, rewardkit.data.convert_unit as u\nold = u.prepare_image\n"
    slow += "u.prepare_image = lambda *a, **k: (time.sleep(0.5), old(*a, **k))[1]\n"
    (tmp_path / "sitecustomize.py").write_text(slow)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.Popen([*command, f"out={tmp_path / 'out'}", "shard_groups=6"], env=environment)
    deadline = time.monotonic() + 60
    workers = []
    while len(workers) < 2 and time.monotonic() < deadline:
        workers = [worker for server in children(run.pid) for worker in children(server)]
        time.sleep(0.1)
    run.kill()
    run.wait()
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers and not any(alive(pid) for pid in workers)


def children(pid):
    """Below the command, the process that forks workers; below that one, the workers. A resource tracker is neither."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            with open(f"/proc/{entry}/cmdline") as file:
                command = file.read()
        except OSError:
            continue
        if parent == pid and "multiprocessing.forkserver" in command:
            found.append(int(entry))
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
