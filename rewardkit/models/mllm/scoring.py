"""Asks an evaluator the questions of its sets about images: scores, and each answer with its probabilities."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from rewardkit.data.answer_table import QuestionAnswer
from rewardkit.data.questions import QuestionSet, read_questions, shipped_question_sets
from rewardkit.errors import BadSample, DataError, UserError
from rewardkit.models.mllm.answers import likeliest_answers, read_texts, scores_of
from rewardkit.models.mllm.batch import ImageRows, QuestionBatch
from rewardkit.models.mllm.generation import MOST_TOKENS, written_answers
from rewardkit.models.mllm.model import MLLMOutput, MLLMReward
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.saving import load_evaluator
from rewardkit.models.normalised import normalised_scores
from rewardkit.models.pictures import Picture, as_list, decode_picture

Way = Literal["probabilities", "generate"]
"""How answers are given: by the probabilities of a question's options, or by what the model writes."""


class LoadedEvaluator:
    """An evaluator with the questions that it answers, ready to score.

    Attributes:
        model: The model.
        dimensions: Names of the columns of the scores.
        record: All of ``bundle.json``; empty for a model that comes from no bundle.
        output: What a score is: ``logit``, as the model gives it.
        calibration: As of a ``LoadedReward``.

    Args:
        model: Put into eval mode.
        questions: One set: what is asked.
        sets: All that it comes with; none: that one.
        record: See above.
        rows: ``style``, ``prompt_for`` and ``max_tokens`` of ``QuestionRows``.

    Raises:
        UserError: The questions do not fit the model.
    """

    def __init__(
        self,
        model: MLLMReward,
        questions: QuestionSet,
        *,
        sets: Sequence[QuestionSet] = (),
        record: Mapping[str, Any] | None = None,
        rows: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model.eval()
        self.questions = questions
        self.sets = list(sets) or [questions]
        self.record = dict(record or {})
        self.dimensions = model.dimensions
        self.output = "logit"
        self.calibration: dict[str, dict[str, Any]] = self.record.get("calibration", {})
        self.rows = QuestionRows(model.processor, questions, model.dimensions, **dict(rows or {}))
        model.rows = self.rows

    @classmethod
    def read(
        cls,
        folder: str | Path,
        questions: str | os.PathLike[str] | QuestionSet | None = None,
        *,
        base_path: str | os.PathLike[str] | None = None,
        device: str | torch.device = "cpu",
    ) -> LoadedEvaluator:
        """Reads a bundle.

        Args:
            folder: The bundle.
            questions: Name of one of the bundle's sets or of one that ships, a YAML file, or a set; on the model's
                dimensions. None: the bundle's first.
            base_path: Where the base of an adapter lies now.
            device: Where the model shall compute.

        Raises:
            UserError: There is no such bundle or set, or its questions do not fit the model.
            CheckpointError: See ``load_evaluator``.
        """
        model, sets, record = load_evaluator(folder, base_path=base_path)
        if not isinstance(questions, QuestionSet):
            questions = find_questions(questions, sets, folder)
        rows = _fitting(record["rows"], questions)
        return cls(model.to(device), questions, sets=sets, record=record, rows=rows)

    def with_questions(self, questions: QuestionSet) -> LoadedEvaluator:
        """The same model with other questions; raises UserError where they do not fit it."""
        return LoadedEvaluator(
            self.model,
            questions,
            sets=self.sets,
            record=self.record,
            rows=_fitting(self.rows.settings, questions),
        )

    def score(
        self,
        images: Tensor | Picture | Sequence[Picture],
        prompts: str | Sequence[str],
        slots: Sequence[Mapping[str, Any]] | None = None,
        *,
        answers: Way = "probabilities",
        batch_size: int = 8,
        normalised: bool = False,
    ) -> Tensor:
        """Scores images on every dimension that a question of theirs is on.

        Args:
            images: A list of images (see ``Picture``), one image, or a tensor uint8 ``[N, 3, H, W]``.
            prompts: One for all images, or one for each.
            slots: Of each image's prompt, for questions that name one; None: those are not asked.
            answers: ``probabilities``: scores as the model's ``scores_from`` says. ``generate``: the worth of what it
                writes; what cannot be read is in no score.
            batch_size: Images in one forward pass; changes nothing but memory and speed.
            normalised: In units of the spread that ``calibration`` tells: (score - mean) / std of each dimension.

        Returns:
            float32 ``[N, D]`` on the model's device; NaN where no question was asked, or none that counts (see
            ``QuestionAnswer.counts``).

        Raises:
            UserError: The number of prompts does not match, a path that does not exist, an unknown way of answering;
                normalised scores of a model without statistics.
            DataError: An image or a row that cannot be used, named by its place.
        """
        scores = self.score_and_answer(images, prompts, slots, answers=answers, batch_size=batch_size)[0]
        return normalised_scores(scores, self.dimensions, self.calibration) if normalised else scores

    def answers(
        self,
        images: Tensor | Picture | Sequence[Picture],
        prompts: str | Sequence[str],
        slots: Sequence[Mapping[str, Any]] | None = None,
        *,
        answers: Way = "probabilities",
        batch_size: int = 8,
        most_tokens: int = MOST_TOKENS,
    ) -> list[QuestionAnswer]:
        """Every answer, by image and question; arguments and errors as those of ``score``.

        Args:
            images: See ``score``.
            prompts: See ``score``.
            slots: See ``score``.
            answers: See ``score``.
            batch_size: See ``score``.
            most_tokens: Of a written answer.
        """
        return self.score_and_answer(
            images, prompts, slots, answers=answers, batch_size=batch_size, most_tokens=most_tokens
        )[1]

    def score_and_answer(
        self,
        images: Tensor | Picture | Sequence[Picture],
        prompts: str | Sequence[str],
        slots: Sequence[Mapping[str, Any]] | None = None,
        *,
        answers: Way = "probabilities",
        batch_size: int = 8,
        most_tokens: int = MOST_TOKENS,
    ) -> tuple[Tensor, list[QuestionAnswer]]:
        """``score`` and ``answers`` of one reading of the images."""
        if answers not in get_args(Way):
            raise UserError(f"answers={answers!r} is not one of {', '.join(get_args(Way))}")
        scores, said = [], []
        for start, read in self._read_batches(images, prompts, slots, batch_size):
            batch = self.rows.collate(read).to(self.model.device)
            mine, values = self.answer_batch(batch, answers, most_tokens=most_tokens)
            scores.append(scores_of(mine, values, len(read), self.dimensions))
            said += [replace(answer, image=start + answer.image) for answer in mine]
        return torch.cat(scores) if scores else torch.zeros(0, len(self.dimensions)), said

    @torch.no_grad()
    def answer_batch(
        self, batch: QuestionBatch, answers: Way, *, most_tokens: int = MOST_TOKENS
    ) -> tuple[list[QuestionAnswer], Tensor]:
        """The answers to a batch of the evaluator's rows, and what each question scores.

        Args:
            batch: On the model's device. What people answered may stand in its rows; it changes nothing.
            answers: See ``score``.
            most_tokens: Of a written answer.

        Returns:
            The answers, their ``image`` the place in the batch, and ``[A]``, NaN where an answer scores nothing.
        """
        if answers == "generate":
            said = read_texts(self.rows, batch, written_answers(self.model, self.rows, batch, most_tokens=most_tokens))
            values = [torch.nan if answer.expected is None else answer.expected for answer in said]
            return said, torch.tensor(values, device=self.model.device)
        output: MLLMOutput = self.model(batch)
        assert output.asked_scores is not None
        return likeliest_answers(self.rows, batch, output), output.asked_scores

    def _read_batches(
        self,
        images: Tensor | Picture | Sequence[Picture],
        prompts: str | Sequence[str],
        slots: Sequence[Mapping[str, Any]] | None,
        batch_size: int,
    ) -> Iterator[tuple[int, list[ImageRows]]]:
        """The place of the first image, and the rows of each, batch by batch."""
        listed = as_list(images)
        texts = [prompts] * len(listed) if isinstance(prompts, str) else list(prompts)
        phrases = [{}] * len(listed) if slots is None else list(slots)
        if len(texts) != len(listed) or len(phrases) != len(listed):
            raise UserError(
                f"{len(listed)} images, {len(texts)} prompts and {len(phrases)} maps of slots; give one of each for "
                "each image"
            )
        for start in range(0, len(listed), batch_size):
            places = range(start, min(start + batch_size, len(listed)))
            yield start, [self._read(listed[n], texts[n], phrases[n], n) for n in places]

    def _read(self, image: Picture, prompt: str, slots: Mapping[str, Any], place: int) -> ImageRows:
        name = f"image {place} ({os.fspath(image)})" if isinstance(image, str | os.PathLike) else f"image {place}"
        if isinstance(image, Tensor) and image.dtype != torch.uint8:
            raise UserError(f"{name} is a tensor of {image.dtype}; an evaluator reads uint8")
        decoded = image if isinstance(image, Tensor) else decode_picture(image, place)
        try:
            return self.rows.read(decoded, prompt, self.questions.applicable(slots), slots)
        except BadSample as error:
            raise DataError(f"{name}: {error.reason}") from None


def find_questions(
    asked: str | os.PathLike[str] | None, sets: Sequence[QuestionSet], folder: str | Path
) -> QuestionSet:
    """One of a bundle's sets, one that ships, or a file's.

    Args:
        asked: Its name or file; None: the bundle's first.
        sets: The bundle's.
        folder: The bundle, for messages.

    Raises:
        UserError: There is none.
    """
    own = {one.name: one for one in sets}
    if asked is None:
        return sets[0]
    if str(asked) in own:
        return own[str(asked)]
    shipped = shipped_question_sets()
    if str(asked) not in shipped and not Path(asked).is_file():
        raise UserError(
            f"questions={asked}: the bundle {folder} has {', '.join(own)}, rewardkit has {', '.join(shipped)}, and it "
            "is no file"
        )
    return read_questions(str(asked))


def _fitting(rows: Mapping[str, Any], questions: QuestionSet) -> dict[str, Any]:
    """How a bundle makes rows, for another set than its own: keys of questions that the set lacks are left out."""
    keys = {question.key for question in questions.questions}
    named = rows.get("prompt_for", "all")
    return dict(rows) if isinstance(named, str) else {**rows, "prompt_for": sorted(keys & set(named))}
