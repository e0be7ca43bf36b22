"""Resident memory of a command with all processes that it starts, from ``/proc`` (Linux).

The memory of a tree is the sum of what its processes hold. Pages that several of them share are counted for each, so
that the figure is never too low. It is looked at every few milliseconds; between two looks, the highest mark that the
system keeps for each process (``VmHWM``) is not missed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

INTERVAL = 0.01
"""Seconds between two looks."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class TreeMemory:
    """What was seen of a command's processes.

    Attributes:
        peak: Largest sum at any look, bytes.
        highest: Process -> the largest that it was, bytes; their sum is never below the true peak.
    """

    peak: int = 0
    highest: dict[int, int] = field(default_factory=dict)

    def look(self, root: int) -> None:
        """Adds up the processes that live below ``root`` now, and itself."""
        total = 0
        for process in tree(root):
            held = resident(process)
            total += held
            self.highest[process] = max(self.highest.get(process, 0), held, _high_mark(process))
        self.peak = max(self.peak, total)


def run_watched(command: Sequence[str]) -> tuple[subprocess.CompletedProcess[str], TreeMemory]:
    """Runs a command to its end and watches its processes."""
    seen = TreeMemory()
    with tempfile.TemporaryFile("w+") as output:  # a pipe would be full one day
        with subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
            while process.poll() is None:
                seen.look(process.pid)
                time.sleep(INTERVAL)
        output.seek(0)
        return subprocess.CompletedProcess(command, process.returncode, output.read()), seen


def imports_memory(modules: Sequence[str]) -> int:
    """What a new interpreter holds right after importing some modules, bytes."""
    script = f"import os, {', '.join(modules)}\nprint(open('/proc/self/statm').read().split()[1])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return int(done.stdout) * _PAGE


def tree(root: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            parent = _parent(int(name))
            children.setdefault(parent, []).append(int(name))
    found, waiting = [], [root]
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting += children.get(process, [])
    return found


def resident(process: int) -> int:
    """What a process holds, bytes; 0 where it has ended."""
    try:
        with open(f"/proc/{process}/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _high_mark(process: int) -> int:
    try:
        with open(f"/proc/{process}/status") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:")), 0)
    except (OSError, ValueError):
        return 0


def _parent(process: int) -> int:
    """The process that started another; -1 where that has ended. The name in parentheses may hold anything."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return -1
