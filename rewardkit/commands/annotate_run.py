"""One run of ``annotate``: the steps that prepare prompts, then the questions, until all is asked or it is stopped."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from rewardkit.annotate.annotators import Annotator
from rewardkit.annotate.asking import Asking, Manner, Progress
from rewardkit.annotate.budget import Budget, Price, price_of
from rewardkit.annotate.figures import figures_of, total
from rewardkit.annotate.inputs import Groups, PreparedGroups
from rewardkit.annotate.log import Step
from rewardkit.annotate.log_file import LogFile
from rewardkit.annotate.pace import Pace
from rewardkit.annotate.plan import Plan, Planned
from rewardkit.annotate.prompt_steps import STEPS, Prepared, write_prompts
from rewardkit.annotate.questionnaires import PromptStep
from rewardkit.annotate.requests import Questionnaire
from rewardkit.config.annotate_options import AnnotateOptions
from rewardkit.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED, UserError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C, and what clusters send before they take a machine away."""


@dataclass(slots=True)
class Annotation:
    """What is to be done, as values.

    Attributes:
        options: Of the verb.
        groups: What is annotated.
        has_images: Whether there are images; without, only prompts are prepared.
        questionnaires: What is asked, by whether an annotator gives reasons.
        prices: Annotator to price.
        settings: See ``request_id``.
    """

    options: AnnotateOptions
    groups: Groups
    has_images: bool
    questionnaires: Mapping[bool, Questionnaire]
    prices: Mapping[str, Price]
    settings: Mapping[str, Any]

    @property
    def steps(self) -> tuple[Step, ...]:
        """That prepare prompts, in order."""
        return tuple(step for step in STEPS if step in self.options.steps)

    def plan(self, annotator: Planned, groups: Groups, *, reasons: bool) -> Plan:
        """The requests of an annotator; one that does not write answers the same however often it is asked."""
        return Plan(
            groups=groups,
            questionnaire=self.questionnaires[reasons],
            annotator=annotator,
            mode=self.options.mode,  # type: ignore[arg-type]  # the schema allows these
            repeats=self.options.repeats if reasons else 1,
            settings=self.settings,
        )

    def plan_step(self, step: Step, annotator: Planned, groups: Groups) -> Plan:
        """The requests of a step."""
        return Plan(groups, PromptStep(step), annotator, "prompt", 1, self.settings)


@dataclass(slots=True)
class Run:
    """One run, and what came of it.

    Attributes:
        annotation: What is done.
        annotators: Who is asked.
        log: Takes the answers.
        budget: What may be spent.
        stop: Set where nothing more is to be sent.
        progress: Of all annotators together.
        plans: That were begun; they know the groups that could not be read.
        prepared: What became of the prompts.
        expected: Requests that are planned.
        signal: That ended it; 0 for none.
        began: When, as ``time.monotonic`` tells it.
    """

    annotation: Annotation
    annotators: Sequence[Annotator]
    log: LogFile
    budget: Budget
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    progress: Progress = field(default_factory=Progress)
    plans: list[Plan] = field(default_factory=list)
    prepared: Prepared = field(default_factory=Prepared)
    expected: int = 0
    signal: int = 0
    began: float = field(default_factory=time.monotonic)

    async def all(self) -> None:
        """Asks everything; raises ``Denied`` where nothing can be asked."""
        groups = await self._prepare(self.annotation.groups)
        if not self.annotation.has_images or self.stop.is_set():
            return
        plans = [self.annotation.plan(one, groups, reasons=one.rationale) for one in self.annotators]
        self._expect(plans)
        ends = await asyncio.gather(
            *(self._ask(one, plan) for one, plan in zip(self.annotators, plans, strict=True)), return_exceptions=True
        )
        for error in ends:
            if isinstance(error, BaseException):
                raise error

    async def _prepare(self, groups: Groups) -> Groups:
        """Takes the steps that prepare prompts."""
        steps = self.annotation.steps
        if not steps:
            return groups
        asked = next((one for one in self.annotators if one.rationale), None)
        if asked is None:
            raise UserError(f"steps={','.join(steps)}: no annotator writes text; name an endpoint or a model")
        now = PreparedGroups(groups, self.prepared.prompts)
        for step in steps:
            plan = self.annotation.plan_step(step, asked, now)
            self._expect([plan])
            await self._ask(asked, plan)
            if self.progress.failures and not self.stop.is_set():
                self.progress.stopped = f"steps={step}: not every prompt could be prepared"
                self.stop.set()
            if self.stop.is_set():
                return now
            self.prepared.take(step, self.log.lines(), now)
        write_prompts(self.log.folder, groups, self.prepared, steps)
        return now

    def _expect(self, plans: Sequence[Plan]) -> None:
        self.plans += plans
        self.expected += sum(map(len, plans))

    async def _ask(self, annotator: Annotator, plan: Plan) -> None:
        options = self.annotation.options
        await Asking(
            annotator,
            plan.questionnaire,
            plan.groups.images,
            log=self.log,
            manner=Manner(
                retries=options.retries,
                repairs=options.repairs,
                seed=options.seed,
                temperature=options.temperature,
                max_tokens=options.max_tokens,
                max_side=options.image_side,
                price=price_of(self.annotation.prices, annotator.name) if annotator.paid else Price(0.0, 0.0),
            ),
            pace=Pace(
                per_minute=options.requests_per_minute if annotator.paid else None,
                first_pause=options.first_pause_s,
                seed=options.seed,
                stop=self.stop,
            ),
            budget=self.budget,
            progress=self.progress,
            stop=self.stop,
        ).ask(plan)

    @contextmanager
    def signals(self, console: Console) -> Iterator[None]:
        """A signal ends the sending; a second Ctrl-C ends at once."""
        loop, mine = asyncio.get_running_loop(), asyncio.current_task()

        def received(number: int) -> None:
            if self.signal and number == signal.SIGINT and mine is not None:
                mine.cancel()
            elif not self.signal:
                console.print("stopping: the calls in flight are waited for (Ctrl-C again ends at once)")
            self.signal = self.signal or number
            self.stop.set()

        try:
            for number in SIGNALS:
                loop.add_signal_handler(number, received, number)
        except (ValueError, RuntimeError):  # not in the main thread: signals are the caller's
            yield
            return
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    @property
    def signal_code(self) -> int:
        """The exit code of the signal that ended it."""
        return EXIT_INTERRUPTED if self.signal == signal.SIGINT else EXIT_PREEMPTED


def start(annotation: Annotation, annotators: Sequence[Annotator], log: LogFile) -> Run:
    """A run that goes on with what was spent before."""
    limit = annotation.options.budget
    before = total(figures_of(log.folder, annotation.prices) if limit is not None else {})
    budget = Budget(limit, before.cost + before.unknown_cost)
    return Run(annotation, annotators, log, budget)
