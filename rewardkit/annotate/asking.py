"""Asks an annotator: thousands of calls in flight, within its pace and the budget, each answer logged as it comes.

The number in flight is bounded, and so are the bytes of their images: a request's images are read when its turn comes.
Every answer is judged by its form; one that does not fit is asked for again with what was wrong, at most ``repairs``
times, and then recorded as invalid. Nothing is guessed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewardkit.annotate.annotators import Annotator, Call, Denied, NoAnswer, NotAsked, Reply
from rewardkit.annotate.answer_form import is_refusal
from rewardkit.annotate.bounds import Bytes, Queue
from rewardkit.annotate.budget import Budget, Price
from rewardkit.annotate.estimate import tokens_to_read
from rewardkit.annotate.images import text_tokens
from rewardkit.annotate.log import Attempt, LogLine, Outcome, Score
from rewardkit.annotate.log_file import LogFile, Sent, now
from rewardkit.annotate.pace import Pace, Stopped
from rewardkit.annotate.requests import Questionnaire, Request, Turn, with_repairs
from rewardkit.errors import BadSample

MAX_BYTES_IN_FLIGHT = 2**29
"""Image files of calls in flight, bytes; as base64 and as the body of a request they are held three times."""

FAILURES_IN_A_ROW = 10
"""Requests in a row that could not be asked, none answered between: then nothing more is sent."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How an annotator is asked.

    Attributes:
        retries: Sendings of a call after the first one, where no answer came.
        repairs: Times that a wrong answer is asked for again.
        seed: Of the annotation.
        temperature: For the log.
        max_tokens: Of an answer; what a call may cost at most follows from it.
        max_side: See ``shown_image``.
        price: Of its tokens.
    """

    retries: int
    repairs: int
    seed: int
    temperature: float
    max_tokens: int
    max_side: int | None
    price: Price


@dataclass(slots=True)
class Progress:
    """What this run did so far.

    Attributes:
        ended: Requests that came to an end.
        passed_over: Requests that were in the log before.
        calls: That went out.
        bad: Requests whose images cannot be read, and why.
        failed: Requests that could not be asked, and why; the first ones.
        failures: How many these are.
        trouble: Why the last sending brought no answer; "" after an answer.
        stopped: Why nothing more is sent; "" while all goes on.
    """

    ended: int = 0
    passed_over: int = 0
    calls: int = 0
    bad: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    failures: int = 0
    trouble: str = ""
    stopped: str = ""


class Asking:
    """Asks one annotator one questionnaire.

    Args:
        annotator: Who is asked.
        questionnaire: What.
        images: Reads the files of a group's candidates, by position.
        log: Takes every answer.
        manner: How.
        pace: When.
        budget: What it may cost.
        progress: Is kept up to date.
        stop: Set where nothing more is to be sent.
    """

    def __init__(
        self,
        annotator: Annotator,
        questionnaire: Questionnaire,
        images: Callable[[int], list[bytes]],
        *,
        log: LogFile,
        manner: Manner,
        pace: Pace,
        budget: Budget,
        progress: Progress,
        stop: asyncio.Event,
    ) -> None:
        self._annotator, self._questionnaire, self._images = annotator, questionnaire, images
        self._log, self._manner, self._pace, self._budget = log, manner, pace, budget
        self._progress, self._stop = progress, stop
        self._bytes = Bytes(MAX_BYTES_IN_FLIGHT)
        self._in_a_row = 0
        self._excess = 1.0  # how far counted tokens were above the estimate, at most

    async def ask(self, requests: Iterable[Request]) -> None:
        """Asks requests, ``at_once`` of them at a time; those that have a line in the log are passed over.

        Raises:
            Denied: No request can be asked. Those in flight are brought to an end first.
        """
        todo = Queue(self._not_done(requests))
        workers = [asyncio.create_task(self._work(todo)) for _ in range(self._annotator.at_once)]
        ends = await asyncio.gather(*workers, return_exceptions=True)
        for error in ends:
            if isinstance(error, BaseException) and not isinstance(error, Stopped):
                raise error

    def _not_done(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            if request.id not in self._log.done:
                yield request
            else:
                self._progress.passed_over += 1

    async def _work(self, todo: Queue) -> None:
        while not self._stop.is_set():
            request = await todo.next()
            if request is None:
                return
            try:
                await self._one(request)
            except BadSample as error:
                self._progress.bad.append(f"group {request.group.id}: {error.reason}")
            except NotAsked as error:
                self._count_failure(request, str(error))
            except BaseException as error:
                self._stop_because(str(error) if isinstance(error, Denied | OSError) else "")
                raise

    async def _one(self, request: Request) -> None:
        """Brings a request to its end."""
        images = await asyncio.to_thread(self._read, request)
        size = sum(map(len, images))
        await self._bytes.take(size)
        try:
            turns = self._questionnaire.turns(request, images, self._annotator.tokens)
            await self._converse(request, turns, images)
        finally:
            await self._bytes.give(size)

    async def _converse(self, request: Request, turns: Sequence[Turn], images: Sequence[bytes]) -> None:
        """First answer and repairs; an earlier run may have had some of them."""
        began = time.monotonic()
        attempts = list(self._log.sent.get(request.id, Sent()).answers)
        while True:
            if attempts and self._is_final(attempts):
                await self._log.end(self._line(request, attempts, time.monotonic() - began))
                self._progress.ended += 1
                self._in_a_row = 0
                return
            said = with_repairs(turns, attempts)
            estimate = tokens_to_read(said, max_side=self._manner.max_side)
            reply, seconds, retries = await self._send(request, said, images, len(attempts), estimate)
            attempts.append(self._attempt(request, reply, seconds, retries, estimate))
            if not self._is_final(attempts):
                await self._log.answered(request.id, len(attempts) - 1, attempts[-1])

    def _attempt(self, request: Request, reply: Reply, seconds: float, retries: int, estimate: int) -> Attempt:
        """A reply with what is wrong with it."""
        text, problem = reply.text, None
        if reply.refusal is not None:
            text, problem = reply.refusal or reply.text, _REFUSED
        else:
            _, problem = self._questionnaire.form(request).read(text)
            if problem is not None and is_refusal(text):
                problem = _REFUSED
        return Attempt(
            text=text,
            problem=problem,
            tokens_in=reply.tokens_in,
            tokens_out=reply.tokens_out,
            seconds=round(seconds, 3),
            model=reply.model,
            finish=reply.finish,
            retries=retries,
            estimate=estimate,
        )

    def _is_final(self, attempts: Sequence[Attempt]) -> bool:
        """Whether the last answer is taken, refused, or may not be repaired any more."""
        return attempts[-1].problem in (None, _REFUSED) or len(attempts) > self._manner.repairs

    def _line(self, request: Request, attempts: Sequence[Attempt], seconds: float) -> LogLine:
        """The line of a request that is at its end."""
        last = attempts[-1]
        outcome: Outcome = "refused" if last.problem == _REFUSED else "ok" if last.problem is None else "invalid"
        scores: tuple[Score, ...] = ()
        result: Mapping[str, Any] = {}
        if outcome == "ok":
            value, _ = self._questionnaire.form(request).read(last.text)
            scores, result = self._questionnaire.taken(request, value)
        return LogLine(
            request=request.id,
            step=self._questionnaire.step,
            group=request.group.id,
            annotator=self._annotator.name,
            model=self._annotator.model,
            mode=request.mode,
            order=request.order,
            images=request.images,
            prompt=request.group.prompt,
            repeat=request.repeat,
            seed=self._manner.seed,
            temperature=self._manner.temperature,
            questions=self._questionnaire.name,
            template=self._questionnaire.template,
            outcome=outcome,
            reason=last.text if outcome == "refused" else last.problem,
            scores=scores,
            result=result,
            attempts=tuple(attempts),
            seconds=round(seconds, 3),
            time=now(),
        )

    async def _send(
        self, request: Request, turns: Sequence[Turn], images: Sequence[bytes], attempt: int, estimate: int
    ) -> tuple[Reply, float, int]:
        """Sends a call until an answer comes; the answer, its seconds, and the sendings before it.

        Raises:
            NotAsked: None came in all sendings.
            Stopped: Nothing more is to be sent.
        """
        form = self._questionnaire.form(request)
        seed = self._manner.seed + request.repeat
        call = Call(request, turns, images, form.schema, f"{request.id}-{attempt}", seed)
        for sending in range(self._manner.retries + 1):
            await self._pace.turn()
            tokens_in = round(estimate * self._excess)
            held = self._manner.price.of(tokens_in, self._manner.max_tokens)
            await self._budget.reserve(held)
            cost = held
            try:
                if self._stop.is_set():
                    cost = 0.0
                    raise Stopped
                self._log.sending(request.id, attempt, self._annotator.name, (tokens_in, self._manner.max_tokens))
                self._progress.calls += 1
                began = time.monotonic()
                reply = await self._annotator.answer(call)
                cost, self._progress.trouble = self._cost(reply, estimate), ""
                return reply, time.monotonic() - began, sending
            except NoAnswer as error:
                self._log.failed(request.id, attempt, str(error), charged=error.charged)
                cost = held if error.charged else 0.0
                if error.busy and error.wait:
                    self._pace.hold(error.wait)
                why = self._progress.trouble = str(error)
                pause = max(error.wait, self._pace.pause(sending))
            except (NotAsked, Denied, BadSample) as error:
                self._log.failed(request.id, attempt, str(error), charged=False)
                cost = 0.0
                raise
            finally:
                await self._budget.settle(held, cost)
            if sending < self._manner.retries:
                await self._pace.wait(pause)
        raise NotAsked(f"no answer came in {self._manner.retries + 1} sendings; the last: {why}")

    def _cost(self, reply: Reply, estimate: int) -> float:
        """What an answer cost; where the server does not count its tokens, by their estimate."""
        if reply.tokens_in is not None:
            self._excess = max(self._excess, reply.tokens_in / max(1, estimate))
        read = estimate if reply.tokens_in is None else reply.tokens_in
        written = text_tokens(reply.text) if reply.tokens_out is None else reply.tokens_out
        return self._manner.price.of(read, written)

    def _read(self, request: Request) -> list[bytes]:
        if not request.order:
            return []
        images = self._images(request.position)
        return [images[n] for n in request.order]

    def _count_failure(self, request: Request, why: str) -> None:
        progress = self._progress
        progress.failures += 1
        if len(progress.failed) < FAILURES_IN_A_ROW:
            progress.failed.append(f"group {request.group.id}: {why}")
        self._in_a_row += 1
        if self._in_a_row >= FAILURES_IN_A_ROW:
            self._stop_because(
                f"{self._in_a_row} requests in a row could not be asked of {self._annotator.name}; the last: {why}"
            )

    def _stop_because(self, why: str) -> None:
        self._progress.stopped = self._progress.stopped or why
        self._stop.set()


_REFUSED = "refused"
"""``Attempt.problem`` of a refusal."""
