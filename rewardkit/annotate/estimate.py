"""What an annotation will ask and cost, before anything is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewardkit.annotate.budget import Price
from rewardkit.annotate.images import image_tokens, text_tokens
from rewardkit.annotate.plan import Plan
from rewardkit.annotate.requests import Turn

LOOKED_AT = 50
"""Requests whose images are read for the estimate."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one annotator and questionnaire.

    Attributes:
        requests: All of them.
        done: Of these, in the log already.
        tokens_in: That the rest will read, about.
        tokens_out: That the rest will write, about.
        cost: Of the rest.
        most: The same if every answer is as long as it may be; repairs come on top.
    """

    requests: int
    done: int
    tokens_in: int
    tokens_out: int
    cost: float
    most: float


def tokens_to_read(turns: Sequence[Turn], *, max_side: int | None) -> int:
    """Tokens that a conversation will cost to read, about."""
    parts = [part for turn in turns for part in turn.parts]
    return sum(text_tokens(part) if isinstance(part, str) else image_tokens(part, max_side=max_side) for part in parts)


def estimate(plan: Plan, done: set[str], *, max_side: int | None, max_tokens: int, price: Price) -> Estimate:
    """What is left of a plan.

    Args:
        plan: The requests.
        done: Ids of those in the log.
        max_side: See ``shown_image``.
        max_tokens: Longest answer.
        price: Of the tokens.
    """
    requests, finished, looked, read, written = 0, 0, 0, 0, 0
    for request in plan:
        requests += 1
        if request.id in done:
            finished += 1
        elif looked < LOOKED_AT:
            files = plan.groups.images(request.position) if request.order else []
            turns = plan.questionnaire.turns(request, [files[n] for n in request.order], ())
            looked += 1
            read += tokens_to_read(turns, max_side=max_side)
            written += plan.questionnaire.answer_tokens(request)
    left = requests - finished
    share = left / looked if looked else 0.0
    tokens_in, tokens_out = round(read * share), min(round(written * share), left * max_tokens)
    most = price.of(tokens_in, left * max_tokens)
    return Estimate(requests, finished, tokens_in, tokens_out, price.of(tokens_in, tokens_out), most)
