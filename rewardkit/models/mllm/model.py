"""The multi-head evaluator: an image-text-to-text model, a score token, and heads for each dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rewardkit.errors import BadSample, UserError
from rewardkit.models.freezing import LayerGroup, Tower
from rewardkit.models.mllm.alignment import pooled_images, pooled_texts
from rewardkit.models.mllm.base import (
    cache_argument,
    can_share_prefix,
    check_family,
    encode_images,
    encoding_of,
    gathered,
    token_positions,
    width_of,
)
from rewardkit.models.mllm.batch import QuestionBatch
from rewardkit.models.mllm.groups import HEADS, mllm_layer_groups
from rewardkit.models.mllm.heads import DimensionHeads, by_image
from rewardkit.models.mllm.options import character_logits, expected_scores, not_applicable, spelled_logits
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.score_token import ScoreToken
from rewardkit.models.mllm.text import add_score_token
from rewardkit.models.mllm.tuning import LoraOptions
from rewardkit.models.reward import RewardOutput

ScoresFrom = Literal["ordinal", "regression", "expected"]


@dataclass
class MLLMOutput(RewardOutput):
    """What an evaluator says. N images, A questions asked, D dimensions, T answer tokens, V tokens of the vocabulary.

    ``scores`` are the matrix that the model's ``scores_from`` names; ``option_logits`` are float32 ``[A, O + 1]`` with
    -inf where a question has no such column; ``answer_logits`` float32 ``[T, V]``, of predicted tokens alone.

    Attributes:
        ordinal: float32 ``[N, D]``, at the score token; 0 where nothing was asked.
        regression: float32 ``[N, D]``, likewise.
        expected: float32 ``[N, D]``, the expected worth of the answers that apply; 0 where nothing was asked.
        asked: bool ``[N, D]``, where a question was asked.
        asked_scores: float32 ``[A]``, what each question by itself adds to ``scores``.
        expected_answer: float32 ``[A]``, the expected worth of each question's answers that apply.
        not_applicable: float32 ``[A]``, the probability of N/A; 0 for a question without it.
    """

    ordinal: Tensor | None = None
    regression: Tensor | None = None
    expected: Tensor | None = None
    asked: Tensor | None = None
    asked_scores: Tensor | None = None
    expected_answer: Tensor | None = None
    not_applicable: Tensor | None = None


class MLLMReward(nn.Module):
    """A reward model (``rewardkit.models.reward.RewardModel``) on an image-text-to-text model of transformers.

    Every image goes through the vision tower once, however many questions are asked of it. With ``share_prefix`` what
    all its questions begin with (the image among it) is read once too, and each goes on from that cache; this is equal
    to reading each row by itself, in numbers and in gradients. Batch-mates and padding never change a number.

    Args:
        base: Such a model; it is taken over, not copied.
        processor: Its processor; ``<|score|>`` is added to its tokenizer.
        dimensions: Names of the dimensions.
        scores_from: What ``scores`` are.
        share_prefix: See above. None: where the family can (plain attention, no activation checkpointing).

    Attributes:
        lora: The adapters that ``rewardkit.models.mllm.tuning.tune`` has put in; None: none.
        rows: What ``score`` asks with; None: ``score`` cannot be used, ``forward`` can.
        base_path: Folder that the base was loaded from; None: it was made from nothing.
        trained: Names of the base's parameters that training changes; None: ``tune`` was not asked, it may be all.

    Raises:
        UserError: The model's parts are not known, or no dimension.
    """

    def __init__(
        self,
        base: Any,
        processor: Any,
        dimensions: Sequence[str],
        *,
        scores_from: ScoresFrom = "ordinal",
        share_prefix: bool | None = None,
    ) -> None:
        super().__init__()
        check_family(base)
        if not dimensions or len(set(dimensions)) != len(dimensions):
            raise UserError(f"model.dimensions needs one or more different names, not {list(dimensions)}")
        self.base = base
        self.processor = processor
        self.dimensions = tuple(dimensions)
        self.scores_from: ScoresFrom = scores_from
        self.share_prefix = share_prefix
        self.lora: LoraOptions | None = None
        self.base_path: Path | None = None
        self.trained: tuple[str, ...] | None = None
        self.rows: QuestionRows | None = None
        self.score_token = ScoreToken(base.get_input_embeddings(), add_score_token(processor.tokenizer))
        self.head = DimensionHeads(width_of(base), len(self.dimensions))

    def forward(self, batch: Any) -> MLLMOutput:
        """Answers every question of a batch.

        Args:
            batch: A ``QuestionBatch``, or a batch that carries one as ``questions``, with captions or without.

        Raises:
            BadSample: A row has not as many places for its image as the image has features.
        """
        rows: QuestionBatch = batch if isinstance(batch, QuestionBatch) else batch.questions
        self._check(rows)
        encoded = encode_images(self.base, rows.images)
        _check_places(encoded, rows)
        # Behind each other: the last token of each prompt, the score tokens, and what predicts each token of an answer.
        first = first_rows(rows)  # [A]
        scored = rows.score_place[first]
        row = torch.cat([first, first, rows.answer_row])
        place = torch.cat([rows.last_prompt[first], torch.where(scored >= 0, scored, rows.last_prompt[first])])
        states = self._states(rows, encoded, row, torch.cat([place, rows.answer_place]))
        asked = len(first)
        at_prompt, at_score, at_answer = states.split([asked, asked, len(rows.answer_row)])
        answer_logits = self.base.lm_head(at_answer).float()  # [T, V]
        if bool((rows.row_column >= 0).any()):
            option_logits = spelled_logits(answer_logits, rows)
        else:
            option_logits = character_logits(self.base.lm_head(at_prompt).float(), rows.option_token)
        output = self._output(rows, option_logits, answer_logits, at_score, scored >= 0)
        captions = getattr(batch, "caption_tokens", None)
        if captions is not None and len(captions):
            assert self.rows is not None
            embedding = self.base.get_input_embeddings()
            output.image_features = pooled_images(encoded)
            output.caption_features = pooled_texts(embedding, captions, self.rows.pad_id)
        return output

    def score(self, images: Tensor, prompts: list[str], group: Tensor) -> Tensor:
        """Scores images under ``prompts[group[n]]`` by all questions of ``rows`` that need no slot.

        Args:
            images: uint8 ``[N, 3, H, W]``; an image processor gives no gradient to them.
            prompts: G texts.
            group: int64 ``[N]``.

        Returns:
            float32 ``[N, D]``, 0 on dimensions that no question is on.

        Raises:
            UserError: There are no ``rows``.
        """
        if self.rows is None:
            raise UserError(
                "this evaluator has no questions to score by; set its rows, or read a bundle with questions"
            )
        asked = self.rows.questions.applicable({})
        read = [self.rows.read(image, prompts[int(g)], asked) for image, g in zip(images.cpu(), group, strict=True)]
        return self(self.rows.collate(read).to(self.device)).scores

    def of_logits(self) -> dict[str, tuple[float, float]]:
        """Dimension to factor and shift from logits to what users get: an evaluator's scores are as they are."""
        return dict.fromkeys(self.dimensions, (1.0, 0.0))

    def _output(
        self, rows: QuestionBatch, option_logits: Tensor, answer_logits: Tensor, at_score: Tensor, scored: Tensor
    ) -> MLLMOutput:
        """The matrices of images and dimensions."""
        images, dimensions = len(rows.image_tokens), len(self.dimensions)
        own = rows.asked_dimension.unsqueeze(-1)
        ordinal, regression = (values.gather(-1, own).squeeze(-1) * scored for values in self.head(at_score))
        worth = expected_scores(option_logits, rows.option_value)
        each = {"ordinal": ordinal, "regression": regression, "expected": worth}
        matrices = {}
        for name, values in each.items():
            matrices[name], asked = by_image(values, rows.asked_image, rows.asked_dimension, images, dimensions)
        return MLLMOutput(
            scores=matrices[self.scores_from],
            option_logits=option_logits,
            answer_logits=answer_logits,
            asked=asked,
            asked_scores=each[self.scores_from],
            expected_answer=worth,
            not_applicable=not_applicable(option_logits),
            **matrices,
        )

    def _states(self, rows: QuestionBatch, encoded: Any, row: Tensor, place: Tensor) -> Tensor:
        """The language model's last states at some places: ``[K, H]`` of rows ``[K]`` and places ``[K]``."""
        positions = token_positions(
            self.base, rows.input_ids, rows.attention_mask, rows.mm_token_type_ids, rows.images, rows.row_image
        )
        share = can_share_prefix(self.base) if self.share_prefix is None else self.share_prefix
        if share:
            return self._states_from_shared(rows, encoded, positions, row, place)
        hidden = self.base.model(
            input_ids=rows.input_ids,
            attention_mask=rows.attention_mask,
            position_ids=positions,
            mm_encoder_outputs={"image": encoding_of(encoded, rows.row_image)},
            use_cache=False,
        ).last_hidden_state
        return hidden[row, place]

    def _states_from_shared(
        self, rows: QuestionBatch, encoded: Any, positions: Tensor, row: Tensor, place: Tensor
    ) -> Tensor:
        """Reads what the rows of an image begin with once, and goes on from that cache with each row's rest."""
        start = rows.attention_mask.argmax(dim=-1)  # [R]
        length = rows.attention_mask.sum(dim=-1)  # [R]
        image, cache_name = rows.row_image, cache_argument(self.base)
        first = _first_of(image, len(rows.shared))  # [N], a row of each image
        # What is shared stands at the right end of its rows, what follows at the left: no gap between them.
        longest = int(rows.shared.max())
        column = torch.arange(longest, device=image.device) - (longest - rows.shared).unsqueeze(-1)  # [N, P]
        there = column >= 0
        at = start[first].unsqueeze(-1) + column
        begun = self.base.model(
            input_ids=torch.where(there, gathered(rows.input_ids[first], at), rows.input_ids[first][:, :1] * 0),
            attention_mask=there.long(),
            position_ids=gathered(positions[..., first, :], at),
            mm_encoder_outputs={"image": encoded},
            use_cache=True,
        )
        cache = getattr(begun, cache_name)
        cache.batch_select_indices(image)
        rest = length - rows.shared[image]  # [R]
        column = torch.arange(int(rest.max()), device=image.device).expand(len(rest), -1)
        follows = column < rest.unsqueeze(-1)
        at = (start + rows.shared[image]).unsqueeze(-1) + column
        hidden = self.base.model(
            input_ids=gathered(rows.input_ids, at),
            attention_mask=torch.cat([there[image], follows], dim=-1).long(),
            position_ids=gathered(positions, at),
            use_cache=True,
            **{cache_name: cache},
        ).last_hidden_state
        return hidden[row, place - start[row] - rows.shared[image[row]]]

    def _check(self, rows: QuestionBatch) -> None:
        """What must hold of every batch; without the types of tokens positions would be silently wrong."""
        types = rows.mm_token_type_ids
        assert isinstance(types, Tensor) and types.shape == rows.input_ids.shape, "mm_token_type_ids was dropped"
        marks = (rows.input_ids == self.score_token.token).sum(dim=-1)
        assert bool((marks == (rows.score_place >= 0)).all()), "a row without its one score token"
        assert bool((types.sum(dim=-1) == rows.image_tokens[rows.row_image]).all()), (
            "mm_token_type_ids does not mark the image's tokens"
        )

    def layer_groups(self) -> dict[Tower, tuple[LayerGroup, ...]]:
        """The groups of the base's parameters from input to head; see ``rewardkit.models.mllm.groups``."""
        return mllm_layer_groups(self)

    @property
    def head_prefixes(self) -> tuple[str, ...]:
        """What the names of the evaluator's own parameters begin with."""
        return HEADS

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.score_token.row.device


def first_rows(rows: QuestionBatch) -> Tensor:
    """The first row of each question asked, int64 ``[A]``."""
    return _first_of(rows.row_asked, len(rows.asked_image))


def _first_of(index: Tensor, number: int) -> Tensor:
    """The first place at which each of 0 … number - 1 stands in a sorted ``index``."""
    return torch.searchsorted(index.contiguous(), torch.arange(number, device=index.device))


def _check_places(encoded: Any, rows: QuestionBatch) -> None:
    features = torch.tensor([len(image) for image in encoded.pooler_output])
    expected = rows.image_tokens.cpu()
    if len(features) != len(expected) or not torch.equal(features, expected):
        raise BadSample(
            f"rows have {expected.tolist()} places for images that have {features.tolist()} features; the processor is "
            "not the model's, or a row was cut"
        )
