"""Orders, pace and budget: what decides when a call goes out and what it shows."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from rewardkit.annotate.budget import Budget, BudgetReached
from rewardkit.annotate.pace import LONGEST_PAUSE, Pace, Stopped
from rewardkit.annotate.requests import shown_order


def test_orders_are_drawn_from_the_seed_and_swapped_by_each_second_repeat() -> None:
    orders = [shown_order(4, "g", repeat, seed=0, shuffle=True) for repeat in range(4)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert orders[1] == orders[0][::-1] and orders[3] == orders[2][::-1]
    assert orders == [shown_order(4, "g", repeat, seed=0, shuffle=True) for repeat in range(4)]
    assert shown_order(4, "g", 1, seed=0, shuffle=False) == (0, 1, 2, 3)
    first = Counter(shown_order(4, f"g{n}", 0, seed=0, shuffle=True)[0] for n in range(2000))
    assert all(400 < count < 600 for count in first.values())  # 500 expected, standard deviation 19


def test_calls_keep_their_distance_and_a_hold_stops_everybody() -> None:
    async def times() -> list[float]:
        pace = Pace(per_minute=60 * 200, first_pause=1, seed=0, stop=asyncio.Event())
        began, found = time.monotonic(), []

        async def one() -> None:
            await pace.turn()
            found.append(time.monotonic() - began)

        await asyncio.gather(*(one() for _ in range(10)))
        pace.hold(0.3)
        await one()
        return found

    found = asyncio.run(times())
    assert found[9] - found[0] >= 9 / 200 - 0.005
    assert found[10] >= found[9] + 0.29


def test_waits_grow_and_end_when_nothing_more_is_to_be_sent() -> None:
    async def stopped() -> float:
        stop = asyncio.Event()
        pace = Pace(per_minute=None, first_pause=2, seed=0, stop=stop)
        assert [1 <= pace.pause(0) <= 2, 4 <= pace.pause(2) <= 8] == [True, True]
        assert LONGEST_PAUSE / 2 <= pace.pause(10_000) <= LONGEST_PAUSE
        asyncio.get_running_loop().call_later(0.05, stop.set)
        began = time.monotonic()
        with pytest.raises(Stopped):
            await pace.wait(60)
        return time.monotonic() - began

    assert asyncio.run(stopped()) < 5


def test_the_budget_is_never_passed_and_waits_for_what_comes_back() -> None:
    async def spend() -> Budget:
        budget = Budget(1.0)

        async def call(cost: float) -> bool:
            try:
                await budget.reserve(0.4)
            except BudgetReached:
                return False
            await asyncio.sleep(0.01)
            await budget.settle(0.4, cost)
            assert budget.spent <= 1.0
            return True

        done = await asyncio.gather(*(call(0.1) for _ in range(20)))
        assert sum(done) == 7  # after 0.6 one more may cost 0.4; after 0.7 it may not
        return budget

    budget = asyncio.run(spend())
    assert budget.reached and budget.spent == pytest.approx(0.7)
