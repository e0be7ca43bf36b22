"""Trains the same global batches by one process and by two under each strategy, and compares losses and weights.

    python tools/bench/equivalence.py [--cases plain,frozen] [--strategies ddp,zero3] [--steps 20] [--out FILE.json]

Everything runs on CPUs (gloo), with tiny models: a CLIP reward, and an evaluator with LoRA. Each line of the table is a
case (``equivalence_cases.py``); a cell says by how much losses and weights differ from those of one process at most.
Exit code 1 where a difference is larger than the case allows, a strategy fails, or ranks wait for each other for ever.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from equivalence_cases import CASES, options_of, write_data
from rich.console import Console
from rich.table import Table

STRATEGIES = ("ddp", "zero1", "zero2", "zero3", "zero3_offload", "fsdp")
"""zero3_offload keeps weights and the optimiser's state in main memory, which on a CPU is a copy of its own."""
RANK_SCRIPT = Path(__file__).with_name("equivalence_rank.py")
WAIT_S = 600
"""Seconds without a finished training after which ranks count as hanging."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one case under one strategy.

    Attributes:
        loss: Largest difference of a step's loss from that of one process, relative to it.
        norm: Likewise of the gradient's norm.
        weight: Largest difference of a weight; those of the attention's key bias are left out (``compare``).
        weight_name: Which.
        score: Largest difference of a score of the validation, which sees the average of weights.
        error: Why there is nothing to compare.
    """

    case: str
    strategy: str
    loss: float = 0.0
    norm: float = 0.0
    weight: float = 0.0
    weight_name: str = ""
    score: float = 0.0
    error: str | None = None

    @property
    def is_equal(self) -> bool:
        """Whether the differences are within what the case allows."""
        case = CASES[self.case]
        figures_fit = self.loss <= case.loss and self.norm <= 10 * case.loss
        weights_fit = self.weight <= case.weight and self.score <= case.score
        return self.error is None and figures_fit and weights_fit


def main() -> int:
    """Trains, compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    cases, strategies = arguments.cases.split(","), arguments.strategies.split(",")
    for option, names, known in (("--cases", cases, CASES), ("--strategies", strategies, STRATEGIES)):
        for name in names:
            if name not in known:
                parser.error(f"{option}: {name} is none of {', '.join(known)}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="equivalence-") as folder:
        found = measure(Path(folder), cases, strategies, steps=arguments.steps)
    show(found, cases, strategies, steps=arguments.steps, seconds=time.monotonic() - started)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps([asdict(f) for f in found], indent=1) + "\n", encoding="utf-8")
    return 0 if all(f.is_equal for f in found) else 1


def measure(folder: Path, cases: list[str], strategies: list[str], *, steps: int) -> list[Found]:
    """Trains every case by one process and by two under every strategy.

    Args:
        folder: For data and results.
        cases: Of ``CASES``.
        strategies: Of ``STRATEGIES``.
        steps: Optimiser steps of each training.
    """
    write_data(folder / "data")
    jobs = {ranks: [] for ranks in (1, 2)}  # type: dict[int, list[dict[str, Any]]]
    for name in cases:
        options = options_of(CASES[name], folder / "data", steps=steps)
        for strategy, ranks in [("auto", 1), *((s, 2) for s in strategies)]:
            result = str(folder / f"{name}-{strategy}.pt")
            jobs[ranks].append({"options": options, "strategy": strategy, "ranks": ranks, "result": result})
    for ranks, work in jobs.items():
        _run_all(sorted(work, key=_marks_left), ranks, folder)
    return [
        compare(name, strategy, folder / f"{name}-auto.pt", folder / f"{name}-{strategy}.pt")
        for name in cases
        for strategy in strategies
    ]


def _marks_left(job: dict[str, Any]) -> tuple[bool, bool]:
    """Puts last what leaves marks on its process.

    ZeRO-3 puts a linear layer of its own in torch's place, and autocast under DeepSpeed decides from then on in what
    ZeRO-3 sends gradients.
    """
    return job["strategy"].startswith("zero3"), "trainer.precision=bf16" in job["options"]


def _run_all(jobs: list[dict[str, Any]], ranks: int, folder: Path) -> None:
    """Runs jobs one after the other on ranks that stay; where one fails or hangs, goes on with new ranks behind it."""
    while jobs:
        processes = _start(jobs, ranks, folder)
        left, since = list(jobs), time.monotonic()
        while left and all(p.poll() in (None, 0) for p in processes) and time.monotonic() - since < WAIT_S:
            time.sleep(0.1)
            while left and Path(left[0]["result"]).exists():
                left, since = left[1:], time.monotonic()
        if left:
            hangs = all(p.poll() is None for p in processes)
            time.sleep(1.0)  # the other rank may have more to say
            if hangs:
                Path(left[0]["result"]).with_suffix(".0.error").write_text(f"ranks wait for each other for {WAIT_S} s")
            left = left[1:]
        for process in processes:
            _end(process)
        jobs = left


def _start(jobs: list[dict[str, Any]], ranks: int, folder: Path) -> list[subprocess.Popen[bytes]]:
    work = folder / f"jobs-{ranks}.json"
    work.write_text(json.dumps(jobs), encoding="utf-8")
    shared = {**os.environ, "OMP_NUM_THREADS": "1"}
    if ranks > 1:
        shared |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(ranks),
            "GROUP_RANK": "0",
            "TORCHELASTIC_RUN_ID": "equivalence",
        }
    started = []
    for rank in range(ranks):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {}
        log = (folder / f"rank-{ranks}-{rank}.log").open("ab")
        command = [sys.executable, str(RANK_SCRIPT), str(work)]
        started.append(subprocess.Popen(command, env={**shared, **own}, stdout=log, stderr=subprocess.STDOUT))
        log.close()
    return started


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def compare(case: str, strategy: str, one: Path, several: Path) -> Found:
    """Compares two trainings.

    The bias of an attention's key is left out: it adds the same to all of a query's logits, so its true gradient is
    zero, and AdamW makes whole steps of the noise in its place. Frozen weights must be equal bit for bit.
    """
    for path in (one, several):
        if not path.exists():
            errors = sorted(path.parent.glob(f"{path.stem}.*.error"))
            texts = [error.read_text().strip().splitlines()[-1] for error in errors or path.parent.glob("rank-*.log")]
            return Found(case, strategy, error=f"{path.stem}: " + ("; ".join(texts) or "ended without a word"))
    a, b = (torch.load(path, weights_only=True) for path in (one, several))
    for what in ("comparisons", "bad"):
        if a[what] != b[what]:
            return Found(case, strategy, error=f"{what}: {a[what]} with one process, {b[what]} with two")
    if len(a["loss"]) != len(b["loss"]) or a["scores"].shape != b["scores"].shape:
        return Found(case, strategy, error="another number of steps or of validated candidates")
    frozen = set(a["weights"]) - set(a["trained"])
    for name in frozen:
        if not torch.equal(a["weights"][name], b["weights"][name]):
            return Found(case, strategy, error=f"{name} is frozen and changed")
    worst, where = _furthest(a["weights"], b["weights"])
    averaged, where_averaged = _furthest(a["average"], b["average"])
    if averaged > worst:
        worst, where = averaged, f"average of {where_averaged}"
    score = float((a["scores"] - b["scores"]).abs().nan_to_num().max())
    return Found(case, strategy, _apart(a["loss"], b["loss"]), _apart(a["norm"], b["norm"]), worst, where, score)


def _furthest(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> tuple[float, str]:
    """The largest difference between two sets of weights, and where it is."""
    apart = {name: float(_without_key_bias(name, (t - second[name]).abs()).max()) for name, t in first.items()}
    where = max(apart, key=apart.__getitem__)
    return apart[where], where


def _without_key_bias(name: str, difference: torch.Tensor) -> torch.Tensor:
    if name.endswith("k_proj.bias"):
        return torch.zeros_like(difference)
    if name.endswith(("in_proj_bias", "qkv.bias")):  # query, key and value behind each other
        width = len(difference) // 3
        return torch.cat([difference[:width], difference[2 * width :]])
    return difference


def _apart(first: list[float], second: list[float]) -> float:
    return max(abs(a - b) / max(abs(a), 1e-6) for a, b in zip(first, second, strict=True))


def show(found: list[Found], cases: list[str], strategies: list[str], *, steps: int, seconds: float) -> None:
    """Prints the table and what it leaves out."""
    console = Console(width=max(110, Console().width))
    table = Table(
        title=f"Two processes against one, {steps} steps: largest difference of loss | weight", title_justify="left"
    )
    table.add_column("case")
    for strategy in strategies:
        table.add_column(strategy, justify="right")
    table.add_column("allowed", justify="right")
    for name in cases:
        case = CASES[name]
        cells = [_cell(next(f for f in found if (f.case, f.strategy) == (name, s))) for s in strategies]
        table.add_row(f"{name}: {case.about}", *cells, _pair(case.loss, case.weight))
    console.print(table)
    for f in found:
        if f.error is not None:
            console.print(f"{f.case}, {f.strategy}: {f.error}", markup=False, highlight=False)
        elif not f.is_equal:
            console.print(f"{f.case}, {f.strategy}: {f}", markup=False, highlight=False)
    print(
        f"Losses relative, weights absolute (learning rate 1e-3); the attention's key bias is left out. "
        f"torch {torch.__version__}, took {seconds:.0f} s"
    )


def _cell(found: Found) -> str:
    if found.error is not None:
        return "[red]fails[/]"
    text = _pair(found.loss, found.weight)
    return text if found.is_equal else f"[red]{text}[/]"


def _pair(loss: float, weight: float) -> str:
    return f"{loss:.1e} | " + ("any" if weight == float("inf") else f"{weight:.1e}")


if __name__ == "__main__":
    sys.exit(main())
