"""The log as it is written: appended and brought to the disk, by one process at a time, and taken up after a kill.

Beside ``annotations.jsonl`` (``log.py``) lies ``calls.jsonl`` (``calls.py``). An answer counts once its line is on the
disk; lines that come together are brought there together.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rewardkit.annotate.calls import CALLS_FILE, Sent, read_calls
from rewardkit.annotate.log import LOG_FILE, Attempt, LogLine, is_whole, line_to_json, read_log
from rewardkit.errors import UserError

LOCK_FILE = ".lock"


class LogFile:
    """The log of one annotation, open for writing. Use as a context manager.

    Attributes:
        folder: Of the annotation.
        done: Ids of the requests that have a line.
        sent: Request to its calls in earlier runs, as ``read_calls`` gives them.

    Args:
        folder: Made if needed.

    Raises:
        UserError: Another process writes it.
        DataError: A line is damaged; names it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(folder / LOCK_FILE)
        self.done: set[str] = set()
        self.sent: dict[str, Sent] = {}
        self._files: dict[str, int] = {}
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._syncing: asyncio.Task[None] | None = None
        try:
            self._take_up()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LogFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def lines(self) -> Iterator[LogLine]:
        """The lines so far."""
        return read_log(self.folder)

    async def end(self, line: LogLine) -> None:
        """Appends the line of a request that came to an end; returns once it is on the disk."""
        await self._append(LOG_FILE, line_to_json(line))
        self.done.add(line.request)

    async def answered(self, request: str, attempt: int, answer: Attempt) -> None:
        """Appends an answer that has to be repaired; returns once it is on the disk."""
        await self._append(CALLS_FILE, _json({"request": request, "attempt": attempt, "answer": asdict(answer)}))

    def sending(self, request: str, attempt: int, annotator: str, tokens: tuple[int, int]) -> None:
        """Appends that a call goes out."""
        line = {"request": request, "attempt": attempt, "sent": now(), "annotator": annotator, "tokens": list(tokens)}
        self._write(CALLS_FILE, _json(line))

    def failed(self, request: str, attempt: int, why: str, *, charged: bool) -> None:
        """Appends that a call brought no answer."""
        line = {"request": request, "attempt": attempt, "failed": why, "charged": charged}
        self._write(CALLS_FILE, _json(line))

    def close(self) -> None:
        """Closes the files and lets others write."""
        for handle in self._files.values():
            os.close(handle)
        self._files.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_up(self) -> None:
        for name in (LOG_FILE, CALLS_FILE):
            path = self.folder / name
            self._files[name] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            _end_last_line(path)
        answers = {line.request: len(line.attempts) for line in self.lines()}
        self.done.update(answers)
        self.sent = read_calls(self.folder, answers)

    async def _append(self, name: str, text: str) -> None:
        self._write(name, text)  # at once: what is written outlives a kill of the process, not one of the machine
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((name, future))
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.create_task(self._sync())
        await future

    async def _sync(self) -> None:
        """Brings to the disk what waits for it, all of it in one go, until nothing waits."""
        while self._waiting:
            taken, self._waiting = self._waiting, []
            error: OSError | None = None
            try:
                await asyncio.to_thread(self._to_disk, {name for name, _ in taken})
            except OSError as failure:
                error = failure
            for _, future in taken:
                if not future.done():
                    future.set_exception(error) if error else future.set_result(None)

    def _write(self, name: str, text: str) -> None:
        data, handle = (text + "\n").encode("utf-8", "surrogatepass"), self._files[name]
        size = os.fstat(handle).st_size
        try:
            while data:
                data = data[os.write(handle, data) :]
        except OSError:  # a full disk: no half line may stay in the middle of the file
            os.ftruncate(handle, size)
            raise

    def _to_disk(self, names: set[str]) -> None:
        for name in names:
            os.fsync(self._files[name])


def now() -> str:
    """The time: UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _locked(file: Path) -> int:
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise UserError(f"another annotation is writing {file.parent}; wait for it, or give another out=") from None
    return handle


def _end_last_line(file: Path) -> None:
    """Takes a last line away that a kill cut off: its request is asked again. One that lacks its break alone stays."""
    with file.open("r+b") as opened:
        end = opened.seek(0, os.SEEK_END)
        keep, at = 0, end
        while at > 0 and not keep:
            start = max(0, at - 2**16)
            opened.seek(start)
            found = opened.read(at - start).rfind(b"\n")
            keep, at = (start + found + 1 if found >= 0 else 0), start
        if keep == end:
            return
        opened.seek(keep)
        if is_whole(opened.read()):
            opened.write(b"\n")
        else:
            opened.truncate(keep)
        opened.flush()
        os.fsync(opened.fileno())
