"""The log of an annotation: ``annotations.jsonl``, one line for every request that came to an end.

A line holds all that is known of its request: what was shown and in which order, who was asked, what came of it, and
the raw text of every attempt. Lines are only ever appended (``log_file.py``); nothing in a log is changed.

A request that could not be asked (a server that stays away) has no line: it is asked again by the next run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rewardkit.errors import DataError

LOG_FILE = "annotations.jsonl"
"""Name of the log in the folder of an annotation."""

Step = Literal["scores", "clean", "polish", "safety"]
"""What a request is for: ``scores`` of images; or a step that prepares a prompt (``prompt_steps.py``)."""

Mode = Literal["joint", "per_image", "prompt"]
"""What one request shows: all candidates of a group, one candidate, or only a prompt (the steps but ``scores``)."""

Outcome = Literal["ok", "invalid", "refused"]
"""``ok``: the answer fits its schema. ``invalid``: no attempt did. ``refused``: the model would not answer."""


@dataclass(frozen=True, slots=True)
class Score:
    """What an answer says of one candidate on one question.

    Attributes:
        candidate: Its index in the group, whatever place it was shown at.
        dimension: Of the question.
        value: The worth of the chosen option, on the question's scale; ``"NA"``: it does not apply.
        rationale: Why, in the model's words; None where it gives no reasons.
        question: Key of the question in its set.
    """

    candidate: int
    dimension: str
    value: float | Literal["NA"]
    rationale: str | None
    question: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One answer that came: the first one, or a repair of the one before.

    Attributes:
        text: As it came.
        problem: Why it was not taken; None where it was.
        tokens_in: Tokens read, as the server counts them; None where it does not say.
        tokens_out: Tokens written, likewise.
        seconds: From sending until the answer was there, without waits between.
        model: The model as the server names it; None where it does not.
        finish: Why the model stopped (``stop``, ``length`` …); None where the server does not say.
        retries: Sendings before it that brought no answer (429, 5xx, a cut connection, time out).
        estimate: Tokens read, as estimated before it was sent.
    """

    text: str
    problem: str | None
    tokens_in: int | None
    tokens_out: int | None
    seconds: float
    model: str | None
    finish: str | None = None
    retries: int = 0
    estimate: int = 0


@dataclass(frozen=True, slots=True)
class LogLine:
    """One request that came to an end.

    Attributes:
        request: Its id: the hash of all that decides what is asked (``requests.py``), 32 hex digits.
        step: What it is for.
        group: The group's id.
        annotator: The annotator's name in this annotation; what answers are given ``by``.
        model: The model as it was named to the server, or the folder of a local one.
        mode: What it shows.
        order: Indices of the shown candidates, in the order shown; empty where only a prompt is.
        images: SHA-256 of their files, in the same order.
        prompt: The prompt as shown.
        repeat: 0, 1, …: how often the same was asked before. An odd one shows the order of the one before reversed.
        seed: Of the annotation.
        temperature: Of the sampling.
        questions: Name of the question set; of another step the step's name.
        template: Hash of all fixed text of the request, questions included: the version of the prompt.
        outcome: What came of it.
        reason: Of a refused or invalid one: what was said, or what was wrong with the last attempt.
        scores: One for each shown candidate and each question asked; empty unless ``ok``.
        result: What a step other than ``scores`` gives: ``{"prompt": …}``, or ``{"safe": …, "reason": …}``.
        attempts: In order; the last one decides.
        seconds: From the first sending to the end, waits between attempts included.
        time: When it ended: UTC, ISO 8601.
    """

    request: str
    step: Step
    group: str
    annotator: str
    model: str
    mode: Mode
    order: tuple[int, ...]
    images: tuple[str, ...]
    prompt: str
    repeat: int
    seed: int
    temperature: float
    questions: str
    template: str
    outcome: Outcome
    reason: str | None
    scores: tuple[Score, ...]
    result: Mapping[str, Any]
    attempts: tuple[Attempt, ...]
    seconds: float
    time: str


def line_to_json(line: LogLine) -> str:
    """A line as JSON, without a line break inside or behind it."""
    return json.dumps(asdict(line), ensure_ascii=False, allow_nan=False)


def line_from_json(text: str | bytes) -> LogLine:
    """Reads one line.

    Raises:
        ValueError: It is no JSON, or not a line of such a log; says what is missing or wrong.
    """
    record = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    try:
        made = {
            **record,
            "order": tuple(record["order"]),
            "images": tuple(record["images"]),
            "scores": tuple(Score(**score) for score in record["scores"]),
            "attempts": tuple(Attempt(**attempt) for attempt in record["attempts"]),
        }
        line = LogLine(**made)
    except KeyError as error:
        raise ValueError(f"the field {error.args[0]!r} is missing") from None
    except TypeError as error:
        raise ValueError(str(error)) from None
    for name, value, known in (
        ("step", line.step, Step),
        ("mode", line.mode, Mode),
        ("outcome", line.outcome, Outcome),
    ):
        if value not in get_args(known):
            raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(get_args(known))}")
    return line


def read_log(folder: Path) -> Iterator[LogLine]:
    """The lines of an annotation's log, in the order in which they ended.

    A last line that was cut off while it was written is left out (its request counts as not asked).

    Args:
        folder: Of the annotation.

    Raises:
        DataError: There is no log, or a line is damaged; names the line.
    """
    file = folder / LOG_FILE
    if not file.is_file():
        raise DataError(f"{file}: there is no such log; `rewardkit annotate out={folder} …` makes one")
    with file.open("rb") as lines:
        for number, text in enumerate(lines, 1):
            if not text.endswith(b"\n") and not is_whole(text):
                return
            try:
                yield line_from_json(text)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{file}, line {number} is damaged: {error}. What it held is lost; take the line out of the file, "
                    "and its request is asked again"
                ) from None


def is_whole(text: bytes) -> bool:
    """Whether a line without a line break is all there: a JSON object that is cut off anywhere is none."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
