"""EvalAlign's numbers of each generator, from an evaluator's answers: published aggregates, normalised ones, ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from rewardkit.benchmark.prompts import PromptSet
from rewardkit.benchmark.result_published import Aspect, BothAspects, Skill
from rewardkit.data.answer_table import QuestionAnswer
from rewardkit.data.questions import QuestionSet
from rewardkit.metrics.evalalign_answers import SKILLS
from rewardkit.metrics.evalalign_answers import Aspect as AspectName
from rewardkit.metrics.evalalign_published import alignment_published, faithfulness_published
from rewardkit.metrics.evalalign_scores import (
    Answers,
    AspectScore,
    aspect_measurements,
    aspect_scores,
    evalalign_overall,
)
from rewardkit.metrics.intervals import DRAWS
from rewardkit.metrics.model_ranking import ModelPair, RankedModel, rank_models
from rewardkit.metrics.results import Measurement, difference

ASPECTS: tuple[AspectName, ...] = ("faithfulness", "alignment")

Said = Mapping[tuple[int, int], Sequence[QuestionAnswer]]
"""Prompt and copy to the answers on that image."""


def aspect_rows(
    said: Mapping[str, Said],
    questions: QuestionSet,
    prompts: PromptSet,
    *,
    reward: str,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[list[Aspect], list[BothAspects]]:
    """The aspects of every generator, and both in one number.

    Args:
        said: Generator to the answers on its images.
        questions: That were asked; a set that ``is_evalalign``.
        prompts: The set.
        reward: The evaluator's label.
        draws: Resamples of prompts behind each interval.
        seed: Of the resamples.
    """
    rows: list[Aspect] = []
    scores: dict[str, dict[str, AspectScore]] = {}
    for aspect in ASPECTS:
        plans = {name: _plan(prompts, questions, aspect, of) for name, of in said.items()}
        if not any(any(plan.values()) for plan in plans.values()):
            continue
        answers = {name: _answers(prompts, of, plans[name]) for name, of in said.items()}
        measured = {name: aspect_measurements(answers[name], aspect, planned=plans[name]) for name in said}
        ranked = {one.model: one for one in _ranked(measured, draws=draws, seed=seed)}
        for name in said:
            score = aspect_scores(answers[name], aspect, planned=plans[name])
            scores.setdefault(name, {})[aspect] = score
            published = _published(aspect, answers[name])
            rows.append(_row(reward, name, score, measured[name], ranked[name], published, draws=draws, seed=seed))
    both = [
        BothAspects(reward, name, **evalalign_overall(of["faithfulness"], of["alignment"]))
        for name, of in scores.items()
        if len(of) == 2
    ]
    return rows, both


def _plan(prompts: PromptSet, questions: QuestionSet, aspect: str, said: Said) -> dict[str, list[str]]:
    """Image to the questions of an aspect that are to be asked of it; a prompt without an image has one to come."""
    copies: dict[int, int] = {}
    for place, copy in said:
        copies[place] = max(copies.get(place, 0), copy + 1)
    plan = {}
    for number, prompt in enumerate(prompts.prompts):
        keys = [key for key in prompt.asked(questions) if key in SKILLS and SKILLS[key].aspect == aspect]
        if keys or prompt.aspect == aspect:
            for copy in range(copies.get(number, 1)):
                plan[_image(prompts, number, copy)] = keys
    return plan


def _answers(prompts: PromptSet, said: Said, plan: Mapping[str, Sequence[str]]) -> Answers:
    """Image to question to what was written, or the label of what was chosen."""
    found: dict[str, dict[str, str | float | None]] = {}
    for (prompt, copy), answers in said.items():
        image = _image(prompts, prompt, copy)
        if image in plan:
            mine = {one.question: one.answer if one.text is None else one.text for one in answers}
            found[image] = {key: mine[key] for key in plan[image] if key in mine}
    return found


def _image(prompts: PromptSet, prompt: int, copy: int) -> str:
    key = prompts.prompts[prompt].key
    return f"{key} #{copy}" if copy else key


def _ranked(measured: Mapping[str, Sequence[Measurement]], *, draws: int, seed: int) -> list[RankedModel]:
    """Generators by ``normalised_macro``, the same prompts drawn for both of a pair."""
    macro = {name: next((m for m in of if m.metric == "normalised_macro"), None) for name, of in measured.items()}
    pairs = []
    for first, second in combinations(macro, 2):
        ours, theirs = macro[first], macro[second]
        gain = difference(ours, theirs, draws=draws, seed=seed) if ours and theirs else None
        ends = (gain.low, gain.high) if gain else (None, None)
        pairs.append(ModelPair(first, second, 0, gain.value if gain else None, *ends, None, None, None))
    values = {name: of.value() if of else None for name, of in macro.items()}
    one = {name: np.array([np.nan if value is None else value]) for name, value in values.items()}
    return rank_models(one, pairs=pairs, draws=0)


def _row(
    reward: str,
    generator: str,
    score: AspectScore,
    measured: Sequence[Measurement],
    ranked: RankedModel,
    published: Mapping[str, float],
    *,
    draws: int,
    seed: int,
) -> Aspect:
    ends = {one.metric: one.result(draws=draws, seed=seed) for one in measured}

    def interval(metric: str) -> tuple[float | None, float | None]:
        return (ends[metric].low, ends[metric].high) if metric in ends else (None, None)

    skills = {
        key: Skill(
            skill.average, *interval(key), skill.normalised, skill.score, skill.n_scored, skill.n_na,
            skill.n_invalid, skill.n_missing, skill.n_planned,
        )
        for key, skill in score.skills.items()
    }  # fmt: skip
    return Aspect(
        reward,
        generator,
        score.aspect,
        score.average_micro,
        *interval("average_micro"),
        score.total_average,
        score.normalised_macro,
        *interval("normalised_macro"),
        ranked.rank,
        ranked.last_rank,
        ranked.same_as,
        skills,
        score.n_images,
        score.missing_images,
        published,
    )


def _published(aspect: str, answers: Answers) -> dict[str, float]:
    """The published program's result from the images that are there; "-1" is its word for N/A."""
    texts = [{key: str(text or "") for key, text in of.items()} for of in answers.values()]
    if not texts:
        return {}
    return (faithfulness_published if aspect == "faithfulness" else alignment_published)(texts, len(texts))
