"""The rows of a benchmark's result in the papers' own forms: HPS v2's tables and EvalAlign's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedStyle:
    """One style as HPS v2's tables have it.

    Attributes:
        mean: Mean of the means of groups of 80 prompts (DrawBench: plain mean).
        std: Population deviation of these means; None for DrawBench.
        low: Lower end of the mean's 95 % interval (bootstrap over prompts).
        high: Upper end.
        n: Prompts with a score.
        planned: Prompts.
    """

    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    n: int
    planned: int


@dataclass(frozen=True, slots=True)
class Published:
    """A generator's row of HPS v2's table, by the published aggregation.

    Attributes:
        reward: Label.
        dimension: Of the reward.
        generator: Name.
        styles: Style to numbers, in the published order; ``drawbench`` may stand last.
        average: Mean of all scores of the four styles; of DrawBench alone, its mean.
        low: Lower end of its 95 % interval.
        high: Upper end.
        n: Prompts with a score.
        planned: Prompts.
    """

    reward: str
    dimension: str
    generator: str
    styles: Mapping[str, PublishedStyle]
    average: float | None
    low: float | None
    high: float | None
    n: int
    planned: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A row of a published table: not measured here.

    Attributes:
        generator: As it is published.
        version: Which table: ``HPS v2`` or ``HPS v2.1``.
        styles: Style to the published mean.
        average: The published average.
        source: Where it is published.
        rewards: Labels of the rewards whose numbers it may be compared with; none: it was asked for all the same.
    """

    generator: str
    version: str
    styles: Mapping[str, float]
    average: float
    source: str
    rewards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skill:
    """One question of EvalAlign over a generator's images; see ``rewardkit/metrics/evalalign_scores.py``.

    Attributes:
        average: Mean of the scores (0 to 4 on faithfulness, 0 to 2 on alignment); None where nothing was scored.
        low: Lower end of its 95 % interval (bootstrap over prompts).
        high: Upper end.
        normalised: The average as a share of the best score.
        score: Sum of the scores.
        n_scored: Answers that are a score.
        n_na: Answers that the question does not apply.
        n_invalid: Answers that cannot be read.
        n_missing: Planned questions without an answer.
        n_planned: Questions that were to be asked.
    """

    average: float | None
    low: float | None
    high: float | None
    normalised: float | None
    score: int
    n_scored: int
    n_na: int
    n_invalid: int
    n_missing: int
    n_planned: int


@dataclass(frozen=True, slots=True)
class Aspect:
    """EvalAlign's faithfulness or alignment of a generator.

    Attributes:
        reward: Label of the evaluator.
        generator: Name.
        aspect: ``faithfulness`` or ``alignment``.
        average_micro: Sum of the scores over their number (faithfulness: the published ``avg_score``, 0 to 4).
        average_low: Lower end of its 95 % interval (bootstrap over prompts).
        average_high: Upper end.
        total_average: Sum of the scores over planned images (alignment: the published ``total_avgerage``).
        normalised_macro: Mean of the skills' shares of the best score, in [0, 1]; the number that ranks.
        low: Lower end of its 95 % interval.
        high: Upper end.
        rank: By ``normalised_macro``, as that of ``Cell``.
        last_rank: Likewise.
        same_as: Likewise.
        skills: Key of the question to its numbers.
        images: Planned images.
        missing: Prompts of which nothing was answered.
        published: The published program's own result, key by key in its spelling, from the same answers; it counts
            what cannot be read as 0.
    """

    reward: str
    generator: str
    aspect: str
    average_micro: float | None
    average_low: float | None
    average_high: float | None
    total_average: float | None
    normalised_macro: float | None
    low: float | None
    high: float | None
    rank: int | None
    last_rank: int | None
    same_as: tuple[str, ...]
    skills: Mapping[str, Skill]
    images: int
    missing: tuple[str, ...]
    published: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class BothAspects:
    """EvalAlign's two aspects in one number.

    Attributes:
        reward: Label of the evaluator.
        generator: Name.
        average_of_the_two: The paper's form; its two halves have different scales.
        normalised: Mean of both ``normalised_macro``, in [0, 1].
        normalised_macro_over_skills: Mean over the skills of both.
    """

    reward: str
    generator: str
    average_of_the_two: float | None
    normalised: float | None
    normalised_macro_over_skills: float | None
