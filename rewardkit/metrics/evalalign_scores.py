"""EvalAlign's aggregates: averages of the published kinds, soundly counted, and normalised ones.

What cannot be read is left out and counted, what is missing is named, and denominators are those of the plan
(``evalalign_published.py`` has the literal forms, which do none of this). ``total_average`` grows with the number of
questions that apply to a prompt (at most 834/120 on the published prompts), so that each skill also has its share of
the best score, in [0, 1], and the skills their mean.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardkit.errors import DataError
from rewardkit.metrics.evalalign_answers import NA_SCORE, SKILLS, Aspect, read_answer, skill_of
from rewardkit.metrics.intervals import ratio
from rewardkit.metrics.results import Counts, Measurement

Answers = Mapping[str, Mapping[str, str | float | None]]
"""Image (EvalAlign: the id of its prompt) to question to what was answered: a text, a score, or ``NA``."""


@dataclass(frozen=True, slots=True)
class SkillScore:
    """One question over all images.

    Attributes:
        score: Sum of the scores.
        n_scored: Answers that are a score.
        n_na: Answers that the question does not apply.
        n_invalid: Answers that cannot be read, or that the question does not have. They are no score, and no 0.
        n_missing: Planned questions with no answer: the image is missing, or was not asked.
        n_planned: Questions that were to be asked.
        average: ``score / n_scored``; None where nothing was scored.
        average_over_planned: ``score / (n_planned - n_na)``, the published denominator kept on the plan: what is
            missing or invalid adds nothing, so it is at most ``average``.
        normalised: ``average`` as a share of the best score, in [0, 1].
    """

    score: int
    n_scored: int
    n_na: int
    n_invalid: int
    n_missing: int
    n_planned: int
    average: float | None
    average_over_planned: float | None
    normalised: float | None


@dataclass(frozen=True, slots=True)
class AspectScore:
    """Faithfulness or alignment of one text-to-image model.

    Attributes:
        aspect: Which.
        skills: Key to score, of every planned question.
        score: Sum of all scores.
        n_scored: As those of ``SkillScore``, over all skills.
        n_na: The same.
        n_invalid: The same.
        n_missing: The same.
        n_planned: The same.
        average_micro: ``score / n_scored`` (faithfulness: the published ``avg_score``, in [0, 4]).
        average_over_planned: ``score / (n_planned - n_na)``.
        average_macro_over_dimensions: Mean of the skills' averages, of those that have one.
        normalised_0_1: ``average_micro`` as a share of the best score.
        normalised_macro: Mean of the skills' normalised averages: every skill weighs the same, whatever number of
            prompts it applies to.
        total_average: ``score`` over the planned images; of alignment the published ``total_avgerage``. What is missing
            or invalid adds nothing, and the denominator stays.
        n_images: Planned images.
        missing_images: Images of which something was to be asked and nothing was answered. (One of the published
            prompts has no question on alignment; it counts in ``n_images`` and is not missing.)
    """

    aspect: Aspect
    skills: Mapping[str, SkillScore]
    score: int
    n_scored: int
    n_na: int
    n_invalid: int
    n_missing: int
    n_planned: int
    average_micro: float | None
    average_over_planned: float | None
    average_macro_over_dimensions: float | None
    normalised_0_1: float | None
    normalised_macro: float | None
    total_average: float | None
    n_images: int
    missing_images: tuple[str, ...]

    def as_record(self) -> dict[str, Any]:
        """Plain numbers and texts, for JSON."""
        return asdict(self)


def aspect_scores(
    answers: Answers, aspect: Aspect, *, planned: Mapping[str, Collection[str]] | None = None
) -> AspectScore:
    """An aspect's aggregates; see ``AspectScore``.

    Args:
        answers: What was answered; None, or a question that is left out, is missing.
        aspect: ``faithfulness`` or ``alignment``; answers on the other aspect's questions are another call's.
        planned: Image to the questions that were to be asked of it; None: those that ``answers`` names.

    Raises:
        DataError: An unknown question, or an answer that is not in the plan.
    """
    images, keys, scores = _table(answers, aspect, planned)
    skills = {key: _skill_score(key, scores[:, n]) for n, key in enumerate(keys)}
    of_all = {
        name: sum(getattr(skill, name) for skill in skills.values())
        for name in ("score", "n_scored", "n_na", "n_invalid", "n_missing", "n_planned")
    }
    micro = _share(of_all["score"], of_all["n_scored"])
    top = next(skill.top for skill in SKILLS.values() if skill.aspect == aspect)
    nothing = [bool((row == _MISSING).any() and np.isin(row, (_UNPLANNED, _MISSING)).all()) for row in scores]
    return AspectScore(
        aspect=aspect,
        skills=skills,
        **of_all,
        average_micro=micro,
        average_over_planned=_share(of_all["score"], of_all["n_planned"] - of_all["n_na"]),
        average_macro_over_dimensions=_mean([skill.average for skill in skills.values()]),
        normalised_0_1=None if micro is None else micro / top,
        normalised_macro=_mean([skill.normalised for skill in skills.values()]),
        total_average=_share(of_all["score"], len(images)),
        n_images=len(images),
        missing_images=tuple(image for image, none in zip(images, nothing, strict=True) if none),
    )


def evalalign_overall(faithfulness: AspectScore, alignment: AspectScore) -> dict[str, float | None]:
    """Both aspects in one number.

    Returns:
        ``average_of_the_two``: the paper's form, mean of ``average_micro`` of faithfulness and ``total_average`` of
        alignment; a secondary number: no published code has it, and the two scales differ (at most 4, and about 7).
        ``normalised``: mean of the two ``normalised_macro``, in [0, 1].
        ``normalised_macro_over_skills``: mean over the skills of both.
    """
    both = {**faithfulness.skills, **alignment.skills}
    return {
        "average_of_the_two": _mean_of_both(faithfulness.average_micro, alignment.total_average),
        "normalised": _mean_of_both(faithfulness.normalised_macro, alignment.normalised_macro),
        "normalised_macro_over_skills": _mean([skill.normalised for skill in both.values()]),
    }


def aspect_measurements(
    answers: Answers, aspect: Aspect, *, planned: Mapping[str, Collection[str]] | None = None
) -> list[Measurement]:
    """The aspect's averages as sums over images, for intervals and for paired differences of two models.

    Args:
        answers: See ``aspect_scores``.
        aspect: The same.
        planned: The same.

    Returns:
        ``average_micro``, ``normalised_macro`` and, for each skill, its average under its key.
    """
    images, keys, scores = _table(answers, aspect, planned)
    if not keys:
        return []
    scored = scores >= 0
    value, number = np.where(scored, scores, 0).astype(float), scored.astype(float)  # [I, K]
    names = np.array(images, dtype=object)
    tops = np.array([float(SKILLS[key].top) for key in keys])

    def macro(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over the skills that have an answer: ``[draws, 2K]`` to ``[draws]``."""
        score, count = np.split(sums, 2, axis=1)
        share = np.divide(score, count * tops, out=np.full_like(score, np.nan), where=count > 0)
        some = (~np.isnan(share)).sum(axis=1)
        return np.divide(np.nansum(share, axis=1), some, out=np.full(len(sums), np.nan), where=some > 0)

    def counts(columns: slice) -> Counts:
        asked = scores[:, columns]
        answered = number[:, columns].any(axis=1)
        return Counts(
            comparisons=int(number[:, columns].sum()),
            groups=int(answered.sum()),
            unscored=int(np.isin(asked, (_INVALID, _MISSING)).sum()),
            groups_without=int((~answered).sum()),
        )

    every = slice(None)
    pooled = np.stack([value.sum(axis=1), number.sum(axis=1)], axis=1)
    found = [
        Measurement(aspect, "average_micro", names, pooled, ratio, counts(every), share=False),
        Measurement(aspect, "normalised_macro", names, np.concatenate([value, number], axis=1), macro, counts(every)),
    ]
    for n, key in enumerate(keys):
        sums = np.stack([value[:, n], number[:, n]], axis=1)
        found.append(Measurement(aspect, key, names, sums, ratio, counts(slice(n, n + 1)), share=False))
    return found


_UNPLANNED, _MISSING, _INVALID = -4, -3, -2
"""In the table of scores, beside -1 for "does not apply"."""


def _table(
    answers: Answers, aspect: Aspect, planned: Mapping[str, Collection[str]] | None
) -> tuple[list[str], list[str], NDArray[np.int64]]:
    """Images ``[I]``, keys ``[K]`` and scores ``[I, K]``."""
    plan = {image: tuple(of_image) for image, of_image in (answers if planned is None else planned).items()}
    for image, of_image in answers.items():
        unplanned = [key for key in of_image if key not in plan.get(image, ())]
        if image not in plan:
            raise DataError(f"there are answers on image {image!r}, which is not one of the planned {len(plan)}")
        if unplanned:
            raise DataError(f"image {image!r} has an answer to {unplanned[0]!r}, which was not to be asked of it")
    asked = {key: None for keys in plan.values() for key in keys}
    others = [key for key in asked if skill_of(key).aspect != aspect]
    if others:
        raise DataError(f"{others[0]!r} is a question on {skill_of(others[0]).aspect}, not on {aspect}")
    keys = [key for key in SKILLS if key in asked]
    scores = np.full((len(plan), len(keys)), _UNPLANNED, dtype=np.int64)
    for row, (image, questions) in enumerate(plan.items()):
        given = answers.get(image, {})
        for key in questions:
            answer = given.get(key)
            read = read_answer(answer, key)
            scores[row, keys.index(key)] = _MISSING if answer is None else _INVALID if read is None else read
    return list(plan), keys, scores


def _skill_score(key: str, scores: NDArray[np.int64]) -> SkillScore:
    """From a column of the table."""
    score = int(scores[scores >= 0].sum())
    counts = {name: int((scores == code).sum()) for name, code in _CODES.items()}
    n_scored = int((scores >= 0).sum())
    planned = int((scores != _UNPLANNED).sum())
    average = _share(score, n_scored)
    return SkillScore(
        score=score,
        n_scored=n_scored,
        **counts,
        n_planned=planned,
        average=average,
        average_over_planned=_share(score, planned - counts["n_na"]),
        normalised=None if average is None else average / SKILLS[key].top,
    )


_CODES = {"n_na": NA_SCORE, "n_invalid": _INVALID, "n_missing": _MISSING}


def _share(above: float, below: float) -> float | None:
    return above / below if below > 0 else None


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of those that are defined."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _mean_of_both(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else (first + second) / 2
