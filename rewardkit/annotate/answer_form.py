"""The form of an answer: its JSON schema, and an answer's text read by it, strictly.

::

    {"image_1": {"aesthetic": {"rationale": "…", "score": 4}, …}, …}       joint
    {"aesthetic": {"rationale": "…", "score": 4}, …}                       per_image

The keys are those of the questions, a score is one of a question's labels. An answer that does not fit is no answer:
nothing is guessed, rounded or filled in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from rewardkit.annotate.log import Score
from rewardkit.data.questions import Question

RATIONALE, SCORE = "rationale", "score"

MAX_TOLD = 200
"""Letters of a schema's complaint that a message repeats."""

_FENCE = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n[ \t]*```\Z", re.DOTALL | re.IGNORECASE)
_THOUGHT = re.compile(r"\A<think>.*?</think>", re.DOTALL)

_REFUSAL = re.compile(
    r"\A\W*(?:(?:i['’]?m|i am) (?:(?:very |so |really )?sorry|unable|not able)|sorry|i apologi[sz]e|as an ai|"
    r"i (?:cannot|can['’]?t|can not|won['’]?t|will not|must decline|decline)|unfortunately,? i)\b",
    re.IGNORECASE,
)


class AnswerForm:
    """What an answer must look like.

    Args:
        schema: The JSON schema.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = dict(schema)

    @cached_property
    def _validator(self) -> Any:
        from jsonschema import Draft202012Validator

        return Draft202012Validator(self.schema)

    def read(self, text: str) -> tuple[Any, str | None]:
        """The object that a text is, or why it is none.

        One code fence around all of it, and a reasoning model's thoughts before it, are not part of an answer.

        Returns:
            The object and None; or None and what is wrong, in words that the model can act on.
        """
        bare = _THOUGHT.sub("", text.strip()).strip()
        fenced = _FENCE.match(bare)
        try:
            value = json.loads(fenced.group(1) if fenced else bare, object_pairs_hook=_no_twins, parse_constant=_no_nan)
        except (ValueError, RecursionError) as error:
            return None, f"it is not one JSON object: {error}"
        from jsonschema.exceptions import best_match

        wrong = best_match(self._validator.iter_errors(value))
        if wrong is None:
            return value, None
        where = ".".join(map(str, wrong.absolute_path)) or "the object"
        return None, f"{where}: {wrong.message[:MAX_TOLD]}"


class ScoresForm(AnswerForm):
    """The form of scores of images.

    Args:
        questions: That are asked.
        order: Indices of the candidates, in the order shown.
        joint: Whether all are shown together, under ``image_1`` …
        rationale: Whether a rationale stands before each score.
    """

    def __init__(
        self, questions: Sequence[Question], order: Sequence[int], *, joint: bool, rationale: bool = True
    ) -> None:
        self._questions, self._order, self._joint = tuple(questions), tuple(order), joint
        one = _object({question.key: _cell(question, rationale) for question in questions})
        super().__init__(_object(dict.fromkeys(self._names, one)) if joint else one)

    @property
    def _names(self) -> list[str]:
        return [f"image_{place}" for place in range(1, len(self._order) + 1)]

    def shown(self) -> str:
        """The form as a request shows it."""
        one = {
            question.key: {RATIONALE: "…", SCORE: f"<one of {', '.join(o.label for o in question.options)}>"}
            for question in self._questions
        }
        text = json.dumps(dict.fromkeys(self._names, one) if self._joint else one, ensure_ascii=False, indent=1)
        return re.sub(r'"(<one of .*>)"', r"\1", text)

    def scores(self, value: Mapping[str, Any]) -> tuple[Score, ...]:
        """The scores of an object that fits."""
        by_image = [value[name] for name in self._names] if self._joint else [value]
        found = []
        for candidate, cells in zip(self._order, by_image, strict=True):
            for question in self._questions:
                cell = cells[question.key]
                label = str(int(cell[SCORE]) if isinstance(cell[SCORE], float) else cell[SCORE])  # 4.0 is an integer
                worth = next(option.value for option in question.options if option.label == label)
                found.append(Score(candidate, question.dimension, worth, _text(cell.get(RATIONALE)), question.key))
        return tuple(found)


def _text(value: str | None) -> str | None:
    """Without halves of characters, which JSON can spell and no file can hold."""
    return None if value is None else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_refusal(text: str) -> bool:
    """Whether a text that is no answer is a refusal: it begins as those begin, and holds no JSON object."""
    bare = _THOUGHT.sub("", text.strip()).strip()
    return "{" not in bare and _REFUSAL.match(bare) is not None


def labels_of(question: Question) -> list[int] | list[str]:
    """What a score may be: whole numbers where all labels are such, else texts."""
    labels = [option.label for option in question.options]
    if all(re.fullmatch(r"0|-?[1-9]\d*", label) for label in labels):
        return [int(label) for label in labels]
    return labels


def _cell(question: Question, rationale: bool) -> dict[str, Any]:
    labels = labels_of(question)
    score = {"type": "integer" if isinstance(labels[0], int) else "string", "enum": labels}
    return _object({**({RATIONALE: {"type": "string"}} if rationale else {}), SCORE: score})


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """All properties are needed, in this order, and no others may be there."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for n, (key, _) in enumerate(pairs) if any(key == other for other, _ in pairs[:n]))
        raise ValueError(f"{twice!r} stands in it twice")
    return found


def _no_nan(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
