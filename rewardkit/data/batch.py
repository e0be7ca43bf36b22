"""The batch: ragged and flat, so that no image and no prompt is encoded twice."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

import torch
from torch import Tensor

from rewardkit.data.bad_samples import BadReport
from rewardkit.data.group import Group

if TYPE_CHECKING:
    from rewardkit.data.predictions import ImagePlace


class Tokenizer(Protocol):
    """Turns texts into token ids; every model brings its own."""

    pad_id: int
    """The id that fills the rows behind the end of a text."""

    def __call__(self, texts: list[str]) -> Tensor:
        """Returns int64 ``[len(texts), context_length]``, cut to the context length, padded with ``pad_id``."""
        ...


class QuestionRowsBatch(Protocol):
    """An evaluator's questions as rows of tokens; ``rewardkit.models.mllm.batch.QuestionBatch`` is one."""

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """With every tensor moved, as ``Tensor.to`` moves one."""
        ...

    def pin_memory(self) -> Self:
        """With every tensor in pinned memory."""
        ...


@dataclass(slots=True)
class Denominators:
    """Valid labels of each kind in the whole optimiser step, over all ranks and micro-batches.

    Known from the index before the first forward; the same on every rank, so accumulation, ranks and sparse labels
    never rescale a gradient.

    Attributes:
        comparisons: Sum of comparison weights per model dimension, float ``[D]``.
        groups: Groups with at least one comparison on the dimension, float ``[D]``.
        decided: Sum of weights of the comparisons that prefer one candidate (neither a tie nor as many votes for each
            side; ``comparisons.is_decided``), float ``[D]``.
        decided_groups: Groups with at least one such comparison on the dimension, float ``[D]``.
        rankings: Rankings per dimension (``comparisons.rankings_to_learn``), float ``[D]``.
        ratings: Candidates with at least one numeric answer per dimension, float ``[D]``.
        captions: Candidates that carry a caption of their own, float ``[]``.
        options: Questions of candidates that somebody answered with one of their options, N/A too, per dimension, float
            ``[D]``. 0 where the model asks no questions.
        answers: Questions of candidates with an answer to write, float ``[]``; likewise.
    """

    comparisons: Tensor
    groups: Tensor
    decided: Tensor
    decided_groups: Tensor
    rankings: Tensor
    ratings: Tensor
    captions: Tensor
    options: Tensor
    answers: Tensor


@dataclass(frozen=True, slots=True)
class EvaluatedGroup:
    """What an evaluation needs of a group beside its tensors.

    Attributes:
        group: The whole record.
        number: Its position in the data set.
        key: The sample's key.
        place: Where the sample lies.
    """

    group: Group
    number: int
    key: str
    place: ImagePlace


@dataclass(slots=True)
class Batch:
    """One micro-batch. N candidates, G groups, P comparisons, R rankings, A answers, C captions, D model dimensions.

    Attributes:
        pixels: uint8 ``[N, 3, H, W]``, every candidate once, not normalised.
        valid: bool ``[N]``; False where a bad sample left a masked dummy (its group has no labels).
        group: int64 ``[N]``, which prompt (row of ``tokens``) a candidate belongs to.
        tokens: int64 ``[G, L]``, every prompt once, cut to the longest of the batch.
        first: int64 ``[P]``, index into the candidates.
        second: int64 ``[P]``, index into the candidates.
        dimension: int64 ``[P]``, index into the model's dimensions.
        target: float32 ``[P, 3]``, shares of votes for first, tie, second; each row sums to 1.
        votes: float32 ``[P]``, number of votes behind the shares.
        weight: float32 ``[P]``.
        ranking_dimension: int64 ``[R]``.
        ranking_candidate: int64 ``[R, K]``, indices into the candidates, padded with -1.
        ranking_rank: float32 ``[R, K]``, 1 is best, equal ranks tie, padded with -1.
        answer_dimension: int64 ``[A]``; one row per candidate and dimension that anybody answered.
        answer_candidate: int64 ``[A]``.
        answer_target: float32 ``[A, O + 1]``, shares of the raters' answers over the scale's O levels and N/A (last).
        ratings: float32 ``[N, D]``, mean numeric answer, NaN where missing.
        caption_tokens: int64 ``[C, L']``, each distinct caption of the batch once; C is 0 where none is asked for.
        caption: int64 ``[N]``, the candidate's row of ``caption_tokens``, -1 where it has none.
        denominators: See ``Denominators``.
        keys: Sample keys, G of them. Groups that could be used come first, the dummies of bad samples last.
        prompts: Prompt texts, G of them.
        positions: int64 ``[G]``, the groups' positions in the loader's data (``PreferenceData.record``); -1 where a
            place is empty because another rank has one group more.
        bad: The samples of this micro-batch that could not be used.
        records: In an evaluation, the record of each row of ``tokens`` that is not a dummy; else empty.
        image_features: float32 ``[N, E]``, the image tower's output for every candidate (a dummy's row is 0), where it
            was computed beforehand; ``pixels`` are then ``[N, 3, 0, 0]``. None where the model encodes ``pixels``.
        text_features: float32 ``[G, E]``, the text tower's output for every prompt, likewise.
        questions: For an evaluator the questions of every candidate; its images stand in the order of the candidates.
            ``pixels`` are then ``[N, 3, 0, 0]`` and ``tokens`` zeros ``[G, 1]``. None for other models.
    """

    pixels: Tensor
    valid: Tensor
    group: Tensor
    tokens: Tensor
    first: Tensor
    second: Tensor
    dimension: Tensor
    target: Tensor
    votes: Tensor
    weight: Tensor
    ranking_dimension: Tensor
    ranking_candidate: Tensor
    ranking_rank: Tensor
    answer_dimension: Tensor
    answer_candidate: Tensor
    answer_target: Tensor
    ratings: Tensor
    caption_tokens: Tensor
    caption: Tensor
    denominators: Denominators
    keys: list[str]
    prompts: list[str]
    positions: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    bad: list[BadReport] = field(default_factory=list)
    records: list[EvaluatedGroup] = field(default_factory=list)
    image_features: Tensor | None = None
    text_features: Tensor | None = None
    questions: QuestionRowsBatch | None = None

    def to(self, *args: Any, **kwargs: Any) -> Batch:
        """The batch with every tensor moved, as ``Tensor.to`` moves one (Lightning calls this)."""
        return _moved(self, lambda held: held.to(*args, **kwargs))

    def pin_memory(self) -> Batch:
        """The batch with every tensor in pinned memory (the DataLoader calls this)."""
        return _moved(self, lambda held: held.pin_memory())


def _moved(record: Any, function: Any) -> Any:
    """Applies a function to every tensor of a dataclass and to its questions; to what its denominators hold, too."""
    changed = {}
    for item in fields(record):
        value = getattr(record, item.name)
        if isinstance(value, torch.Tensor):
            changed[item.name] = function(value)
        elif isinstance(value, Denominators):
            changed[item.name] = _moved(value, function)
        elif item.name == "questions" and value is not None:
            changed[item.name] = function(value)
    return replace(record, **changed)
