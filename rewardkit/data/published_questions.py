"""The question files as EvalAlign and VisionReward publish them, read as question sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.data.questions import (
    VISIONREWARD_GATES,
    VISIONREWARD_SELECTED,
    Option,
    Question,
    QuestionSet,
)
from rewardkit.errors import UserError

YES_NO = (Option("yes", "yes", 1.0), Option("no", "no", -1.0))
"""VisionReward's answers: yes counts +1, no -1."""


def evalalign_questions(file: Path) -> QuestionSet:
    """EvalAlign's eleven questions from ``questions.json``.

    The file's ``faithfulness`` questions are asked of every image; each ``alignment`` question of prompts whose slot of
    its key holds something. A score of -1 is the answer "does not apply".

    Raises:
        UserError: The file is not of this layout.
    """
    record = _json(file)
    try:
        questions = [
            _evalalign_question(key, item, slot=key if part == "alignment" else None)
            for part in ("faithfulness", "alignment")
            for key, item in record[part].items()
        ]
        return QuestionSet("evalalign", str(record["source"]), tuple(questions))
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is not EvalAlign's questions.json, with faithfulness and alignment: {error!r}"
        ) from None


def _evalalign_question(key: str, item: dict[str, Any], slot: str | None) -> Question:
    options = tuple(
        Option(
            str(option["score"]), option["text"], NOT_APPLICABLE if option["score"] == -1 else float(option["score"])
        )
        for option in item["options"]
    )
    return Question(key, item["stem"], options, key, item["template"], slot)


def visionreward_questions(checklist: Path, weights: Path | None = None) -> QuestionSet:
    """VisionReward's checklist: one yes/no question per line, ``q00`` the first; with its linear weights where given.

    The image weights (``{"coef", "intercept"}``) are those of VQAScore's alignment and then of the questions behind
    the three gates; the video weights (a list) are one per question.

    Raises:
        UserError: A file is not of this layout, or the weights are not those of this checklist.
    """
    try:
        texts = [line for line in checklist.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{checklist} cannot be read: {error}") from None
    if not texts:
        raise UserError(f"{checklist} holds no question")
    gated = len(texts) == VISIONREWARD_SELECTED and all(
        text.startswith(("Is there", "Are there")) for text in texts[:3]
    )
    factors: list[float | None] = [None] * len(texts)
    intercept, terms = 0.0, {}
    if weights is not None:
        coefficients, intercept, of_images = _weights(weights)
        if of_images:
            _check_image_pair(checklist, weights, len(texts), len(coefficients), gated)
            terms = {"vqascore": coefficients[0]}
            factors = [None] * len(VISIONREWARD_GATES) + list(coefficients[1:])
        elif len(coefficients) != len(texts):
            raise UserError(
                f"{weights} has {len(coefficients)} weights and {checklist} {len(texts)} questions; the list for "
                "videos has one weight per question of the selected checklist (video_qa_select)"
            )
        else:
            factors = list(coefficients)
    needs = {n: gate for gate, gated_off in VISIONREWARD_GATES.items() for n in gated_off} if gated else {}
    questions = tuple(
        Question(
            f"q{n:02d}", text, YES_NO, f"q{n:02d}", text, None, (f"q{needs[n]:02d}",) if n in needs else (), factors[n]
        )
        for n, text in enumerate(texts)
    )
    return QuestionSet("visionreward", f"VisionReward's checklist {checklist.name}", questions, intercept, terms)


def _check_image_pair(checklist: Path, weights: Path, questions: int, coefficients: int, gated: bool) -> None:
    expected = questions - len(VISIONREWARD_GATES) + 1
    if coefficients != expected:
        raise UserError(
            f"{weights} does not belong to {checklist}: {questions} questions less 3 gates, and VQAScore's alignment "
            f"before them, make {expected} weights, and the file has {coefficients}. Published is one pair that lines "
            "up: image_qa_select (30 questions) with image_weight_select (28 weights)"
        )
    if not gated:
        raise UserError(
            f"{checklist} has {questions} questions; which of them are gates is published for the selected list of "
            f"{VISIONREWARD_SELECTED} alone (image_qa_select), so its weights cannot be told apart"
        )


def _weights(file: Path) -> tuple[Sequence[float], float, bool]:
    """Coefficients, intercept, and whether they are for images."""
    record = _json(file)
    coefficients, intercept = record, [0.0]
    if isinstance(record, dict):
        coefficients, intercept = record.get("coef"), record.get("intercept", [0.0])
    if not _numbers(coefficients) or not _numbers(intercept) or len(intercept) != 1:
        raise UserError(f'{file} must hold {{"coef": [numbers], "intercept": [number]}} or a list of numbers')
    return coefficients, intercept[0], isinstance(record, dict)


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, int | float) for item in value) and bool(value)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read as JSON: {error}") from None
