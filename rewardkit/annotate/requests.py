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

from rewardkit.annotate.answer_form import AnswerForm
from rewardkit.annotate.log import Attempt, Mode, Score, Step
from rewardkit.data.group import Group

MAX_WRONG_TEXT = 20_000
"""Letters of a wrong answer that its repair repeats."""


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
