"""What a benchmark has scored so far, on disk, so that nothing is scored twice: a log of lines for each reward.

::

    OUT/state/generators.json       name of each generator that was ever scored here -> its folder
    OUT/state/rewards/DIGEST.jsonl  a line for each scored image of the reward (or evaluator) with this digest

A line is written as soon as its batch is scored, so a kill loses the batch at most; a line that was cut off is not
read. An image counts as scored where a line has its generator, file, size, time and prompt; where the time alone
differs, its sha256 decides. The digest stands for all that a score follows from but image and prompt: weights, scale,
questions, way of answering.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardkit.benchmark.images import ImageFile
from rewardkit.benchmark.prompts import Prompt
from rewardkit.errors import UserError

STATE = "state"


@dataclass(frozen=True, slots=True)
class Line:
    """An image that was scored under a text.

    Attributes:
        generator: Name.
        image: Its file as it was then.
        sha256: Of the file.
        text: ``text_digest`` of the prompt.
        scores: Of each dimension; None where the reward says nothing.
        answers: Of an evaluator: its answers as plain values.
        error: Why this reward cannot judge the image, where it cannot.
    """

    generator: str
    image: ImageFile
    sha256: str
    text: str
    scores: Sequence[float | None]
    answers: Sequence[Mapping[str, Any]] = ()
    error: str = ""

    def as_text(self) -> str:
        """As it stands in the log."""
        record = {
            "generator": self.generator,
            "file": self.image.file,
            "size": self.image.size,
            "mtime": self.image.mtime,
            "sha256": self.sha256,
            "text": self.text,
            "scores": list(self.scores),
            **({"answers": list(self.answers)} if self.answers else {}),
            **({"error": self.error} if self.error else {}),
        }
        return json.dumps(record, ensure_ascii=False) + "\n"

    @classmethod
    def of_text(cls, text: str) -> Line:
        """Reads what ``as_text`` wrote; raises ValueError or KeyError where it was cut off."""
        record = json.loads(text)
        image = ImageFile(record["file"], record["size"], record["mtime"])
        return cls(
            record["generator"], image, record["sha256"], record["text"], record["scores"],
            record.get("answers", ()), record.get("error", ""),
        )  # fmt: skip


class ScoreLog:
    """The log of one reward.

    Args:
        folder: The benchmark's.
        made_with: What its scores follow from, as plain values; another ``made_with`` is another log.
        writes: Whether the file may be changed.
    """

    def __init__(self, folder: Path, made_with: Sequence[Any], *, writes: bool = True) -> None:
        self._writes = writes
        digest = hashlib.sha256(json.dumps(list(made_with), sort_keys=True, default=str).encode()).hexdigest()
        self.path = folder / STATE / "rewards" / f"{digest[:24]}.jsonl"
        self._lines: dict[tuple[str, str, str], Line] = {}
        for line in _read(self.path, mend=writes):
            self._lines[line.generator, line.image.file, line.text] = line

    def __len__(self) -> int:
        return len(self._lines)

    def find(self, generator: str, image: ImageFile, text: str, folder: Path | None) -> Line | None:
        """The line of an image under a text, where it was scored as it is now.

        Args:
            generator: Its name.
            image: The file.
            text: ``text_digest`` of the prompt.
            folder: The generator's, where the file can be read again if its time alone differs; None: it is gone.
        """
        line = self._lines.get((generator, image.file, text))
        if line is None or line.image.size != image.size:
            return None
        if line.image.mtime == image.mtime or folder is None:
            return line
        try:
            with (folder / image.file).open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == line.sha256
        except OSError:
            return None
        if same and self._writes:
            self.add([Line(generator, image, line.sha256, text, line.scores, line.answers, line.error)])
        return line if same else None

    def images_of(self, generator: str) -> list[ImageFile]:
        """The files of a generator that were ever scored, as they were when it was last."""
        return list({file: line.image for (name, file, _), line in self._lines.items() if name == generator}.values())

    def add(self, lines: Sequence[Line]) -> None:
        """Writes lines; they are in the file when this returns."""
        assert self._writes, "a log that is only looked at"
        if not lines:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write("".join(line.as_text() for line in lines).encode())
        for line in lines:
            self._lines[line.generator, line.image.file, line.text] = line


def text_digest(prompt: Prompt, text: str, questions: Sequence[str] = ()) -> str:
    """Of all that an image is scored under: the text, its slots, and the questions that are asked."""
    record = [text, dict(prompt.slots) if questions else {}, list(questions)]
    return hashlib.sha256(json.dumps(record, sort_keys=True, ensure_ascii=False).encode("utf-8")).hexdigest()[:24]


def remembered(folder: Path) -> dict[str, Path]:
    """Generators that were scored here before, with their folders."""
    path = folder / STATE / "generators.json"
    if not path.is_file():
        return {}
    try:
        return {name: Path(at) for name, at in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError):
        raise UserError(f"{path} is damaged; delete it (no score is lost) and run the command again") from None


def remember(folder: Path, generators: Mapping[str, Path]) -> None:
    """Keeps the generators for later runs."""
    path = folder / STATE / "generators.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    record = {name: str(at) for name, at in generators.items()}
    scratch.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    os.replace(scratch, path)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps a second benchmark from writing to the same folder.

    Raises:
        UserError: One is at work there.
    """
    path = folder / STATE / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            # Not flock: workers that outlive a killed benchmark by seconds would hold that on.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise UserError(f"another benchmark is writing to {folder}; wait for it, or choose another out=") from None
        yield


def _read(path: Path, *, mend: bool) -> Iterator[Line]:
    """The lines of a log; a last one that was cut off is taken out of the file, where that may be mended."""
    if not path.is_file():
        return
    whole = 0
    with path.open("rb") as file:
        for text in file:
            if not text.endswith(b"\n"):
                break
            try:
                yield Line.of_text(text.decode())
            except (ValueError, KeyError, TypeError):
                raise UserError(
                    f"{path} is damaged behind byte {whole}; delete the file to score this reward again"
                ) from None
            whole += len(text)
    if mend and whole < path.stat().st_size:
        os.truncate(path, whole)
