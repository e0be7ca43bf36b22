"""Which requests an annotation consists of: every group, repeat and, one by one, image, for one annotator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from rewardkit.annotate.inputs import Groups, PreparedGroups
from rewardkit.annotate.log import Mode
from rewardkit.annotate.requests import Questionnaire, Request, request_id
from rewardkit.errors import BadSample


class Planned(Protocol):
    """Of an annotator, what decides which requests there are; see ``Annotator``."""

    @property
    def name(self) -> str:
        """Its name in this annotation."""

    @property
    def model(self) -> str:
        """See ``LogLine``."""

    def mode(self, wanted: Mode) -> Mode:
        """See ``Annotator``."""


@dataclass(slots=True)
class Plan:
    """The requests of one annotator.

    Attributes:
        groups: What is annotated.
        questionnaire: What is asked.
        annotator: Who is asked.
        mode: As wanted; the annotator's own decides.
        repeats: Times that all is asked.
        settings: See ``request_id``.
        bad: Groups that cannot be read, and why; filled while planning.
    """

    groups: Groups
    questionnaire: Questionnaire
    annotator: Planned
    mode: Mode
    repeats: int
    settings: Mapping[str, Any]
    bad: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        """How many requests these are, if every question applies to every group."""
        mode = self.annotator.mode(self.mode)
        each = sum(self.groups.candidates(n) if mode == "per_image" else 1 for n in range(len(self.groups)))
        return each * self.repeats

    def __iter__(self) -> Iterator[Request]:
        for position in range(len(self.groups)):
            try:
                group = self.groups.record(position)
            except BadSample as error:
                self.bad.append(f"group {position}: {error.reason}")
                continue
            if isinstance(self.groups, PreparedGroups) and self.groups.is_dropped(group):
                continue
            mode = self.annotator.mode(self.mode)
            for repeat in range(self.repeats):
                for order in self.questionnaire.shows(group, mode, repeat):
                    id = request_id(
                        self.questionnaire,
                        group,
                        mode,
                        order,
                        repeat,
                        annotator=self.annotator.name,
                        model=self.annotator.model,
                        settings=self.settings,
                    )
                    yield Request(id, position, group, mode, order, repeat)
