"""A log of simulated annotators on groups of the embedded dataset, for the tests of what is made of a log."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rewardkit.annotate.log import LOG_FILE, Attempt, LogLine, Outcome, Score, line_to_json
from rewardkit.data.demo import demo_groups, demo_utilities
from rewardkit.data.demo.voters import FAULT_DIMENSIONS
from rewardkit.data.group import Group


@dataclass
class ListedGroups:
    """Groups with their images, as ``annotate`` reads them."""

    rows: list[tuple[Group, list[bytes]]]

    def __len__(self) -> int:
        return len(self.rows)

    def record(self, position: int) -> Group:
        return self.rows[position][0]

    def images(self, position: int) -> list[bytes]:
        return self.rows[position][1]

    @property
    def ids(self) -> list[str]:
        return [group.id for group, _ in self.rows]


@dataclass
class Simulated:
    """An annotator who scores 5 less the level of a candidate's fault, with noise.

    Attributes:
        noise: Standard deviation.
        first_bonus: Added to the image that is shown first.
        mode: As in a log.
        outcome: Group's place and repeat to what comes of the request.
        rationale: What it gives as its reason.
        not_applicable: Group's place, candidate and dimension to whether it says N/A.
    """

    name: str
    noise: float = 0.4
    first_bonus: float = 0.0
    mode: str = "joint"
    outcome: Callable[[int, int], Outcome] = lambda place, repeat: "ok"
    rationale: str = "It is as it is."
    not_applicable: Callable[[int, int, str], bool] = lambda place, k, d: False


def demo_rows(groups: int, *, seed: int = 0, answers: bool = False) -> ListedGroups:
    """Groups of the embedded dataset."""
    return ListedGroups(list(demo_groups(seed=seed, start=0, count=groups, answers=answers)))


def simulated_lines(
    groups: ListedGroups, annotators: Sequence[Simulated], *, repeats: int = 1, seed: int = 0, data_seed: int = 0
) -> list[LogLine]:
    """One line for each group, annotator, repeat and, image by image, candidate."""
    truth = demo_utilities(seed=data_seed, start=0, count=len(groups))
    rng = np.random.default_rng(seed)
    found = []
    for place, (group, _) in enumerate(groups.rows):
        for who in annotators:
            order: list[int] = []
            for repeat in range(repeats):
                order = order[::-1] if repeat % 2 else rng.permutation(len(group.candidates)).tolist()
                for shown in [order] if who.mode == "joint" else [[k] for k in order]:
                    found.append(_line(group, place, who, tuple(shown), repeat, truth[place], rng))
    return found


def _line(
    group: Group,
    place: int,
    who: Simulated,
    order: tuple[int, ...],
    repeat: int,
    truth: list[dict[str, float]],
    rng: np.random.Generator,
) -> LogLine:
    outcome = who.outcome(place, repeat)
    scores = []
    for slot, k in enumerate(order):
        for dimension in FAULT_DIMENSIONS:
            bonus = who.first_bonus if slot == 0 and who.mode == "joint" else 0.0
            value = float(np.clip(round(5 + truth[k][dimension] + bonus + rng.normal(0, who.noise)), 1, 5))
            na = who.not_applicable(place, k, dimension)
            scores.append(Score(k, dimension, "NA" if na else value, who.rationale, dimension))
    text = f"raw answer of {who.name}"
    problem = {"ok": None, "invalid": "it is not one JSON object", "refused": "refused"}[outcome]
    return LogLine(
        request=hashlib.sha256(f"{group.id}/{who.name}/{order}/{repeat}".encode()).hexdigest()[:32],
        step="scores",
        group=group.id,
        annotator=who.name,
        model=f"model-of-{who.name}",
        mode=who.mode,  # type: ignore[arg-type]
        order=order,
        images=tuple(str(group.candidates[k].sha256) for k in order),
        prompt=group.prompt,
        repeat=repeat,
        seed=0,
        temperature=0.0,
        questions="visionprefer",
        template="0123456789abcdef",
        outcome=outcome,
        reason=problem,
        scores=tuple(scores) if outcome == "ok" else (),
        result={},
        attempts=(Attempt(text, problem, 1000, 100, 0.5, f"served-{who.name}"),),
        seconds=0.5,
        time="2026-01-01T00:00:00Z",
    )


def write_log(folder: Path, lines: Sequence[LogLine]) -> Path:
    """Writes the log of an annotation; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOG_FILE).write_text("".join(line_to_json(line) + "\n" for line in lines), encoding="utf-8")
    return folder
