"""Reads images for scoring on loader workers: file, digest, pixels or an evaluator's rows, a batch at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rewardkit.benchmark.images import ImageFile
from rewardkit.data.images import ImageTransform, decode_image, resize_uint8
from rewardkit.data.stream import leave_signals_alone
from rewardkit.errors import BadSample
from rewardkit.models.mllm.batch import QuestionBatch
from rewardkit.models.mllm.rows import QuestionRows


@dataclass(frozen=True, slots=True)
class Wanted:
    """A text that an image is to be scored under.

    Attributes:
        text: The prompt, or the appended one.
        digest: ``text_digest`` of it.
        slots: Of the prompt.
        asked: Of an evaluator: keys of the questions.
    """

    text: str
    digest: str
    slots: Mapping[str, Any] = field(default_factory=dict)
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """An image to be scored.

    Attributes:
        generator: Name of the text-to-image model.
        folder: Its folder.
        image: The file.
        wanted: The texts.
    """

    generator: str
    folder: Path
    image: ImageFile
    wanted: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An image as a worker read it.

    Attributes:
        task: What was to be read.
        image: The file as it was then.
        sha256: Of its bytes.
        problem: Why it cannot be read, or "".
        refused: Why the model cannot take it under a text, for each text; "" where it can.
    """

    task: Task
    image: ImageFile
    sha256: str = ""
    problem: str = ""
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """Images that are scored together.

    Attributes:
        images: All, also those that cannot be read.
        rows: Image (its place in ``images``) and text (its place in ``wanted``) of each score that the batch gives.
        places: For each row: the place of its image in ``pixels``; of an evaluator, which reads a row for each text,
            the row itself.
        pixels: uint8 ``[n, 3, S, S]`` of the readable images; None where there is none.
        questions: The same for an evaluator.
    """

    images: list[ReadImage]
    rows: list[tuple[int, int]]
    places: list[int]
    pixels: Tensor | None = None
    questions: QuestionBatch | None = None


class Reader(Protocol):
    """Makes a batch of tasks; runs on workers."""

    def __call__(self, tasks: Sequence[Task]) -> ReadBatch:
        """One batch."""
        ...


@dataclass(frozen=True, slots=True)
class PixelReader:
    """For towers: each image once, at the model's size."""

    transform: ImageTransform

    def __call__(self, tasks: Sequence[Task]) -> ReadBatch:
        """See ``Reader``."""
        images: list[ReadImage] = []
        pixels: list[Tensor] = []
        rows: list[tuple[int, int]] = []
        places: list[int] = []
        for n, task in enumerate(tasks):
            read, decoded = _open(task, decode=self.transform.decode, size=self.transform.size)
            images.append(read)
            if decoded is not None:
                rows += [(n, text) for text in range(len(task.wanted))]
                places += [len(pixels)] * len(task.wanted)
                pixels.append(resize_uint8(decoded, self.transform))
        return ReadBatch(images, rows, places, pixels=torch.stack(pixels) if pixels else None)


@dataclass(frozen=True, slots=True)
class RowReader:
    """For evaluators: the rows of an image's questions, for each text."""

    rows: QuestionRows

    def __call__(self, tasks: Sequence[Task]) -> ReadBatch:
        """See ``Reader``."""
        images, made, rows = [], [], []
        for n, task in enumerate(tasks):
            read, decoded = _open(task)
            refused = []
            for text, wanted in enumerate(task.wanted if decoded is not None else ()):
                asked = [self.rows.questions[key] for key in wanted.asked]
                try:
                    made.append(self.rows.read(decoded, wanted.text, asked, wanted.slots))  # type: ignore[arg-type]
                    rows.append((n, text))
                    refused.append("")
                except BadSample as error:
                    refused.append(error.reason)
            images.append(ReadImage(task, read.image, read.sha256, read.problem, tuple(refused)))
        questions = self.rows.collate(made) if made else None
        return ReadBatch(images, rows, list(range(len(rows))), questions=questions)


def read_batches(tasks: Sequence[Task], reader: Reader, *, batch_size: int, workers: int) -> Iterator[ReadBatch]:
    """The batches of all tasks, in their order.

    Args:
        tasks: What to read.
        reader: How.
        batch_size: Images at a time.
        workers: Processes that decode; 0 decodes in this one.
    """
    loader: DataLoader[Any] = DataLoader(
        _Batches(tasks, reader),
        batch_size=batch_size,
        collate_fn=_as_it_is,
        num_workers=min(workers, -(-len(tasks) // batch_size)),
        worker_init_fn=leave_signals_alone,
    )
    yield from loader


class _Batches(Dataset[ReadBatch]):
    def __init__(self, tasks: Sequence[Task], reader: Reader) -> None:
        self._tasks = tasks
        self._reader = reader

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitems__(self, places: list[int]) -> ReadBatch:
        return self._reader([self._tasks[place] for place in places])


def _open(task: Task, **how: Any) -> tuple[ReadImage, Tensor | None]:
    """An image file and its pixels uint8 ``[3, H, W]``, or what is wrong with it."""
    try:
        with (task.folder / task.image.file).open("rb") as file:
            about = os.fstat(file.fileno())
            data = file.read()
    except OSError as error:
        return ReadImage(task, task.image, problem=f"cannot be read: {error.strerror or error}"), None
    image = ImageFile(task.image.file, len(data), about.st_mtime_ns)
    try:
        return ReadImage(task, image, hashlib.sha256(data).hexdigest()), decode_image(data, **how)
    except BadSample as error:
        return ReadImage(task, image, problem=error.reason), None


def _as_it_is(batch: Any) -> Any:
    return batch
