"""What an annotation cost and how it went, counted from its log: requests, outcomes, tokens, money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewardkit.annotate.budget import Price, price_of
from rewardkit.annotate.calls import read_calls
from rewardkit.annotate.images import text_tokens
from rewardkit.annotate.log import LOG_FILE, Attempt, LogLine, read_log


@dataclass(slots=True)
class Figures:
    """Of one annotator, or of all.

    Attributes:
        requests: That came to an end.
        ok: Of these, with an answer that fits its form.
        invalid: Of these, without one after all repairs.
        refused: Of these, that the model would not answer.
        answers: That came, repairs included.
        repairs: Answers that were asked for again.
        retries: Sendings that brought no answer.
        tokens_in: Read, as the servers count.
        tokens_out: Written, as the servers count.
        not_counted: Answers of which a server did not say the tokens; their cost is by estimate.
        cost: By the price table.
        unknown_calls: Sent, and whether they were charged is not known (cut off, timed out, in flight at a kill).
        unknown_cost: The most that these can have cost.
    """

    requests: int = 0
    ok: int = 0
    invalid: int = 0
    refused: int = 0
    answers: int = 0
    repairs: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    not_counted: int = 0
    cost: float = 0.0
    unknown_calls: int = 0
    unknown_cost: float = 0.0

    def add(self, other: Figures) -> None:
        """Adds those of another annotator."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


def figures_of(folder: Path, prices: Mapping[str, Price]) -> dict[str, Figures]:
    """Annotator to its figures, of all that lies in the folder of an annotation.

    Args:
        folder: Of the annotation.
        prices: Annotator to price; "" for all others.

    Raises:
        DataError: A line is damaged.
    """
    found: dict[str, Figures] = {}
    answers: dict[str, int] = {}
    for line in read_log(folder) if (folder / LOG_FILE).is_file() else ():
        _count(line, found.setdefault(line.annotator, Figures()), price_of(prices, line.annotator))
        answers[line.request] = len(line.attempts)
    for calls in read_calls(folder, answers).values():
        figures, price = found.setdefault(calls.annotator, Figures()), price_of(prices, calls.annotator)
        figures.unknown_calls += calls.unknown
        figures.unknown_cost += calls.unknown * price.of(*calls.tokens)
        figures.cost += sum(cost_of(answer, price) for answer in calls.answers)  # of a request that is not at its end
    return found


def _count(line: LogLine, figures: Figures, price: Price) -> None:
    """Counts a line of the log."""
    figures.requests += 1
    setattr(figures, line.outcome, getattr(figures, line.outcome) + 1)
    figures.answers += len(line.attempts)
    figures.repairs += max(0, len(line.attempts) - 1)
    for attempt in line.attempts:
        figures.retries += attempt.retries
        figures.tokens_in += attempt.tokens_in or 0
        figures.tokens_out += attempt.tokens_out or 0
        figures.not_counted += attempt.tokens_in is None or attempt.tokens_out is None
        figures.cost += cost_of(attempt, price)


def cost_of(attempt: Attempt, price: Price) -> float:
    """What an answer cost; where the server does not count its tokens, by their estimate."""
    read = attempt.estimate if attempt.tokens_in is None else attempt.tokens_in
    written = text_tokens(attempt.text) if attempt.tokens_out is None else attempt.tokens_out
    return price.of(read, written)


def total(figures: Mapping[str, Figures]) -> Figures:
    """Of all annotators together."""
    summed = Figures()
    for one in figures.values():
        summed.add(one)
    return summed


def as_record(figures: Mapping[str, Figures], *, calls: int, seconds: float) -> dict[str, Any]:
    """For ``annotate.json``.

    Args:
        figures: By annotator.
        calls: That this run sent.
        seconds: That this run took.
    """
    return {
        "all": asdict(total(figures)),
        "annotators": {name: asdict(one) for name, one in figures.items()},
        "this_run": {
            "calls": calls,
            "seconds": round(seconds, 3),
            "calls_per_second": round(calls / seconds, 3) if seconds else None,
        },
    }
