"""The rows of questions of several images as tensors: every image once, a row of tokens for each question of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Side = Literal["left", "right"]


@dataclass(slots=True)
class Row:
    """One row of tokens, before padding.

    Attributes:
        ids: Prompt and answer.
        prompt: How many of them are the prompt.
        score: Place of the score token; -1 in the published form, which has none.
        supervised: How many tokens of the answer are predicted.
        label: Whether the answer is what somebody said (to learn), not one of all that are scored.
        column: The option that the answer spells, where all options are scored; else -1.
        asked: Which question of the image.
    """

    ids: list[int]
    prompt: int
    score: int
    supervised: int
    label: bool
    column: int
    asked: int


@dataclass(slots=True)
class AskedQuestion:
    """One question of one image.

    Attributes:
        question: Its place in the set.
        dimension: Its dimension's place in the model's.
        tokens: Token of each column's character, N/A last; -1 where there is no such column.
        values: What each column but N/A is worth.
        target: Shares of the answers, one for each column, N/A last; zeros where nobody answered.
    """

    question: int
    dimension: int
    tokens: list[int]
    values: list[float]
    target: list[float]


@dataclass(slots=True)
class ImageRows:
    """All questions of one image: what a worker makes of a candidate.

    Attributes:
        image: What the image processor made of it.
        image_tokens: Places of the image in each row.
        shared: Tokens that all rows begin with, the image among them; no row's heads read one of them.
        asked: The questions.
        rows: Their rows.
    """

    image: dict[str, Tensor]
    image_tokens: int
    shared: int
    asked: list[AskedQuestion]
    rows: list[Row]


@dataclass(slots=True)
class QuestionBatch:
    """A micro-batch. N images, A questions asked, R rows of L tokens, T predicted tokens of answers, O options.

    R = A, but in the published form each option of a question to score is a row.

    Attributes:
        images: The image processor's tensors, every image once.
        image_tokens: int64 ``[N]``, places of each image in a row.
        shared: int64 ``[N]``, tokens that all rows of an image begin with.
        asked_image: int64 ``[A]``.
        asked_question: int64 ``[A]``, place in the question set.
        asked_dimension: int64 ``[A]``, place in the model's dimensions.
        option_token: int64 ``[A, O + 1]``, N/A last; -1 where a question has no such column.
        option_value: float32 ``[A, O]``, NaN where a question has no such column.
        option_target: float32 ``[A, O + 1]``, shares of the answers; a row of zeros where nobody answered.
        input_ids: int64 ``[R, L]``.
        attention_mask: int64 ``[R, L]``, 0 on padding.
        mm_token_type_ids: int64 ``[R, L]``, 1 on the image. Without it a Qwen-VL takes wrong positions silently.
        row_asked: int64 ``[R]``.
        row_column: int64 ``[R]``, the option that a row spells in the published form, else -1.
        last_prompt: int64 ``[R]``, place of the prompt's last token, which predicts the answer.
        score_place: int64 ``[R]``, place of the score token; -1 where there is none.
        answer_row: int64 ``[T]``.
        answer_place: int64 ``[T]``, place of the token that predicts it.
        answer_token: int64 ``[T]``, the token of the answer.
        answer_label: bool ``[T]``, whether it is to be learned.
    """

    images: dict[str, Tensor]
    image_tokens: Tensor
    shared: Tensor
    asked_image: Tensor
    asked_question: Tensor
    asked_dimension: Tensor
    option_token: Tensor
    option_value: Tensor
    option_target: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    mm_token_type_ids: Tensor
    row_asked: Tensor
    row_column: Tensor
    last_prompt: Tensor
    score_place: Tensor
    answer_row: Tensor
    answer_place: Tensor
    answer_token: Tensor
    answer_label: Tensor

    @property
    def row_image(self) -> Tensor:
        """int64 ``[R]``, the image of each row."""
        return self.asked_image[self.row_asked]

    def to(self, *args: Any, **kwargs: Any) -> QuestionBatch:
        """The batch with every tensor moved, as ``Tensor.to`` moves one; kinds of numbers stay what they are."""
        moved = {f.name: v.to(*args, **kwargs) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, images={k: v.to(*args, **kwargs) for k, v in self.images.items()}, **moved)

    def pin_memory(self) -> QuestionBatch:
        """The batch with every tensor in pinned memory (the DataLoader calls this)."""
        moved = {f.name: v.pin_memory() for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, images={k: v.pin_memory() for k, v in self.images.items()}, **moved)


def collate_rows(
    images: Sequence[ImageRows], *, pad_id: int, image_token_id: int, padding_side: Side = "right"
) -> QuestionBatch:
    """Several images' rows as one batch.

    Args:
        images: One or more.
        pad_id: Fills rows up to the longest.
        image_token_id: The token of the image's places.
        padding_side: Either gives the same numbers; ``generate`` needs ``left``.
    """
    rows = [(n, row) for n, image in enumerate(images) for row in image.rows]
    first_asked = [sum(len(image.asked) for image in images[:n]) for n in range(len(images))]
    asked = [question for image in images for question in image.asked]
    length = max(len(row.ids) for _, row in rows)
    gap = [length - len(row.ids) if padding_side == "left" else 0 for _, row in rows]
    ids = torch.full((len(rows), length), pad_id)
    mask = torch.zeros(len(rows), length, dtype=torch.int64)
    for r, (_, row) in enumerate(rows):
        ids[r, gap[r] : gap[r] + len(row.ids)] = torch.tensor(row.ids)
        mask[r, gap[r] : gap[r] + len(row.ids)] = 1
    answers = [
        (r, gap[r] + row.prompt - 1 + t, row.ids[row.prompt + t], row.label)
        for r, (_, row) in enumerate(rows)
        for t in range(row.supervised)
    ]
    options = max(len(question.values) for question in asked)
    answer_row, answer_place, answer_token, answer_label = zip(*answers, strict=True) if answers else ((), (), (), ())
    return QuestionBatch(
        images=_collate_images([image.image for image in images]),
        image_tokens=_integers(image.image_tokens for image in images),
        shared=_integers(image.shared for image in images),
        asked_image=_integers(n for n, image in enumerate(images) for _ in image.asked),
        asked_question=_integers(question.question for question in asked),
        asked_dimension=_integers(question.dimension for question in asked),
        option_token=torch.stack([_columns(q.tokens, options, -1) for q in asked]).long(),
        option_value=torch.stack(
            [F.pad(torch.tensor(q.values), (0, options - len(q.values)), value=float("nan")) for q in asked]
        ),
        option_target=torch.stack([_columns(q.target, options, 0.0) for q in asked]).float(),
        input_ids=ids,
        attention_mask=mask,
        mm_token_type_ids=(ids == image_token_id).long() * mask,
        row_asked=_integers(first_asked[n] + row.asked for n, row in rows),
        row_column=_integers(
            options if row.column == len(images[n].asked[row.asked].values) else row.column for n, row in rows
        ),
        last_prompt=_integers(gap[r] + row.prompt - 1 for r, (_, row) in enumerate(rows)),
        score_place=_integers(gap[r] + row.score if row.score >= 0 else -1 for r, (_, row) in enumerate(rows)),
        answer_row=_integers(answer_row),
        answer_place=_integers(answer_place),
        answer_token=_integers(answer_token),
        answer_label=torch.tensor(answer_label, dtype=torch.bool),
    )


def _integers(values: Any) -> Tensor:
    return torch.tensor(list(values), dtype=torch.int64)


def _columns(values: Sequence[float], options: int, fill: float) -> Tensor:
    """Columns of a question with N/A last, spread over ``options + 1``, N/A last."""
    return torch.tensor([*values[:-1], *[fill] * (options + 1 - len(values)), values[-1]])


def _collate_images(images: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors of several images behind each other; where one has fewer parts than another, zeros fill it up."""
    found = {}
    for name in images[0]:
        tensors = [image[name] for image in images]
        sizes = [max(t.shape[axis] for t in tensors) for axis in range(1, tensors[0].ndim)]
        padded = []
        for tensor in tensors:
            pads = [n for axis in reversed(range(1, tensor.ndim)) for n in (0, sizes[axis - 1] - tensor.shape[axis])]
            padded.append(F.pad(tensor, pads) if any(pads) else tensor)
        found[name] = torch.cat(padded)
    return found
