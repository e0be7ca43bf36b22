r"""Question sets: what an evaluator is asked about an image, the answers it may give, and what each is worth.

A set is a YAML file; those that ship with rewardkit lie in ``recipes/questions/``. The files in which EvalAlign and
VisionReward publish theirs are read too.

::

    name: evalalign
    about: one line
    questions:
    - key: body
      text: Are there any issues …?
      template: "<image>\nAre there any issues …? \nOptions: -1.…, 0.…, the answer is"
      options:
      - {label: "-1", text: There is no body, value: NA}
      - {label: "0", text: …, value: 0}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from rewardkit.config.messages import did_you_mean
from rewardkit.config.recipes import recipes_folder
from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.errors import UserError

SLOT = "{slot}"
"""Stands in a question's text where the phrase of its slot goes."""

NOTHING = ("none", "")
"""What a slot holds, without spaces and semicolons around it, where the prompt says nothing of the kind
(EvalAlign's rule; true of all 720 published cells)."""

VISIONREWARD_GATES: Mapping[int, tuple[int, ...]] = {0: (22, 23, 24, 28, 29), 1: (25, 26), 2: (27,)}
"""Gate to the questions that count only where it is answered yes, as positions in VisionReward's selected image list
(THUDM/VisionReward, ``inference-image.py``). What is gated off adds 0."""

VISIONREWARD_SELECTED = 30
"""Questions of the selected image list: three gates, then 27 that have weights."""


@dataclass(frozen=True, slots=True)
class Option:
    """One answer that may be given.

    Attributes:
        label: How the question names it: ``"-1"``, ``"3"``, ``"yes"``.
        text: What it says.
        value: What it is worth; higher is better. ``"NA"``: the question does not apply to the image.
    """

    label: str
    text: str
    value: float | Literal["NA"]


@dataclass(frozen=True, slots=True)
class Question:
    """One question about an image.

    Attributes:
        key: Its name in the set.
        text: The bare question; ``{slot}`` stands where the slot's phrase goes.
        options: In the order in which they are named.
        dimension: The dimension that an answer is given on.
        template: The whole text as published, with the image's place and the options; the bare text where none is.
        slot: It is asked only of prompts whose slot of this name holds something; None: of every image.
        needs: Keys of yes/no questions that must be answered yes for this one to count.
        weight: Factor of its value in the set's score; None where the set has no weights, and for a gate.
    """

    key: str
    text: str
    options: tuple[Option, ...]
    dimension: str
    template: str
    slot: str | None = None
    needs: tuple[str, ...] = ()
    weight: float | None = None

    @property
    def has_na(self) -> bool:
        """Whether "does not apply" is one of the answers."""
        return any(option.value == NOT_APPLICABLE for option in self.options)

    def applies(self, slots: Mapping[str, Any]) -> bool:
        """Whether it is asked of a prompt with these slots."""
        return self.slot is None or str(slots.get(self.slot, "")).strip(" ;") not in NOTHING

    def ask(self, slots: Mapping[str, Any]) -> str:
        """The whole text for a prompt with these slots; only of a question that applies to it."""
        return self.template if self.slot is None else self.template.replace(SLOT, str(slots[self.slot]))


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions that belong together.

    Attributes:
        intercept: Added to the weighted sum of a set that has weights.
        terms: Weights of terms of that sum that are no question of the set (``vqascore``).
    """

    name: str
    about: str
    questions: tuple[Question, ...]
    intercept: float = 0.0
    terms: Mapping[str, float] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Question:
        """The question of a key."""
        for question in self.questions:
            if question.key == key:
                return question
        raise KeyError(key)

    def applicable(self, slots: Mapping[str, Any]) -> tuple[Question, ...]:
        """The questions that are asked of a prompt with these slots."""
        return tuple(question for question in self.questions if question.applies(slots))


def shipped_question_sets() -> dict[str, Path]:
    """Name to file of every question set that ships with rewardkit."""
    return {path.stem: path for path in sorted((recipes_folder() / "questions").glob("*.yaml"))}


def read_questions(name: str | Path) -> QuestionSet:
    """A question set by its name, or from a YAML file of one's own.

    Raises:
        UserError: There is none, or the file is not one; says what is wrong with which question.
    """
    shipped = shipped_question_sets()
    path = shipped.get(str(name), Path(name))
    if not path.is_file():
        hint = did_you_mean(str(name), shipped) or f" There are {', '.join(shipped)}."
        raise UserError(f"there is no question set {str(name)!r} and no such file.{hint}")
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    return questions_of_record(record, str(path))


def questions_of_record(record: Any, where: str) -> QuestionSet:
    """A question set out of plain values.

    Args:
        record: What a YAML file says.
        where: It comes from, for messages.

    Raises:
        UserError: It is no question set; says what is wrong with which question.
    """
    if not isinstance(record, dict) or not isinstance(record.get("questions"), list) or not record["questions"]:
        raise UserError(f"{where}: a question set is a map with name, about and a list `questions`")
    _known(record, ("name", "about", "options", "intercept", "terms", "questions"), where)
    shared = record.get("options")
    questions = tuple(
        _question(item, shared, f"{where}, question {n + 1}") for n, item in enumerate(record["questions"])
    )
    keys = [question.key for question in questions]
    doubled = [key for key, times in Counter(keys).items() if times > 1]
    if doubled:
        raise UserError(f"{where}: the key {doubled[0]!r} stands twice")
    for question in questions:
        missing = [key for key in question.needs if key not in keys]
        if missing:
            raise UserError(f"{where}: question {question.key!r} needs {missing[0]!r}, which is not in the set")
    terms = {
        str(term): _number(weight, f"{where}: the weight of {term}") for term, weight in _map(record, "terms", where)
    }
    intercept = _number(record.get("intercept", 0.0), f"{where}: intercept")
    return QuestionSet(_text(record, "name", where), record.get("about", ""), questions, intercept, terms)


def _question(record: Any, shared: Any, where: str) -> Question:
    if not isinstance(record, dict):
        raise UserError(f"{where}: it is {record!r}, not a map with key, text and options")
    _known(record, ("key", "text", "template", "dimension", "slot", "needs", "weight", "options"), where)
    key, text = _text(record, "key", where), _text(record, "text", where)
    slot = _text(record, "slot", where) if "slot" in record else None
    template = record.get("template", text)
    if (SLOT in template) != (slot is not None):
        raise UserError(f"{where} ({key}): a question has both a slot and {SLOT} in its text, or neither")
    options = record.get("options", shared)
    if not isinstance(options, list) or len(options) < 2:
        raise UserError(f"{where} ({key}): options must list at least two answers")
    needs = record.get("needs", [])
    if not isinstance(needs, list):
        raise UserError(f"{where} ({key}): needs is {needs!r}; it must be a list of keys")
    weight = None if record.get("weight") is None else _number(record["weight"], f"{where} ({key}): weight")
    made = tuple(_option(option, f"{where} ({key})") for option in options)
    if len({option.label for option in made}) < len(made):
        raise UserError(f"{where} ({key}): two options have the same label")
    dimension = _text(record, "dimension", where) if "dimension" in record else key
    return Question(key, text, made, dimension, template, slot, tuple(map(str, needs)), weight)


def _option(record: Any, where: str) -> Option:
    if not isinstance(record, dict):
        raise UserError(f"{where}: the option {record!r} is not a map with label, text and value")
    _known(record, ("label", "text", "value"), where)
    value = record.get("value")
    if value != NOT_APPLICABLE:
        value = _number(value, f"{where}: an option's value")
    return Option(_text(record, "label", where), _text(record, "text", where), value)


def _known(record: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    for name in record:
        if name not in names:
            hint = did_you_mean(str(name), names) or f" Known are {', '.join(names)}."
            raise UserError(f"{where}: {name!r} is unknown.{hint}")


def _map(record: Mapping[str, Any], name: str, where: str) -> Any:
    value = record.get(name, {})
    if not isinstance(value, dict):
        raise UserError(f"{where}: {name} is {value!r}; it must be a map")
    return value.items()


def _text(record: Mapping[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {name} is {value!r}; it must be text (quote a number)")
    return value


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{what} is {value!r}; it must be a number")
    return float(value)
