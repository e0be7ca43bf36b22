"""Units of a conversion that are written while the source is still read.

Rows of a group may stand anywhere in a source, so that no unit is certain before the last row. But mostly they stand
together. A unit is given to a free worker once a whole unit of later groups has begun, and lies in a folder of its own
until all rows are read. Where a later row belongs to a unit that was given away, what the worker made of it is thrown
away; the unit is done again, as if it had never been given, and no other is given early any more.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from rewardkit.data.convert_engines import Workers
from rewardkit.data.convert_unit import UnitSettings
from rewardkit.data.spool import Spool

EARLY_FOLDERS = "early-*"
"""Where units lie that may still be thrown away; named by the process, so that no other run's worker writes there."""


class EarlyUnits:
    """Gives units to workers while the source is read.

    Args:
        settings: Of the conversion.
        hands: Who does units.
    """

    def __init__(self, settings: UnitSettings, hands: Workers) -> None:
        self._size = settings.groups
        self._settings = replace(settings, units=f"early-{os.getpid()}")
        self._hands = hands
        self._next = 0
        self._given: set[int] = set()
        self._late: set[int] = set()

    def look(self, spool: Spool) -> None:
        """Gives the units that seem to be whole to workers that are free; called now and then while rows are read."""
        while not self._late and spool.count >= (self._next + 2) * self._size:
            self._hands.start()
            if not self._hands.free:
                return
            groups = spool.in_memory(self._next * self._size, (self._next + 1) * self._size)
            if groups is not None:
                self._hands.begin(self._settings, self._next, groups)
                self._given.add(self._next)
            self._next += 1

    def said(self, number: int) -> None:
        """Takes note that something was said of a group."""
        if number // self._size in self._given:
            self._late.add(number // self._size)

    def settle(self) -> None:
        """Forgets what must be done again: called when all rows are read."""
        for unit in self._late:
            self._hands.forget(unit)

    def abandon(self) -> None:
        """Waits for what is under way and forgets all of it: reading has failed."""
        for unit in self._given:
            self._hands.forget(unit)


def remove_early(work: Path) -> None:
    """Removes what lies there of a run that was killed."""
    for folder in work.glob(EARLY_FOLDERS):
        shutil.rmtree(folder, ignore_errors=True)
