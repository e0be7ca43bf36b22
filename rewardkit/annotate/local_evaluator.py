"""An evaluator of rewardkit as an annotator: it answers by the probabilities of a question's options."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardkit.annotate.annotators import Call, NotAsked, Reply
from rewardkit.annotate.answer_form import SCORE
from rewardkit.annotate.log import Mode
from rewardkit.data.questions import QuestionSet
from rewardkit.errors import DataError, UserError
from rewardkit.models.mllm.scoring import LoadedEvaluator


class LocalEvaluator:
    """See the module's docstring; attributes as ``Annotator``. It sees one image at a time and gives no reasons.

    Args:
        name: Its name in this annotation.
        folder: The bundle.
        questions: That it is asked; on its dimensions.
        device: Where it computes.

    Raises:
        UserError: The questions do not fit it, or it is asked to prepare prompts.
        CheckpointError: The bundle is damaged.
    """

    at_once = 1
    rationale = False
    tokens: Sequence[str] = ()
    paid = False

    def __init__(self, name: str, folder: Path, questions: QuestionSet, *, device: str) -> None:
        self.name = name
        self._model = LoadedEvaluator.read(folder, questions, device=device)
        self.model = f"{folder}@{str(self._model.record['weights']['sha256'])[:16]}"
        asked = {question.dimension for question in questions.questions}
        lacking = sorted(asked - set(self._model.dimensions))
        if lacking:
            raise UserError(f"annotators: {folder} has no dimension {lacking[0]!r}, which {questions.name} asks about")

    def mode(self, wanted: Mode) -> Mode:
        """One image at a time."""
        return "per_image"

    async def close(self) -> None:
        """See ``Annotator``."""

    async def answer(self, call: Call) -> Reply:
        """See ``Annotator``; the text is the answer's JSON, with each option's probability beside the score."""
        return await asyncio.to_thread(self._answer, call)

    def _answer(self, call: Call) -> Reply:
        group = call.request.group
        try:
            answers = self._model.answers(list(call.images), group.prompt, [dict(group.slots)])
        except DataError as error:
            raise NotAsked(str(error)) from None
        labels: Mapping[str, Any] = call.schema["properties"]
        said = {
            answer.question: {SCORE: _as_label(answer.answer, labels[answer.question])}
            for answer in answers
            if answer.question in labels
        }
        return Reply(json.dumps(said, ensure_ascii=False), model=self.model)


def _as_label(label: str | None, cell: Mapping[str, Any]) -> Any:
    """A label as the form writes it: a number where its labels are."""
    assert label is not None, "answers by probability always name an option"
    return int(label) if cell["properties"][SCORE]["type"] == "integer" else label
