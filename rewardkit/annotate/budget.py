"""What calls cost, by a price table that the user gives, and the cap that no call may pass."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from rewardkit.annotate.pace import Stopped


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, in the currency of the price table.

    Attributes:
        input: Tokens read.
        output: Tokens written.
    """

    input: float
    output: float

    def of(self, tokens_in: float, tokens_out: float) -> float:
        """The cost of some tokens."""
        return (self.input * tokens_in + self.output * tokens_out) / 1e6


class BudgetReached(Stopped):
    """The next call could cost more than is left."""


class Budget:
    """Money that may be spent.

    A call reserves what it could cost before it is sent, and gives back what it did not. Where calls in flight hold
    what is needed, the next one waits for them.

    Attributes:
        limit: The cap; None: there is none.
        spent: Of calls that came to an end, also in earlier runs.
        reached: Whether a call was not sent because of the cap.

    Args:
        limit: See above.
        spent: In earlier runs.
    """

    def __init__(self, limit: float | None, spent: float = 0.0) -> None:
        self.limit, self.spent, self.reached = limit, spent, False
        self._held = 0.0
        self._in_flight = 0
        self._freed = asyncio.Condition()

    async def reserve(self, cost: float) -> None:
        """Holds the highest cost of a call; raises BudgetReached where it does not fit and nothing is in flight."""
        async with self._freed:
            while self.limit is not None and self.spent + self._held + cost > self.limit:
                if self._in_flight == 0 or self.reached:
                    self.reached = True
                    self._freed.notify_all()
                    raise BudgetReached
                await self._freed.wait()
            self._held += cost
            self._in_flight += 1

    async def settle(self, held: float, cost: float) -> None:
        """Gives back what a call held, and books what it cost."""
        async with self._freed:
            self._held -= held
            self._in_flight -= 1
            self.spent += cost
            self._freed.notify_all()


def price_of(prices: Mapping[str, Price], annotator: str) -> Price:
    """The price of an annotator's tokens: its own, else the one for all; free where there is none."""
    return prices.get(annotator) or prices.get("") or Price(0.0, 0.0)
