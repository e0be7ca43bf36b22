"""The one cache: folders keyed by what made them; bounded, safe to share between processes, safe to delete.

An entry appears under its name in one step, when it is whole. Processes that want the same entry at once, as the
trials of a sweep do, wait for the one that makes it. Entries of a kind are removed, the longest unused first, where the
kind grows above its bound; those used within the last day are kept, since a run may be reading them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from rewardkit.errors import UserError

DEFAULT_MAX_BYTES = 20 * 10**9
KEPT_SECONDS = 24 * 3600
"""An entry used less long ago than this is never removed."""


def cache_root(folder: str | os.PathLike[str] | None = None) -> Path:
    """The cache's folder: the one given, else the user's cache folder of the operating system."""
    return Path(folder).expanduser() if folder else Path(platformdirs.user_cache_dir("rewardkit", appauthor=False))


def cache_folder(
    root: Path, kind: str, digest: str, make: Callable[[Path], None], *, max_bytes: int = DEFAULT_MAX_BYTES
) -> Path:
    """The entry ``root/kind/digest``; made first if it is not there.

    Of processes that want the same entry at once, one makes it and the others wait; where it dies, the next one makes
    it. On file systems without locks each makes it, and the first to finish is kept.

    Args:
        root: See ``cache_root``.
        kind: What it is, for example ``embedded``.
        digest: Identifies all that the content follows from.
        make: Fills an empty folder.
        max_bytes: Bound of all entries of the kind.

    Raises:
        UserError: The cache cannot be written.
    """
    entry = root / kind / digest
    try:
        if not entry.is_dir():
            (root / kind).mkdir(parents=True, exist_ok=True)
            with _alone(root / kind / f".{digest}.lock"):
                if not entry.is_dir():  # else another process has made it meanwhile
                    _make(entry, make)
        os.utime(entry)
    except OSError as error:
        raise UserError(
            f"the cache {root} cannot be written ({error.strerror or error}); name another folder with cache.dir=…"
        ) from error
    prune(root / kind, max_bytes=max_bytes, now=time.time())
    return entry


def prune(folder: Path, *, max_bytes: int, now: float) -> list[Path]:
    """Removes the longest unused entries of a kind until the rest fits; returns what was removed.

    Args:
        folder: ``root/kind``.
        max_bytes: Bound of all entries together.
        now: Seconds since the epoch.
    """
    entries = []
    for path in folder.iterdir():
        try:
            entries.append((path.stat().st_mtime, _size(path), path))
        except FileNotFoundError:
            continue  # another process has removed it
    total = sum(size for _, size, _ in entries)
    removed = []
    for used, size, path in sorted(entries):
        left_behind = path.name.startswith(".")  # by a process that was killed while making it
        if now - used < KEPT_SECONDS or not (total > max_bytes or left_behind):
            continue
        shutil.rmtree(path, ignore_errors=True)
        total -= size
        removed.append(path)
    return removed


def _make(entry: Path, make: Callable[[Path], None]) -> None:
    """Makes an entry beside its name and puts it there."""
    part = Path(tempfile.mkdtemp(prefix=f".{entry.name[:16]}-", dir=entry.parent))
    try:
        make(part)
        part.chmod(0o755)
        _publish(part, entry)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds a lock while inside, of a file that is there only as long; without locks, does nothing.

    The file goes before the lock does. Who waited for it then holds the lock of a file without a name, and finds the
    entry made; who comes later finds the entry, or makes a new file.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path, "ab") as file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _publish(part: Path, entry: Path) -> None:
    try:
        os.rename(part, entry)
    except OSError:
        if not entry.is_dir():  # else another process was first
            raise


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
