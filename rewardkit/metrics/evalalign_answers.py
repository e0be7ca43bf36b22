"""EvalAlign's skills, and what a text that an evaluator wrote says.

The published programs take the first run of digits anywhere in the text, and 0, the worst score, where there is none
(``evalalign_published.py``). Here an answer stands at the beginning of the text and is one of the question's scores, or
does not count (``rewardkit/data/option_text.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.data.option_text import option_named
from rewardkit.errors import DataError

Aspect = Literal["faithfulness", "alignment"]

NA_SCORE = -1
"""The score by which a question on faithfulness says that it does not apply."""


@dataclass(frozen=True, slots=True)
class Skill:
    """One question's scale.

    Attributes:
        aspect: The metric it belongs to.
        top: The best score; the worst is 0.
        has_na: Whether -1, "does not apply", is an answer.
    """

    aspect: Aspect
    top: int
    has_na: bool = False

    @property
    def scores(self) -> tuple[int, ...]:
        """The question's scores, -1 first where it has it."""
        return (*((NA_SCORE,) if self.has_na else ()), *range(self.top + 1))


SKILLS: Mapping[str, Skill] = MappingProxyType(
    {
        **{key: Skill("faithfulness", 4, has_na=True) for key in ("body", "Hand", "face")},
        **{key: Skill("faithfulness", 4) for key in ("object", "common")},
        **{key: Skill("alignment", 2) for key in ("Object", "Count", "Color", "Style", "Spatial", "Action")},
    }
)
"""EvalAlign's eleven questions by key, spelled as published (SAIS-FUXI/EvalAlign, ``evalalign/eval``)."""


def read_answer(answer: str | float | None, skill: str) -> int | None:
    """The score that an answer gives, -1 where it says that the question does not apply.

    Args:
        answer: The text, which has to begin with the score ("Answer:" before it may stand); or a score or ``NA`` that
            was chosen among the options. A full-width digit is a digit, U+2212 and the full-width hyphen are a minus.
        skill: Key of the question.

    Returns:
        None where the text has no score where it belongs, or one that the question does not have.

    Raises:
        DataError: There is no such skill.
    """
    scale = skill_of(skill)
    if answer is None:
        return None
    if isinstance(answer, str):
        text = answer.strip()
        if text == NOT_APPLICABLE:
            score = NA_SCORE
        else:
            place = option_named(text, [str(score) for score in scale.scores])
            return None if place is None else scale.scores[place]
    elif float(answer).is_integer():
        score = int(answer)
    else:
        return None
    return score if score in scale.scores else None


def skill_of(key: str) -> Skill:
    """The scale of a question.

    Raises:
        DataError: EvalAlign has no such question.
    """
    if key not in SKILLS:
        raise DataError(f"EvalAlign has no question {key!r}; its questions are {', '.join(SKILLS)}")
    return SKILLS[key]
