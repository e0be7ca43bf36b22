"""Micro-batches of questions for evaluators: read and decode on loader workers, rows made by the model's own maker.

Images are handed on at their full size, decoded once; the model's processor brings them to its budget of pixels. No row
is ever cut: one that is too long makes its group a bad sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from rewardkit.data.augment import Augmentation
from rewardkit.data.batch import Batch, EvaluatedGroup, QuestionRowsBatch
from rewardkit.data.collate import EmptyPlace, denominators, single_comparison
from rewardkit.data.group import Group
from rewardkit.data.group_labels import GroupLabels, LabelSpace, join_labels, labels_of, no_labels
from rewardkit.data.images import decode_image
from rewardkit.data.index_rows import captions_of
from rewardkit.data.micro_batches import MicroBatch
from rewardkit.data.mixture import Mixture
from rewardkit.data.question_labels import (
    Answered,
    asked_in_evaluation,
    asked_in_training,
    with_dimensions,
)
from rewardkit.data.questions import QuestionSet
from rewardkit.data.stream import Failure, bad_place, evaluated_group
from rewardkit.errors import BadSample, RewardkitError

DUMMY_SIDE = 56
"""Side of the black image in the place of a bad sample, pixels: two cells of a Qwen-VL, whose least is one."""


class RowMaker(Protocol):
    """Makes rows of tokens of questions; ``rewardkit.models.mllm.rows.QuestionRows`` is one.

    Attributes:
        questions: The set that it asks.
        style: ``characters``, or ``published``, in which a written answer keeps the options from being scored.
        pad_id: Fills up rows of tokens; no text holds it.
    """

    questions: QuestionSet
    style: Any
    pad_id: int

    def read(
        self, image: Tensor, prompt: str, asked: Mapping[str, Answered], slots: Mapping[str, Any] | None = None
    ) -> Any:
        """All questions of one image, uint8 ``[3, h, w]``; raises BadSample."""
        ...

    def caption(self, text: str) -> list[int]:
        """The tokens of a caption; raises BadSample."""
        ...

    def collate(self, images: Sequence[Any]) -> QuestionRowsBatch:
        """What ``read`` made of several images, as one batch."""
        ...


@dataclass(frozen=True, slots=True)
class ReadGroup:
    """A group with the rows of its candidates.

    Attributes:
        position: In the data set.
        rows: What ``RowMaker.read`` made of each candidate.
        captions: Tokens of each candidate's caption; empty where there are none, or none are learned.
        labels: Of the dimensions that it is asked about.
        evaluated: In an evaluation, what travels along.
    """

    position: int
    key: str
    prompt: str
    rows: list[Any]
    captions: list[list[int]]
    labels: GroupLabels
    evaluated: EvaluatedGroup | None


class QuestionDataset(Dataset[Batch]):
    """Reads the groups of a micro-batch and asks its questions of them; runs on loader workers.

    Args:
        mixture: The data.
        rows: The model's.
        space: The model's dimensions.
        evaluation: Whether all questions that apply are asked, and the records travel along.
        rationales: Whether rationales are learned behind answers.
        augmentation: Of training pictures; None shows them as they are.
    """

    def __init__(
        self,
        mixture: Mixture,
        *,
        rows: RowMaker,
        space: LabelSpace,
        evaluation: bool = False,
        rationales: bool = False,
        augmentation: Augmentation | None = None,
    ) -> None:
        self._mixture = mixture
        self._rows = rows
        self._space = space
        self._evaluation = evaluation
        self._rationales = rationales
        self._augmentation = augmentation
        self._dummy: Any = None

    def __getitems__(self, micro: MicroBatch) -> Batch | Failure:
        """The batch of a ``MicroBatch``."""
        self._mixture.expect(int(at) for at in micro.positions if at >= 0)
        try:
            places = [self._place(micro, n) for n in range(len(micro.positions))]
            return self._join(places, micro)
        except RewardkitError as error:
            return Failure(error)

    def _join(self, places: Sequence[ReadGroup | EmptyPlace], micro: MicroBatch) -> Batch:
        read = [place for place in places if isinstance(place, ReadGroup)]
        empty = [place for place in places if isinstance(place, EmptyPlace)]
        sizes = [len(group.rows) for group in read] + [1] * len(empty)
        candidates = sum(sizes)
        rows = [row for group in read for row in group.rows] + [self._dummy_rows() for _ in empty]
        caption_tokens, caption = self._captions(read, candidates)
        return Batch(
            pixels=torch.empty(candidates, 3, 0, 0, dtype=torch.uint8),
            valid=torch.tensor([True] * (candidates - len(empty)) + [False] * len(empty)),
            group=torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
            tokens=torch.zeros(len(sizes), 1, dtype=torch.int64),
            **join_labels([*(group.labels for group in read), no_labels(len(empty), self._space)]),
            caption_tokens=caption_tokens,
            caption=caption,
            denominators=denominators(micro.counts),
            keys=[group.key for group in read] + [place.bad.key if place.bad else "" for place in empty],
            prompts=[group.prompt for group in read] + [""] * len(empty),
            positions=torch.tensor([group.position for group in read] + [place.position for place in empty]),
            bad=[place.bad for place in empty if place.bad],
            records=[group.evaluated for group in read if group.evaluated],
            questions=self._rows.collate(rows),
        )

    def _place(self, micro: MicroBatch, n: int) -> ReadGroup | EmptyPlace:
        position = int(micro.positions[n])
        if position < 0:
            return EmptyPlace()
        try:
            sample = self._mixture.sample(position)
            group, images = sample.group, sample.images
            if micro.numbers is not None and micro.swapped is not None:
                group, kept = single_comparison(group, int(micro.numbers[n]), swapped=bool(micro.swapped[n]))
                images = [images[k] for k in kept]
            if micro.asked is not None:
                group = with_dimensions(group, self._space, set(micro.asked[n].nonzero()[0].tolist()))
            return self._read(position, sample.key, group, images, micro.epoch)
        except BadSample as error:
            return bad_place(self._mixture, position, error.reason)

    def _read(self, position: int, key: str, group: Group, images: Sequence[bytes], epoch: int | None) -> ReadGroup:
        rows = []
        for number, asked in enumerate(self._asked(group)):
            try:
                image = self._augmented(decode_image(images[number]), group, epoch, position)
                rows.append(self._rows.read(image, group.prompt, asked, group.slots))
            except BadSample as error:
                raise BadSample(f"{group.candidates[number].file}: {error.reason}") from error
        captions = [self._rows.caption(text) for text in captions_of(group)] if self._space.captions else []
        evaluated = evaluated_group(self._mixture, position, key, group) if self._evaluation else None
        return ReadGroup(position, key, group.prompt, rows, captions, labels_of(group, self._space), evaluated)

    def _captions(self, read: Sequence[ReadGroup], candidates: int) -> tuple[Tensor, Tensor]:
        """Distinct captions' tokens ``[C, L]`` and each candidate's row of them ``[N]``, -1 without a caption.

        Where captions are learned and there is none, C is 1, a text without tokens that is nobody's, so that all ranks
        do the same (``rewardkit/data/collate.py``).
        """
        distinct: dict[tuple[int, ...], int] = {}
        caption: list[int] = []
        for group in read:
            own = [distinct.setdefault(tuple(ids), len(distinct)) for ids in group.captions]
            caption += own or [-1] * len(group.rows)
        caption += [-1] * (candidates - len(caption))
        texts = (list(distinct) or [()]) if self._space.captions else []
        longest = max([1, *map(len, texts)])
        filled = [
            F.pad(torch.tensor(ids, dtype=torch.int64), (0, longest - len(ids)), value=self._rows.pad_id)
            for ids in texts
        ]
        return torch.stack(filled) if filled else torch.zeros(0, 1, dtype=torch.int64), torch.tensor(caption)

    def _asked(self, group: Group) -> list[dict[str, Answered]]:
        """The questions of each candidate."""
        questions, rationales = self._rows.questions, self._rationales
        if not self._evaluation:
            return asked_in_training(group, questions, self._space, rationales=rationales)
        said = self._rows.style != "published"
        return asked_in_evaluation(group, questions, self._space, said=said, rationales=rationales)

    def _augmented(self, image: Tensor, group: Group, epoch: int | None, position: int) -> Tensor:
        if self._augmentation is None or epoch is None:
            return image
        return self._augmentation(image.unsqueeze(0), group, epoch=epoch, position=position).squeeze(0)

    def _dummy_rows(self) -> Any:
        """The rows of a black image that is asked one question, without a label."""
        if self._dummy is None:
            question = min(self._rows.questions.questions, key=lambda question: question.slot is not None)
            slots = {} if question.slot is None else {question.slot: "nothing"}
            black = torch.zeros(3, DUMMY_SIDE, DUMMY_SIDE, dtype=torch.uint8)
            self._dummy = self._rows.read(black, "", {question.key: Answered()}, slots)
        return self._dummy
