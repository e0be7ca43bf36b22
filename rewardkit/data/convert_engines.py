"""Who does the units of a conversion: this process, several processes, or a Ray cluster. All give the same files."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from typing import Any

from rewardkit.data.convert_unit import UnitReport, UnitSettings, do_unit
from rewardkit.data.gathered import Stored
from rewardkit.data.prompt_tokens import prompt_tokens
from rewardkit.errors import RewardkitError, UserError

POLL_SECONDS = 0.2

_counted: Any = None
"""In a worker: the groups done by all workers, shared with the main process."""


class Workers:
    """Those who do the units of one conversion. A context manager: leaving it ends the processes.

    Args:
        count: Processes, or threads where there is one unit only.
        engine: ``processes`` or ``ray``.
    """

    def __init__(self, count: int, engine: str) -> None:
        self._count = count
        self._engine = engine
        # Workers are forked from a process that has imported what they need and done nothing else: a fork of this one
        # would copy the locks of threads that other libraries have started.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([do_unit.__module__])
        self._counted = self._context.Value("q", 0)
        self._pool: ProcessPoolExecutor | None = None
        self._begun: dict[int, tuple[UnitSettings, Future[UnitReport]]] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def start(self) -> None:
        """Starts the processes, which import what they need while this one goes on."""
        if self._engine == "processes" and self._count > 1 and self._pool is None:
            self._pool = ProcessPoolExecutor(self._count, self._context, _begin_worker, (self._counted,))
            for _ in range(self._count):
                self._pool.submit(_warm_up)

    @property
    def free(self) -> bool:
        """Whether a process waits for work, or soon will."""
        under_way = sum(not future.done() for _, future in self._begun.values())
        return self._pool is not None and under_way <= self._count

    def begin(self, settings: UnitSettings, unit: int, groups: Sequence[Stored]) -> None:
        """Gives a unit to a process ahead of ``do``, which then finds it done, or waits for it.

        Args:
            settings: With a folder of their own for units; ``do`` brings the unit from there.
            unit: Its number.
            groups: What the unit is made of.
        """
        assert self._pool is not None
        with suppress(BrokenProcessPool):  # which `do` tells
            self._begun[unit] = settings, self._pool.submit(_in_worker, settings, unit, 1, groups)

    def forget(self, unit: int) -> None:
        """Makes ``do`` do a unit anew that was begun; waits for a process that is at it."""
        _, future = self._begun.pop(unit, (None, None))
        if future is not None and not future.cancel():
            wait([future])

    def do(self, settings: UnitSettings, units: Sequence[int], done: Callable[[int], None]) -> Iterator[UnitReport]:
        """Does units; their reports in any order.

        Args:
            settings: Of the conversion.
            units: Numbers of those that are not done yet.
            done: Called now and then with the number of groups done so far.

        Raises:
            UserError: Ray is asked for and not installed.
            RewardkitError: A worker was killed, or a unit failed.
        """
        if not units:
            return iter(())
        if self._engine == "ray":
            return _with_ray(settings, units, done)
        processes = min(self._count, len(units))
        threads = max(1, self._count // processes)
        if processes > 1 or self._begun:
            return self._with_processes(settings, units, threads, done)
        return _here(settings, units, threads, done)

    def _with_processes(
        self, settings: UnitSettings, units: Sequence[int], threads: int, done: Callable[[int], None]
    ) -> Iterator[UnitReport]:
        self.start()
        assert self._pool is not None
        try:
            unit_of = {
                self._begun[unit][1]
                if unit in self._begun
                else self._pool.submit(_in_worker, settings, unit, threads): unit
                for unit in units
            }
            pending = set(unit_of)
            while pending:
                ready, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                done(self._counted.value)
                for future in ready:
                    report = future.result()
                    self._bring(settings, unit_of[future])
                    yield report
        except BrokenProcessPool:
            raise RewardkitError(
                "a worker was killed (by the system, for want of memory?); the same command goes on where it stopped, "
                "workers=1 needs less memory"
            ) from None
        done(self._counted.value)

    def _bring(self, settings: UnitSettings, unit: int) -> None:
        """Puts a finished unit that was begun ahead where the others lie."""
        ahead, _ = self._begun.get(unit, (None, None))
        if ahead is not None:
            place = settings.folder(unit)
            place.parent.mkdir(exist_ok=True)
            ahead.folder(unit).rename(place)


def _here(
    settings: UnitSettings, units: Sequence[int], threads: int, done: Callable[[int], None]
) -> Iterator[UnitReport]:
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1
        done(count)

    for unit in units:
        yield do_unit(settings, unit, threads, tick)


def _warm_up() -> None:
    """The first task of a worker, while the source is read: the vocabulary by which prompts are measured."""
    prompt_tokens("a prompt")


def _begin_worker(counted: Any) -> None:
    """In a new worker: takes the counter, and ends with the main process, however that ends."""
    global _counted
    _counted = counted
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _in_worker(settings: UnitSettings, unit: int, threads: int, groups: Sequence[Stored] | None = None) -> UnitReport:
    def tick() -> None:
        with _counted.get_lock():
            _counted.value += 1

    return do_unit(settings, unit, threads, tick, groups)


def _with_ray(settings: UnitSettings, units: Sequence[int], done: Callable[[int], None]) -> Iterator[UnitReport]:
    """Units as rows of a Ray dataset; the source and the work folder must lie on a disk that all nodes share."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise UserError('engine=ray needs Ray, which is not installed: pip install "rewardkit[ray]"') from None

    # Ray's workers have a working folder of their own.
    shared = replace(settings, work=settings.work.absolute(), root=settings.root.absolute())

    def do(row: dict[str, Any]) -> dict[str, Any]:
        do_unit(shared, int(row["unit"]))
        return row

    count = 0
    rows = ray.data.from_items([{"unit": unit} for unit in units]).repartition(len(units)).map(do)
    try:
        for row in rows.iter_rows():
            report = do_unit(settings, int(row["unit"]))  # done already: reads its report
            count += report.read
            done(count)
            yield report
    except ray.exceptions.RayError as error:
        raise RewardkitError(f"Ray could not write a shard: {str(error).strip().splitlines()[-1]}") from error
