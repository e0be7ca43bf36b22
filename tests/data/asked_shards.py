"""A question set, a maker of rows that needs no model, and groups with answers: what tests of evaluators' data read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rewardkit.data.group import Answer, Candidate, Comparison, Group
from rewardkit.data.question_labels import Answered
from rewardkit.data.questions import Option, Question, QuestionSet
from rewardkit.errors import BadSample

DIMENSIONS = ("fidelity", "hands")


def _question(key: str, values: tuple[Any, ...], dimension: str) -> Question:
    options = tuple(Option(str(n), f"level {n}", value) for n, value in enumerate(values))
    return Question(key, f"how is {key}?", options, dimension, key)


SET = QuestionSet(
    "made up",
    "",
    (
        _question("fidelity", (1, 2, 3), "fidelity"),
        _question("hands", ("NA", 0, 1), "hands"),
        _question("fingers", (0, 1, 5), "hands"),
    ),
)


def answered_group(number: int) -> Group:
    """2 or 3 candidates with answers, N/A, means between options, comparisons, or nothing, as the number says."""
    k = 2 + number % 2
    answers = [
        Answer("fidelity", c, f"r{r}", float(1 + (number + c * r) % 3), f"reason {number}")
        for c in range(k)
        for r in range(number % 3)
    ]
    answers += [Answer("hands", 0, "r0", "NA"), Answer("hands", 1, "r0", 1.0)] if number % 4 == 0 else []
    answers += [Answer("looks", k - 1, "r1", 2.5), Answer("looks", k - 1, "r2", 2.0)] if number % 5 == 0 else []
    compared = (Comparison("hands", 0, 1, (2, 0, 1), 0.5),) if number % 7 == 3 else ()
    return Group(
        id=f"g{number:04d}",
        prompt="word " * (number % 11),
        candidates=tuple(Candidate("x.png", width=12, height=9) for _ in range(k)),
        answers=tuple(answers),
        comparisons=compared,
    )


@dataclass
class Asked:
    """A batch of questions without tokens: for each candidate its pixels' sum and what it is asked."""

    images: Tensor
    asked: list[dict[str, Answered]]
    prompts: list[str]

    def to(self, *args: Any, **kwargs: Any) -> Asked:
        return replace(self, images=self.images.to(*args, **kwargs))

    def pin_memory(self) -> Asked:
        return self

    def answered(self) -> Tensor:
        """Questions with shares, by dimension."""
        found = torch.zeros(len(DIMENSIONS))
        for each in self.asked:
            for key, said in each.items():
                found[DIMENSIONS.index(SET[key].dimension)] += said.shares is not None
        return found


class PlainRows:
    """A maker of rows; a prompt with more words than ``longest`` is too long."""

    questions = SET
    style = "characters"
    pad_id = -7

    def __init__(self, longest: int = 100) -> None:
        self.longest = longest

    def read(
        self, image: Tensor, prompt: str, asked: Mapping[str, Answered], slots: Mapping[str, Any] | None = None
    ) -> Any:
        assert asked and image.dtype == torch.uint8
        if len(prompt.split()) > self.longest:
            raise BadSample("its row is too long")
        return int(image.long().sum()), dict(asked), prompt

    def caption(self, text: str) -> list[int]:
        return [len(word) for word in text.split()]

    def collate(self, images: Sequence[Any]) -> Asked:
        sums, asked, prompts = zip(*images, strict=True)
        return Asked(torch.tensor(sums), list(asked), list(prompts))
