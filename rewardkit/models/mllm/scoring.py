"""Asks an evaluator the questions of its sets about images: scores, and each answer with its probabilities."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from rewardkit.data.images import decode_image
from rewardkit.data.questions import QuestionSet, read_questions, shipped_question_sets
from rewardkit.errors import BadSample, DataError, UserError
from rewardkit.models.mllm.batch import ImageRows, QuestionBatch
from rewardkit.models.mllm.model import MLLMOutput, MLLMReward
from rewardkit.models.mllm.options import option_probabilities
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.saving import load_evaluator
from rewardkit.models.pictures import Picture, as_list


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """What an evaluator says to one question of one image.

    Attributes:
        image: The image's place in what was given.
        question: The question's key.
        dimension: Its dimension.
        answer: Label of the likeliest option, as the question names it; N/A's own where that is the likeliest.
        probabilities: Label to probability, N/A's label among them; they sum to 1.
        expected: The expected worth of the answers that apply.
        not_applicable: The probability that the question does not apply; 0 for a question without N/A.
    """

    image: int
    question: str
    dimension: str
    answer: str
    probabilities: dict[str, float]
    expected: float
    not_applicable: float


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
        questions: One set.
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
        record: Mapping[str, Any] | None = None,
        rows: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model.eval()
        self.questions = questions
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
            questions = _find_questions(questions, sets, folder)
        return cls(model.to(device), questions, record=record, rows=_fitting(record["rows"], questions))

    def score(
        self,
        images: Tensor | Picture | Sequence[Picture],
        prompts: str | Sequence[str],
        slots: Sequence[Mapping[str, Any]] | None = None,
        *,
        batch_size: int = 8,
    ) -> Tensor:
        """Scores images on every dimension that a question of theirs is on.

        Args:
            images: A list of images (see ``Picture``), one image, or a tensor uint8 ``[N, 3, H, W]``.
            prompts: One for all images, or one for each.
            slots: Of each image's prompt, for questions that name one; None: those are not asked.
            batch_size: Images in one forward pass; changes nothing but memory and speed.

        Returns:
            float32 ``[N, D]`` on the model's device; NaN where no question was asked.

        Raises:
            UserError: The number of prompts does not match, a path that does not exist.
            DataError: An image or a row that cannot be used, named by its place.
        """
        found = [
            torch.where(out.asked, out.scores, torch.nan) for _, _, out in self._ask(images, prompts, slots, batch_size)
        ]
        return torch.cat(found) if found else torch.zeros(0, len(self.dimensions))

    def answers(
        self,
        images: Tensor | Picture | Sequence[Picture],
        prompts: str | Sequence[str],
        slots: Sequence[Mapping[str, Any]] | None = None,
        *,
        batch_size: int = 8,
    ) -> list[QuestionAnswer]:
        """Every answer with its probabilities; arguments and errors as those of ``score``."""
        found = []
        for start, batch, out in self._ask(images, prompts, slots, batch_size):
            probabilities = option_probabilities(out.option_logits).tolist()
            for n, (image, place) in enumerate(zip(batch.asked_image, batch.asked_question, strict=True)):
                question = self.questions.questions[int(place)]
                columns = self.rows.columns[question.key]
                values = [probabilities[n][-1 if column.value is None else c] for c, column in enumerate(columns)]
                by_label = {column.label: value for column, value in zip(columns, values, strict=True)}
                found.append(
                    QuestionAnswer(
                        start + int(image),
                        question.key,
                        question.dimension,
                        max(by_label, key=by_label.__getitem__),
                        by_label,
                        float(out.expected_answer[n]),
                        float(out.not_applicable[n]),
                    )
                )
        return found

    def _ask(
        self,
        images: Tensor | Picture | Sequence[Picture],
        prompts: str | Sequence[str],
        slots: Sequence[Mapping[str, Any]] | None,
        batch_size: int,
    ) -> Iterator[tuple[int, QuestionBatch, Any]]:
        """The place of the first image, the batch and what the model says, batch by batch."""
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
            read = [self._read(listed[n], texts[n], phrases[n], n) for n in places]
            batch = self.rows.collate(read).to(self.model.device)
            with torch.no_grad():
                out: MLLMOutput = self.model(batch)
            yield start, batch, out

    def _read(self, image: Picture, prompt: str, slots: Mapping[str, Any], place: int) -> ImageRows:
        name = f"image {place} ({os.fspath(image)})" if isinstance(image, str | os.PathLike) else f"image {place}"
        try:
            if isinstance(image, str | os.PathLike):
                image = Path(image).read_bytes()
            decoded = decode_image(image) if isinstance(image, bytes) else image
            if isinstance(decoded, Tensor) and decoded.dtype != torch.uint8:
                raise UserError(f"{name} is a tensor of {decoded.dtype}; an evaluator reads uint8")
            assert isinstance(decoded, Tensor | Image.Image)
            return self.rows.read(decoded, prompt, self.questions.applicable(slots), slots)
        except OSError as error:
            raise UserError(f"{name} cannot be read: {error.strerror or error}") from None
        except BadSample as error:
            raise DataError(f"{name}: {error.reason}") from None


def _find_questions(
    asked: str | os.PathLike[str] | None, sets: Sequence[QuestionSet], folder: str | Path
) -> QuestionSet:
    """One of a bundle's sets, one that ships, or a file's."""
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
