"""The calls of an annotation: ``calls.jsonl``, with a line for each one that is sent, before it is.

::

    {"request", "attempt", "sent": time, "annotator", "tokens": [in, out at most]}
    {"request", "attempt", "failed": why, "charged": true | false}      it brought no answer
    {"request", "attempt", "answer": {…}}                               an answer that has to be repaired

So after a kill it is known which calls had been in flight, and an answer that was there is never asked for again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardkit.annotate.log import Attempt
from rewardkit.errors import DataError

CALLS_FILE = "calls.jsonl"


@dataclass(slots=True)
class Sent:
    """What is known of the calls of one request.

    Attributes:
        annotator: Who was asked.
        sent: Calls that went out.
        ended: Of these, those that brought an answer or surely cost nothing.
        tokens: Tokens of the last one: read, and written at most.
        answers: That have to be repaired, in order; none where the request has a line in the log.
        cut_off: Calls that brought no answer, and may have been charged.
    """

    annotator: str = ""
    sent: int = 0
    ended: int = 0
    tokens: tuple[int, int] = (0, 0)
    answers: list[Attempt] = field(default_factory=list)
    cut_off: int = 0

    @property
    def unknown(self) -> int:
        """Calls of which it is not known whether they were charged."""
        return max(0, self.sent - self.ended)

    @property
    def in_flight(self) -> int:
        """Calls that were in flight when a run was ended by force."""
        return max(0, self.unknown - self.cut_off)


def read_calls(folder: Path, answers: Mapping[str, int]) -> dict[str, Sent]:
    """Request to its calls: of those without a line in the log; of the others only where something is not known.

    Args:
        folder: Of the annotation.
        answers: Request to the number of answers in its line of the log.

    Raises:
        DataError: A line is damaged; names it.
    """
    found: dict[str, Sent] = defaultdict(Sent)
    for record in _lines(folder / CALLS_FILE):
        call = found[record["request"]]
        if "sent" in record:
            call.sent += 1
            call.annotator, call.tokens = record["annotator"], tuple(record["tokens"])
        elif "failed" in record:
            call.cut_off += record["charged"]
            call.ended += not record["charged"]
        elif record["attempt"] == len(call.answers):
            call.ended += 1
            call.answers.append(Attempt(**record["answer"]))
    for request, count in answers.items():
        if request in found:
            call = found[request]
            call.ended += count - len(call.answers)
            call.answers = []  # they stand in its line
    return {request: call for request, call in found.items() if request not in answers or call.unknown}


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    if not file.is_file():
        return
    with file.open("rb") as lines:
        for number, text in enumerate(lines, 1):
            try:
                record = json.loads(text)
                known = isinstance(record, dict) and {"request", "attempt"} <= set(record)
                if not known or not {"sent", "failed", "answer"} & set(record):
                    raise ValueError("it is no line of such a file")
            except (ValueError, RecursionError) as error:
                raise DataError(f"{file}, line {number} is damaged: {error}; take the line out of the file") from None
            yield record
