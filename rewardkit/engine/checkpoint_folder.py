"""The checkpoints of one run on disk: which there are, which can be trusted, how one appears and the oldest go.

::

    step-00000400.ckpt      a file (one writer), or a folder (each rank writes its part)
    step-00000800.ckpt
    last.ckpt, best.ckpt    links to two of them
    *.tmp                   being written, or left behind by a kill
    *.unreadable            set aside at a resume

A checkpoint appears under its name only when all of it is on the disk, and the ones before it stay until then.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rewardkit.engine.checkpoint_files import Written, check_archive, check_written
from rewardkit.errors import CheckpointError

CONTENTS = "files.json"
"""In a checkpoint that is a folder: who wrote it, and name, length and check sum of each of its files. Written last."""

LAST, BEST = "last.ckpt", "best.ckpt"
_NAME = re.compile(r"step-(\d{8,})\.ckpt")


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
        root: The run's ``checkpoints/``.
        keep: How many of the newest stay, the best one aside.
    """

    def __init__(self, root: Path, *, keep: int) -> None:
        assert keep >= 1
        self.root = root
        self.keep = keep

    def scratch(self, step: int) -> Path:
        """Where the checkpoint of a step is written before it takes its name."""
        return self.root / f"{name_of_step(step)}.tmp"

    def begin(self, step: int, *, unreadable: Mapping[Path, str]) -> None:
        """Makes the folder fit to be continued after ``step`` (0: at the start).

        What a kill left half written goes. Checkpoints of later steps go, or are set aside where they could not be
        read: after a kill, the run would otherwise go on from them with logs that were cut back.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        for path in unreadable:
            if path.exists():
                _replace(path, path.with_name(f"{path.name}.unreadable"))
        for path in self.root.glob("*.tmp"):
            _remove(path)
        for later in (s for s in steps_in(self.root) if s > step):
            _remove(self.root / name_of_step(later))
        for link in (self.root / LAST, self.root / BEST):
            if link.is_symlink() and not link.exists():
                link.unlink()
        _sync(self.root)

    def commit(self, step: int, *, best: bool) -> Path:
        """Gives the finished scratch of a step its name; then removes what is no longer kept.

        Args:
            step: The step that was written.
            best: Whether it is the best so far.
        """
        target = self.root / name_of_step(step)
        _replace(self.scratch(step), target)
        _link(self.root / LAST, target.name)
        if best:
            _link(self.root / BEST, target.name)
        _sync(self.root)
        kept = {name_of_step(s) for s in steps_in(self.root)[-self.keep :]}
        if (self.root / BEST).is_symlink():
            kept.add(os.readlink(self.root / BEST))
        for old in steps_in(self.root):
            if name_of_step(old) not in kept:
                _remove(self.root / name_of_step(old))
        return target

    def discard(self, step: int) -> None:
        """Removes the scratch of a step that could not be written: half a checkpoint on a full disk helps nobody."""
        _remove(self.scratch(step))


def name_of_step(step: int) -> str:
    """File name of a step's checkpoint."""
    return f"step-{step:08d}.ckpt"


def steps_in(root: Path) -> list[int]:
    """The steps that have a checkpoint, ascending; whether it can be read is another matter."""
    names = (_NAME.fullmatch(path.name) for path in root.iterdir()) if root.is_dir() else ()
    return sorted(int(match[1]) for match in names if match)


def newest_readable(root: Path) -> tuple[Path | None, dict[Path, str]]:
    """The newest checkpoint that is whole, and those newer ones that are not, each with the reason.

    Every byte of a checkpoint is read and compared with the check sums that were written with it.

    Raises:
        CheckpointError: There are checkpoints and none of them can be read.
    """
    unreadable: dict[Path, str] = {}
    for step in reversed(steps_in(root)):
        path = root / name_of_step(step)
        try:
            check_whole(path)
        except CheckpointError as error:
            unreadable[path] = str(error)
        else:
            return path, unreadable
    if unreadable:
        reasons = "\n".join(f"  {reason}" for reason in unreadable.values())
        raise CheckpointError(
            f"none of the checkpoints in {root} can be read:\n{reasons}\nStart a run of another name, or remove these "
            "files to start this one again."
        )
    return None, {}


def check_whole(path: Path) -> None:
    """Whether a checkpoint is as it was written.

    Raises:
        CheckpointError: It is not, or there is none.
    """
    if not path.is_dir():
        check_archive(path)
        return
    for name, expected in read_contents(path).files.items():
        check_written(path / name, expected)


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a checkpoint that is a folder.

    Attributes:
        step: The optimiser step.
        layout: How tensors are spread over the files: ``zero1``, ``zero2``, ``zero3`` or ``fsdp``.
        ranks: How many ranks wrote it.
        files: Name to length and check sum.
    """

    step: int
    layout: str
    ranks: int
    files: Mapping[str, Written]


def write_contents(folder: Path, contents: Contents) -> None:
    """Writes what is in a folder, and makes the folder durable."""
    files = {name: [w.bytes, w.crc32] for name, w in sorted(contents.files.items())}
    record = {"step": contents.step, "layout": contents.layout, "ranks": contents.ranks, "files": files}
    with (folder / CONTENTS).open("w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    for inner in {folder, *((folder / name).parent for name in files)}:
        _sync(inner)


def read_contents(folder: Path) -> Contents:
    """What is in a folder.

    Raises:
        CheckpointError: It does not say, or cannot be read.
    """
    try:
        record = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        files = {name: Written(int(length), int(crc)) for name, (length, crc) in record["files"].items()}
        return Contents(int(record["step"]), str(record["layout"]), int(record["ranks"]), files)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{folder} is no checkpoint of a run: it has no {CONTENTS}") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{folder / CONTENTS} cannot be read: {error}") from None


def _replace(source: Path, target: Path) -> None:
    """Renames; a folder that is in the way is removed first, a file or link is replaced."""
    if target.is_dir() and not target.is_symlink():
        _remove(target)
    os.replace(source, target)


def _remove(path: Path) -> None:
    """Removes a file or folder; a folder loses its name first, so that half of one is never taken for a checkpoint."""
    if path.is_dir() and not path.is_symlink():
        doomed = path.with_name(f".{path.name}.removed.tmp")
        os.replace(path, doomed)
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)


def _link(link: Path, name: str) -> None:
    """Points a link at a checkpoint beside it; there is always an old or a new one."""
    scratch = link.with_name(f"{link.name}.tmp")
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(name)
    os.replace(scratch, link)


def _sync(folder: Path) -> None:
    """Makes names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
