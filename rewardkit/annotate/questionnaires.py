"""The two kinds of request: scores of images on the questions of a set, and the steps that prepare a prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewardkit.annotate.answer_form import AnswerForm, ScoresForm
from rewardkit.annotate.images import text_tokens
from rewardkit.annotate.log import Mode, Score, Step
from rewardkit.annotate.requests import Request, Turn, shown_order
from rewardkit.annotate.template import around_images, quoted, render, shipped_template, template_hash
from rewardkit.data.group import Group
from rewardkit.data.questions import SLOT, Question, QuestionSet
from rewardkit.data.questions_file import record_of_questions
from rewardkit.errors import UserError

RATIONALE_TOKENS = 60
"""Tokens of a rationale with its score, about: two sentences."""


class ImageQuestions:
    """Scores of images on the questions of a set.

    Args:
        questions: The set.
        seed: Of the orders.
        shuffle: Whether images are shown in an order of their own; else as the group has them.
        templates: Mode to the text of its template; those that ship where it is not named.
        rationale: Whether answers give reasons.

    Raises:
        UserError: A template lacks a place, or has one too many.
    """

    step: Step = "scores"

    def __init__(
        self,
        questions: QuestionSet,
        *,
        seed: int,
        shuffle: bool = True,
        templates: Mapping[str, str] | None = None,
        rationale: bool = True,
    ) -> None:
        self.name = questions.name
        self._questions, self._seed, self._shuffle, self._rationale = questions, seed, shuffle, rationale
        self._templates = {name: shipped_template(name) for name in ("joint", "per_image")} | dict(templates or {})
        record = json.dumps(record_of_questions(questions), sort_keys=True, ensure_ascii=False)
        texts = [self._templates[name] for name in sorted(self._templates)]
        self.template = template_hash(*texts, record, "" if rationale else "without rationale")
        for name, text in self._templates.items():
            around_images(text, self._values(name, questions.questions, {}, "", 1, "", check=True), where=name)

    def shows(self, group: Group, mode: Mode, repeat: int) -> Iterator[tuple[int, ...]]:
        """See ``Questionnaire``; nothing where no question applies to the group."""
        if not self._asked(group):
            return
        if mode == "per_image":
            yield from ((n,) for n in range(len(group.candidates)))
        else:
            yield shown_order(len(group.candidates), group.id, repeat, seed=self._seed, shuffle=self._shuffle)

    def turns(self, request: Request, images: Sequence[bytes], tokens: Sequence[str]) -> list[Turn]:
        """See ``Questionnaire``."""
        group, form = request.group, self.form(request)
        values = self._values(
            request.mode,
            self._asked(group),
            group.slots,
            quoted(group.prompt, tokens),
            len(images),
            form.shown(),
            tokens,
        )
        before, behind = around_images(self._templates[request.mode], values, where=request.mode)
        parts: list[str | bytes] = [before]
        for place, image in enumerate(images, 1):
            parts += [f"Image {place}:", image] if request.mode == "joint" else [image]
        return [Turn("user", (*parts, behind))]

    def phrases(self, group: Group) -> Mapping[str, str]:
        """See ``Questionnaire``."""
        return {question.slot: str(group.slots[question.slot]) for question in self._asked(group) if question.slot}

    def form(self, request: Request) -> ScoresForm:
        """See ``Questionnaire``."""
        joint = request.mode == "joint"
        return ScoresForm(self._asked(request.group), request.order, joint=joint, rationale=self._rationale)

    def answer_tokens(self, request: Request) -> int:
        """See ``Questionnaire``."""
        return len(request.order) * len(self._asked(request.group)) * RATIONALE_TOKENS

    def taken(self, request: Request, value: Any) -> tuple[tuple[Score, ...], Mapping[str, Any]]:
        """See ``Questionnaire``."""
        return self.form(request).scores(value), {}

    def _asked(self, group: Group) -> tuple[Question, ...]:
        return self._questions.applicable(group.slots)

    def _values(
        self,
        mode: str,
        asked: Sequence[Question],
        slots: Mapping[str, Any],
        prompt: str,
        count: int,
        form: str,
        tokens: Sequence[str] = (),
        *,
        check: bool = False,
    ) -> dict[str, str]:
        """What goes into the places of a template."""
        aspects = "" if check else "\n\n".join(_aspect(question, slots, tokens) for question in asked)
        values = {"aspects": aspects, "prompt": prompt, "form": form}
        return {**values, "count": str(count)} if mode == "joint" else values


class PromptStep:
    """A step that prepares a prompt before its images are asked about.

    Args:
        step: ``clean``: style words out (as HPD v2 does with a chat model). ``polish``: clear, consistent and fit for
            work (VisionPrefer). ``safety``: whether it is safe, and why.
    """

    def __init__(self, step: Step) -> None:
        self.step: Step = step
        self.name: str = step
        self._text = shipped_template(step)
        self.template = template_hash(self._text)

    def shows(self, group: Group, mode: Mode, repeat: int) -> Iterator[tuple[int, ...]]:
        """See ``Questionnaire``: a prompt alone."""
        yield ()

    def turns(self, request: Request, images: Sequence[bytes], tokens: Sequence[str]) -> list[Turn]:
        """See ``Questionnaire``."""
        form = '{"reason": "…", "safe": <true or false>}' if self.step == "safety" else '{"prompt": "…"}'
        values = {"prompt": quoted(request.group.prompt, tokens), "form": form}
        return [Turn("user", (render(self._text, values, where=self.step),))]

    def phrases(self, group: Group) -> Mapping[str, str]:
        """See ``Questionnaire``: nothing."""
        return {}

    def form(self, request: Request) -> AnswerForm:
        """See ``Questionnaire``."""
        kinds = {"reason": {"type": "string"}, "safe": {"type": "boolean"}}
        if self.step != "safety":
            kinds = {"prompt": {"type": "string", "pattern": r"\S"}}
        return AnswerForm(
            {"type": "object", "properties": kinds, "required": list(kinds), "additionalProperties": False}
        )

    def answer_tokens(self, request: Request) -> int:
        """See ``Questionnaire``: as long as the prompt."""
        return text_tokens(request.group.prompt) + RATIONALE_TOKENS

    def taken(self, request: Request, value: Any) -> tuple[tuple[Score, ...], Mapping[str, Any]]:
        """See ``Questionnaire``."""
        return (), dict(value)


def check_asked(questions: QuestionSet) -> None:
    """Refuses a question set whose keys cannot name the parts of an answer.

    Raises:
        UserError: A question that counts only where another is answered yes: it cannot be asked beside it.
    """
    gated = [question.key for question in questions.questions if question.needs]
    if gated:
        raise UserError(
            f"questions={questions.name}: {gated[0]!r} counts only where {questions[gated[0]].needs[0]!r} is answered "
            "yes, and all are asked at once; give a set without `needs`"
        )


def _aspect(question: Question, slots: Mapping[str, Any], tokens: Sequence[str]) -> str:
    text = question.text
    if question.slot is not None:
        text = text.replace(SLOT, quoted(str(slots[question.slot]), tokens)[1:-1])
    levels = [f"  {option.label}: {option.text}" for option in question.options]
    return "\n".join([f"{question.key}: {text}", *levels])
