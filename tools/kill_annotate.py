"""Kills ``annotate`` at random moments, runs it again each time, and counts what was asked twice and what was lost.

    python tools/kill_annotate.py OUT [--kills 10] [--groups 60] [--faults 429=0.05,500=0.03,reset=0.03,malformed=0.1]

A chat server with a simulated model answers (``annotator_server.py``, in a process of its own). Prints where each kill
came, how many answers lay in the log then, and how many calls had been in flight; at the end

- no request may have been sent again that had a line in the log when its run was killed,
- no answer may have been asked again that lay in the log to be repaired,
- every request must have a line, with the scores of an uninterrupted run.

Exit code 1 where one of these does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

FAULTS = "429=0.05,500=0.03,reset=0.03,truncate=0.02,malformed=0.1,wrong_form=0.05"


def main() -> int:
    """Asks once whole and once with kills, and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--groups", type=int, default=60)
    parser.add_argument("--faults", default=FAULTS)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; drawn where not given, and printed")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    moments = random.Random(seed)
    images = arguments.out / "images"
    subprocess.run(_rewardkit("data", "demo", f"out={images}", f"groups={arguments.groups}", "seed=1"), check=True)
    with _server(images, "") as url:
        whole = _start(images, arguments.out / "whole", url, []).wait()
        if whole != 0:
            return 1
    with _server(images, arguments.faults) as url:
        held, end = _killed(images, arguments.out / "killed", url, arguments, moments, seed)
        calls = _stats(url)["calls"]
    return _compare(arguments.out, calls, held, end)


def _killed(
    images: Path, out: Path, url: str, arguments: argparse.Namespace, moments: random.Random, seed: int
) -> tuple[list[tuple[int, set[str]]], int]:
    """Runs and kills; what lay in the log after each kill, with the number of calls so far, and the last exit code."""
    held: list[tuple[int, set[str]]] = []
    known = 0
    more = ["retries=30", "repairs=30", "first_pause_s=0.02", "concurrency=16", "requests_per_minute=6000"]
    print(f"kills at random moments (seed {seed})", flush=True)
    while len(held) < arguments.kills:
        before = len(_stats(url)["calls"])
        process = _start(images, out, url, more)
        target = before + moments.randrange(1, 2 * arguments.groups * 2 // arguments.kills)
        while len(_stats(url)["calls"]) < target and process.poll() is None:
            time.sleep(0.03)
        if process.poll() is not None:
            print(f"a run ended before its kill, exit code {process.returncode}: give more groups", flush=True)
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.3)  # calls in flight reach the server
        answered, open_calls = _answers(out), _in_flight(out)
        held.append((len(_stats(url)["calls"]), answered))
        flying, known = open_calls - known, open_calls
        print(f"kill {len(held)}: {len(answered)} answers in the log, {flying} calls were in flight", flush=True)
    return held, _start(images, out, url, more).wait()


def _compare(out: Path, calls: list[str], held: list[tuple[int, set[str]]], code: int) -> int:
    """Prints what came of it."""
    twice = {key for at, answered in held for key in calls[at:] if key in answered}
    scores = [{line["request"]: line["scores"] for line in _lines(out / name)} for name in ("whole", "killed")]
    lost = sorted(scores[0].keys() - scores[1].keys())
    differ = sum(scores[0][request] != scores[1].get(request) for request in scores[0])
    doubled = len(_lines(out / "killed")) - len(scores[1])
    print(f"{len(held)} kills, {len(calls)} calls, {len(scores[0])} requests, exit code {code}")
    print(
        f"asked again though in the log: {len(twice)}; lost: {len(lost)}; in the log twice: {doubled}; differ: {differ}"
    )
    return 1 if twice or lost or differ or doubled or code else 0


def _answers(out: Path) -> set[str]:
    """Keys of the calls whose answers lie in the log: those of finished requests, and those that await a repair."""
    finished = {f"{line['request']}-{n}" for line in _lines(out) for n in range(len(line["attempts"]))}
    awaiting = {f"{call['request']}-{call['attempt']}" for call in _calls(out) if "answer" in call}
    return finished | awaiting


def _in_flight(out: Path) -> int:
    calls = _calls(out)
    ended = sum("failed" in call or "answer" in call for call in calls)
    finished = {(line["request"], len(line["attempts"]) - 1) for line in _lines(out)}
    return sum("sent" in call for call in calls) - ended - len(finished)


def _lines(out: Path) -> list[dict[str, Any]]:
    return _whole_lines(out / "annotations.jsonl")


def _calls(out: Path) -> list[dict[str, Any]]:
    return _whole_lines(out / "calls.jsonl")


def _whole_lines(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _rewardkit(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "rewardkit", *arguments]


def _start(images: Path, out: Path, url: str, more: list[str]) -> subprocess.Popen[bytes]:
    options = [f"images={images}", f"out={out}", f"annotators=judge@{url}", "repeats=2", *more]
    return subprocess.Popen(_rewardkit("annotate", *options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class _server:
    """The chat server in a process of its own; gives its endpoint."""

    def __init__(self, images: Path, faults: str) -> None:
        tool = Path(__file__).with_name("annotator_server.py")
        options = ["--port", "0", "--images", str(images), "--faults", faults, "--delay", "0.02", "--seed", "3"]
        self._process = subprocess.Popen([sys.executable, str(tool), *options], stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().split()[-1]

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()


def _stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as answer:
        return dict(json.load(answer))


if __name__ == "__main__":
    sys.exit(main())
