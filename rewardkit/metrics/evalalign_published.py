"""EvalAlign's results to the letter, for parity alone: what cannot be read scores 0, the worst.

Source: SAIS-FUXI/EvalAlign, ``evalalign/eval/test_faithfulness.py`` and ``test_alignment.py``. The sound forms are in
``evalalign_scores.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rewardkit.errors import DataError
from rewardkit.metrics.evalalign_answers import NA_SCORE, Aspect

_PUBLISHED = {"faithfulness": re.compile(r"-?\d+"), "alignment": re.compile(r"\d+")}
"""Patterns of ``test_faithfulness.py`` and ``test_alignment.py``; the second does not see a minus."""


def read_published(text: str, aspect: Aspect) -> int:
    """The score that the published program reads: the first whole number anywhere, 0 where there is none."""
    found = _PUBLISHED[aspect].search(text)
    return int(found[0]) if found else 0


def faithfulness_published(answers: Sequence[Mapping[str, str]], n_images: int | None = None) -> dict[str, Any]:
    """The result of ``test_faithfulness.py`` to the letter: a text that cannot be read scores 0. Parity only.

    Args:
        answers: Question to the text of the answer, for each image.
        n_images: Files in the folder of images; None: as many as were answered.

    Returns:
        ``{KEY_score, KEY_num, KEY_average, …, total_score, num, avg_score}``; an average of nothing is 0.
    """
    found: dict[str, Any] = {}
    files = len(answers) if n_images is None else n_images
    total = count = 0
    for key, scores in _published_scores(answers, "faithfulness").items():
        score = sum(value for value in scores if value != NA_SCORE)
        number = files - scores.count(NA_SCORE)
        found |= {
            f"{key}_score": score,
            f"{key}_num": number,
            f"{key}_average": score / number if number > 0 else 0,
        }
        total, count = total + score, count + number
    return {**found, "total_score": total, "num": count, "avg_score": total / count if count > 0 else 0}


def alignment_published(answers: Sequence[Mapping[str, str]], n_images: int | None = None) -> dict[str, Any]:
    """The result of ``test_alignment.py`` to the letter, its spelling of "average" kept. Parity only.

    Args:
        answers: Question to the text of the answer, for each image; the questions that apply to its prompt.
        n_images: Files in the folder of images; None: as many as were answered.

    Returns:
        ``{KEY_score, KEY_num, KEY_avgerage, …, total_score, total_avgerage}``.

    Raises:
        DataError: There is no image, so that the published program divides by 0.
    """
    files = len(answers) if n_images is None else n_images
    if files < 1:
        raise DataError("there is no image, so the published total has no denominator")
    found: dict[str, Any] = {}
    total = 0
    for key, scores in _published_scores(answers, "alignment").items():
        found |= {
            f"{key}_score": sum(scores),
            f"{key}_num": len(scores),
            f"{key}_avgerage": sum(scores) / len(scores),
        }
        total += sum(scores)
    return {**found, "total_score": total, "total_avgerage": total / files}


def _published_scores(answers: Sequence[Mapping[str, str]], aspect: Aspect) -> dict[str, list[int]]:
    """Question to scores, in the order in which the published program meets them."""
    scores: dict[str, list[int]] = {}
    for of_image in answers:
        for key, text in of_image.items():
            scores.setdefault(key, []).append(read_published(text, aspect))
    return scores
