"""Who is asked: the interface of annotators, and the ways in which asking one can fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rewardkit.annotate.log import Mode
from rewardkit.annotate.requests import Request, Turn
from rewardkit.errors import RewardkitError


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        text: What was written.
        refusal: What was said instead of an answer, where the server marks it as a refusal; None where it does not.
        tokens_in: See ``Attempt``.
        tokens_out: See ``Attempt``.
        model: See ``Attempt``.
        finish: See ``Attempt``.
    """

    text: str
    refusal: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    model: str | None = None
    finish: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One sending.

    Attributes:
        request: What it belongs to.
        turns: The conversation.
        images: The files as they lie in the data, in the order shown.
        schema: JSON schema of the answer.
        key: The same for each sending of one attempt (``Idempotency-Key``).
        seed: Of the sampling.
    """

    request: Request
    turns: Sequence[Turn]
    images: Sequence[bytes]
    schema: dict[str, Any]
    key: str
    seed: int


class Annotator(Protocol):
    """Somebody who is asked.

    Attributes:
        name: Its name in this annotation.
        model: See ``LogLine``.
        at_once: Calls in flight at most.
        rationale: Whether its answers give reasons.
        tokens: Control tokens that texts of others must not spell, as far as they are known.
        paid: Whether calls cost money (a server's do).
    """

    name: str
    model: str
    at_once: int
    rationale: bool
    tokens: Sequence[str]
    paid: bool

    def mode(self, wanted: Mode) -> Mode:
        """The mode in which it is asked; some see one image at a time."""

    async def answer(self, call: Call) -> Reply:
        """Sends a call.

        Raises:
            NoAnswer: It may work later.
            NotAsked: This request cannot be asked.
            Denied: No request can be.
        """

    async def close(self) -> None:
        """Ends its connections."""


class NoAnswer(Exception):
    """A sending without an answer; it is tried again.

    Args:
        text: What went wrong.
        wait: Seconds that the server asks to wait.
        charged: Whether it may have been charged: the request went out, and what became of it is not known.
        busy: Whether the server says that it gets too much; then nobody else is sent for as long.
    """

    def __init__(self, text: str, *, wait: float = 0.0, charged: bool = False, busy: bool = False) -> None:
        super().__init__(text)
        self.wait, self.charged, self.busy = wait, charged, busy


class NotAsked(Exception):
    """This request cannot be asked, however often it is sent."""


class Denied(RewardkitError):
    """No request can be asked: a wrong key, a model that is not there."""

    exit_code = 2
