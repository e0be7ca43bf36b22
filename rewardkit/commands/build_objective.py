"""From the options of ``fit`` to the objective and the factors of its terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from rewardkit.commands.check_objective import CAPTION_CONTRAST, judged_by, scores_of
from rewardkit.config.objective_options import ASKED, LISTWISE, PAIRWISE, POINTWISE, ObjectiveOptions
from rewardkit.config.term_options import (
    CDPOOptions,
    HuberOptions,
    JudgingTermOptions,
    RobustOptions,
)
from rewardkit.data.index import Scale
from rewardkit.objectives.answers import AnswerObjective
from rewardkit.objectives.bradley_terry import CDPO, BradleyTerry, ImageReward, PickScore, Robust
from rewardkit.objectives.caption_contrast import CaptionContrastObjective
from rewardkit.objectives.centering import Centering
from rewardkit.objectives.compared import PairwiseRule
from rewardkit.objectives.in_batch import InBatchPickScore
from rewardkit.objectives.listwise import ListNet, RankingObjective, RankingRule, Top1
from rewardkit.objectives.margins import Hinge, Margin, Scaled
from rewardkit.objectives.on_scores import OnScores
from rewardkit.objectives.options import OptionObjective
from rewardkit.objectives.ordinal import OrdinalObjective
from rewardkit.objectives.pairwise import PairwiseObjective, Reduction
from rewardkit.objectives.plackett_luce import PlackettLuce
from rewardkit.objectives.pointwise import RatingObjective
from rewardkit.objectives.ties import Davidson, RaoKupper
from rewardkit.objectives.uncertain import Gaussian, Thurstone
from rewardkit.objectives.weighted import WeightedObjective


def uses_captions(objective: ObjectiveOptions) -> bool:
    """Whether the objective needs the captions of the data."""
    return CAPTION_CONTRAST in objective.name


def build_objective(
    objective: ObjectiveOptions,
    dimensions: Sequence[str],
    scales: Mapping[str, Scale] | None = None,
    *,
    asks: bool = False,
    class_weights: Tensor | None = None,
) -> WeightedObjective:
    """The sum of the terms that the options name.

    Args:
        objective: Options that ``check_objective.py`` let pass.
        dimensions: The model's.
        scales: Model dimension to the scale of its ratings, for terms over ratings.
        asks: Whether the model is an evaluator, which has several scores to learn on.
        class_weights: Factor of each option of each question, used where the options ask for it; see
            ``OptionObjective``.
    """
    names = tuple(dimensions)
    terms: dict[str, nn.Module] = {}
    for term in objective.name:
        if term in ASKED:
            terms[term] = _asked_term(objective, term, names, class_weights)
            continue
        if term == CAPTION_CONTRAST:
            terms[term] = CaptionContrastObjective(own_scale=asks)
            continue
        made = _term(objective, term, names, scales or {})
        terms[term] = OnScores(made, scores_of(objective, term)) if asks else made  # type: ignore[arg-type]
    return WeightedObjective(terms)


def _asked_term(
    objective: ObjectiveOptions, term: str, dimensions: tuple[str, ...], class_weights: Tensor | None
) -> nn.Module:
    if term == "answer":
        return AnswerObjective()
    options = objective.option
    balanced = options.class_weights == "balanced"
    return OptionObjective(
        dimensions,
        options.kind,  # type: ignore[arg-type]
        factors=dict(options.dimensions),
        class_weights=class_weights if balanced else None,
    )


def term_coefficients(objective: ObjectiveOptions) -> dict[str, tuple[float, float]]:
    """Factor of each term at the first and at the last step."""
    found = {}
    for term in objective.name:
        options = getattr(objective, term)
        final = options.coefficient if options.final_coefficient is None else options.final_coefficient
        found[term] = (options.coefficient, final)
    return found


def _term(
    objective: ObjectiveOptions, term: str, dimensions: tuple[str, ...], scales: Mapping[str, Scale]
) -> nn.Module:
    options: JudgingTermOptions = getattr(objective, term)
    factors, reduction = dict(options.dimensions), cast(Reduction, objective.reduction)
    if term in LISTWISE:
        return RankingObjective(dimensions, _ranking_rule(objective, term), factors=factors)
    if term in POINTWISE:
        return _rating_term(objective, term, dimensions, scales)
    if term == "pickscore" and objective.pickscore.in_batch_negatives:
        masked = objective.pickscore.mask_duplicate_prompts
        return InBatchPickScore(dimensions, reduction=reduction, factors=factors, mask_duplicate_prompts=masked)
    return PairwiseObjective(
        dimensions, _pairwise_rule(objective, term, dimensions), reduction=reduction, factors=factors
    )


def _pairwise_rule(o: ObjectiveOptions, term: str, dimensions: tuple[str, ...]) -> PairwiseRule:
    rules: Mapping[str, Callable[[], nn.Module]] = {
        "bradley_terry": lambda: BradleyTerry(o.bradley_terry.ties),  # type: ignore[arg-type]
        "pickscore": PickScore,
        "imagereward": ImageReward,
        "margin": lambda: Margin(o.margin.margin, o.margin.of),  # type: ignore[arg-type]
        "scaled": lambda: Scaled(o.scaled.factor, o.scaled.of),  # type: ignore[arg-type]
        "hinge": lambda: Hinge(o.hinge.margin),
        "cdpo": lambda: CDPO(dimensions, _flip_rate(o.cdpo, dimensions)),
        "robust": lambda: Robust(dimensions, _flip_rate(o.robust, dimensions)),
        "thurstone": Thurstone,
        "gaussian": lambda: Gaussian(o.gaussian.form, o.gaussian.nodes),  # type: ignore[arg-type]
        "rao_kupper": lambda: RaoKupper(dimensions, theta=o.rao_kupper.theta, learned=o.rao_kupper.learned),
        "davidson": lambda: Davidson(dimensions, nu=o.davidson.nu, learned=o.davidson.learned),
        "centering": Centering,
    }
    assert set(PAIRWISE) < set(rules)
    return rules[term]()  # type: ignore[return-value]


def _flip_rate(options: CDPOOptions | RobustOptions, dimensions: tuple[str, ...]) -> float | dict[str, float]:
    """One rate, or one for each dimension: 0 for those that the term does not judge."""
    rate = options.flip_rate
    return {name: float(rate.get(name, 0.0)) for name in dimensions} if isinstance(rate, Mapping) else float(rate)


def _ranking_rule(o: ObjectiveOptions, term: str) -> RankingRule:
    if term == "plackett_luce":
        return PlackettLuce(o.plackett_luce.ties, o.plackett_luce.top)  # type: ignore[arg-type]
    return Top1() if term == "top1" else ListNet(o.listnet.temperature)


def _rating_term(o: ObjectiveOptions, term: str, dimensions: tuple[str, ...], scales: Mapping[str, Scale]) -> nn.Module:
    if term == "ordinal":
        judged = judged_by(o, term, dimensions)
        levels = {name: scale.levels for name, scale in scales.items() if name in judged}
        factors = dict(o.ordinal.dimensions)
        return OrdinalObjective(dimensions, levels, score_center=o.ordinal.score_center, factors=factors)
    options = o.huber if term == "huber" else o.mse
    return RatingObjective(
        dimensions,
        term,  # type: ignore[arg-type]
        middle={name: (scale.low + scale.high) / 2 for name, scale in scales.items() if name in dimensions},
        slope=options.slope,
        score_center=options.score_center,
        delta=options.delta if isinstance(options, HuberOptions) else 1.0,
        factors=dict(options.dimensions),
    )
