"""What is asked: requests with their ids, planned one after the other, and the turns that each says.

A request's id is the hash of all that decides its answer. So the same command plans the same requests, and one that has
a line in the log is never sent again.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rewardkit.annotate.answer_form import AnswerForm, ScoresForm
from rewardkit.annotate.images import text_tokens
from rewardkit.annotate.log import Attempt, Mode, Score, Step
from rewardkit.annotate.template import around_images, quoted, render, shipped_template, template_hash
from rewardkit.data.group import Group
from rewardkit.data.questions import SLOT, Question, QuestionSet
from rewardkit.data.questions_file import record_of_questions
from rewardkit.errors import UserError

MAX_WRONG_TEXT = 20_000
"""Letters of a wrong answer that its repair repeats."""

RATIONALE_TOKENS = 60
"""Tokens of a rationale with its score, about: two sentences."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation.

    Attributes:
        role: Who speaks.
        parts: Texts, and images as the bytes of their files, in order.
    """

    role: Literal["user", "assistant"]
    parts: tuple[str | bytes, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Its turns are made when it is sent.

    Attributes:
        id: 32 hex digits; see the module's docstring.
        position: Of the group in what is annotated.
        group: The record, under the prompt that is shown.
        mode: What it shows.
        order: Indices of the candidates shown, in the order shown; empty for a prompt alone.
        repeat: See ``LogLine``.
    """

    id: str
    position: int
    group: Group
    mode: Mode
    order: tuple[int, ...]
    repeat: int

    @property
    def images(self) -> tuple[str, ...]:
        """SHA-256 of the image files shown, in the order shown."""
        return tuple(str(self.group.candidates[n].sha256) for n in self.order)


class Questionnaire(Protocol):
    """One kind of request: what it says, and what an answer must look like.

    Attributes:
        step: What its requests are for.
        name: For the log: of the question set, or of the step.
        template: Hash of its fixed text.
    """

    step: Step
    name: str
    template: str

    def shows(self, group: Group, mode: Mode, repeat: int) -> Iterator[tuple[int, ...]]:
        """What each request of a group shows: one order for each."""

    def turns(self, request: Request, images: Sequence[bytes], tokens: Sequence[str]) -> list[Turn]:
        """The conversation: ``images`` in the order shown; ``tokens``: see ``template.quoted``."""

    def phrases(self, group: Group) -> Mapping[str, str]:
        """What it says of a group beside the prompt: phrases that its questions ask of."""

    def form(self, request: Request) -> AnswerForm:
        """What an answer must look like."""

    def answer_tokens(self, request: Request) -> int:
        """Tokens that an answer will have, about."""

    def taken(self, request: Request, value: Any) -> tuple[tuple[Score, ...], Mapping[str, Any]]:
        """Scores and result of an answer that fits."""


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


def shown_order(candidates: int, group: str, repeat: int, *, seed: int, shuffle: bool) -> tuple[int, ...]:
    """The order in which a group's images are shown: drawn from seed, group and repeat.

    An odd repeat shows the order of the one before reversed, so that each pair of images is seen both ways.
    """
    order = list(range(candidates))
    if shuffle:
        random.Random(f"{seed}/{group}/{repeat // 2}").shuffle(order)
        if repeat % 2:
            order.reverse()
    return tuple(order)


def request_id(
    questionnaire: Questionnaire,
    group: Group,
    mode: Mode,
    order: Sequence[int],
    repeat: int,
    *,
    annotator: str,
    model: str,
    settings: Mapping[str, Any],
) -> str:
    """The id of a request: the hash of all that decides its answer.

    Args:
        questionnaire: What is asked.
        group: With its prompt and the digests of its images.
        mode: See ``Request``.
        order: See ``Request``.
        repeat: See ``Request``.
        annotator: Who is asked.
        model: See ``LogLine``.
        settings: Seed, temperature and all else that changes an answer.
    """
    asked = {
        "step": questionnaire.step,
        "template": questionnaire.template,
        "group": group.id,
        "prompt": group.prompt,
        "phrases": dict(questionnaire.phrases(group)),
        "images": [group.candidates[n].sha256 for n in order],
        "order": list(order),
        "mode": mode,
        "repeat": repeat,
        "annotator": annotator,
        "model": model,
        "settings": dict(settings),
    }
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def with_repairs(turns: Sequence[Turn], attempts: Sequence[Attempt]) -> list[Turn]:
    """The conversation with the last wrong answer and what was wrong with it."""
    if not attempts or not attempts[-1].text.strip():
        return list(turns)
    wrong = attempts[-1]
    cut = " It was cut off: write less." if wrong.finish == "length" else ""
    told = (
        f"This answer cannot be used: {wrong.problem}.{cut} Answer again with the whole JSON object and nothing else."
    )
    return [*turns, Turn("assistant", (wrong.text[:MAX_WRONG_TEXT],)), Turn("user", (told,))]


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
