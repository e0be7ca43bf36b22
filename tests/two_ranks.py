"""Two processes that stay, as ``torchrun`` starts them: tests hand them work one after the other.

Starting two ranks costs more than what they do for a test: torch, Lightning and DeepSpeed are imported in each. Tests
that are not about how ranks are started or ended share one pair (the fixture ``two_ranks``), and carry
``pytest.mark.xdist_group("two_ranks")``, so that where several processes share the tests, one of them has the pair.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

WAIT_S = 900
"""Seconds after which ranks count as waiting for each other for ever."""

RANK = """
import json, os, sys
replies = os.fdopen(os.dup(1), "w")
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1), os.dup2(log, 2)
import rewardkit
import torch
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
linear = torch.nn.functional.linear
print("ready", file=replies, flush=True)
for line in sys.stdin:
    code, arguments = json.loads(line)
    told = None
    try:
        space = {"arguments": arguments, "told": None, "torch": torch}
        exec(code, space)
        told = space["told"]
    except BaseException:
        import traceback
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(1)
    torch.nn.functional.linear = linear  # ZeRO-3 puts one of its own there, and leaves it
    sys.stdout.flush()
    print(json.dumps(told), file=replies, flush=True)
"""

FIT = """
from rewardkit import cli
told = []
for fit in arguments:
    told.append(cli.run(["fit", *fit]))
    if told[-1] not in (0, 75):
        raise SystemExit(f"exit code {told[-1]}: {fit}")
    torch.distributed.barrier()  # rank 0 gives a checkpoint its name after the others have gone on
"""


CALL = """
import importlib, sys
sys.path.insert(0, arguments["folder"])
sys.path.insert(0, arguments["tests"])
function = getattr(importlib.import_module(arguments["module"]), arguments["name"])
sys.path[:2] = []
told = function(torch.distributed.get_rank(), *arguments["rest"])
"""


class TwoRanks:
    """The pair. Where one fails or hangs, both are ended, and the next work starts new ones.

    Args:
        folder: For what they print.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[str]] = []
        self._read = [0, 0]

    def fit(self, *fits: list[str]) -> tuple[str, str]:
        """Runs several ``fit`` one after the other; gives what each rank printed.

        Args:
            fits: Arguments of each, without the verb; they say ``trainer.devices=2``.
        """
        self.begin(FIT, [list(fit) for fit in fits])
        codes, printed = self.finish()
        assert codes == [[0] * len(fits)] * 2, printed
        return printed

    def run(self, code: str, arguments: object) -> list[object]:
        """Runs a program that finds ``arguments``, and leaves in ``told`` what each rank is to give back (JSON)."""
        self.begin(code, arguments)
        return self.finish()[0]

    def call(self, function: Callable[..., object], *arguments: object) -> list[object]:
        """Calls a function of a test's module with the rank and arguments (JSON); gives what it returns on each."""
        file = Path(function.__code__.co_filename)
        where = {"tests": str(Path(__file__).parent), "folder": str(file.parent), "module": file.stem}
        return self.run(CALL, {**where, "name": function.__name__, "rest": list(arguments)})

    def begin(self, code: str, arguments: object) -> int:
        """Starts work; gives the process id of rank 0."""
        if not self._processes:
            self._start()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps([code, arguments]) + "\n")
            process.stdin.flush()
        return self._processes[0].pid

    def finish(self) -> tuple[list[object], tuple[str, str]]:
        """Waits for the end of the work: what each rank gave back, and what it printed."""
        told = [json.loads(line) for line in self._lines()]
        return told, self._printed()

    def end(self) -> None:
        """Ends both processes."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes = []

    def _start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        launched = ("PL_", "SLURM", "REWARDKIT_RUN")
        shared = {name: value for name, value in os.environ.items() if not name.startswith(launched)}
        shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
        shared |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "NO_PROXY": "127.0.0.1",
        }
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", RANK, str(self._log(rank))],
                env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        self._lines()

    def _lines(self) -> list[str]:
        """One line of each rank."""
        until = time.monotonic() + WAIT_S
        waiting: dict[IO[str], int] = {p.stdout: rank for rank, p in enumerate(self._processes) if p.stdout is not None}
        lines = ["", ""]
        while waiting:
            ready, _, _ = select.select(list(waiting), [], [], max(0.0, until - time.monotonic()))
            for stream in ready:
                lines[waiting.pop(stream)] = stream.readline()
            if not ready or "" in [lines[rank] for rank in range(2) if rank not in waiting.values()]:
                time.sleep(1.0)  # the other rank may have more to say
                self.end()
                printed = "\n".join(f"--- rank {rank}\n{text}" for rank, text in enumerate(self._printed()))
                raise AssertionError(f"{'a rank failed' if ready else 'ranks wait for each other'}:\n{printed}")
        return lines

    def _log(self, rank: int) -> Path:
        return self._folder / f"rank-{rank}.log"

    def _printed(self) -> tuple[str, str]:
        """What each rank has printed since this was asked last."""
        found = []
        for rank in range(2):
            content = self._log(rank).read_bytes() if self._log(rank).exists() else b""
            found.append(content[self._read[rank] :].decode(errors="replace"))
            self._read[rank] = len(content)
        return found[0], found[1]
