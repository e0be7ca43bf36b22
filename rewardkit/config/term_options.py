"""The terms that an objective may be made of, and what each takes: the sections ``objective.TERM`` of ``fit``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rewardkit.config.options import option


@dataclass
class TermOptions:
    """What every term takes."""

    coefficient: float = option(1.0, at_least=0)
    """Factor of the term in the sum, at the first step."""
    final_coefficient: float | None = option(None, at_least=0)
    """Factor at the last step, reached on a straight line. Default: the same as at the first."""


@dataclass
class JudgingTermOptions(TermOptions):
    """What every term that learns dimensions takes."""

    dimensions: dict[str, float] = option({})
    """Factor of each dimension in the term; one that is not named then has 0. Default: all have 1."""


@dataclass
class ScoreTermOptions(JudgingTermOptions):
    """What every term over scores takes."""

    scores: str | None = option(None, choices=("expected", "ordinal", "regression"))
    """With model.kind=mllm: the scores it learns on. Default: ordinal for ordinal, regression for mse and huber, else
    expected."""


@dataclass
class BradleyTerryOptions(ScoreTermOptions):
    """Pairwise: cross entropy of the Bradley-Terry law against the shares of votes, as HPS v2."""

    ties: str = option("half", choices=("half", "drop"))
    """half: a tie counts half for each side (HPS v2). drop: ties and even votes are left out."""


@dataclass
class PickScoreOptions(ScoreTermOptions):
    """Pairwise: PickScore's, bradley_terry less ln 2 at even labels, so that a perfect tie costs nothing."""

    in_batch_negatives: bool = option(False)
    """Other prompts' images and texts of the micro-batch, on all ranks, as negatives; for a model of one dimension."""
    mask_duplicate_prompts: bool = option(True)
    """With in_batch_negatives: images of an equal prompt are no negatives. The published trainer has false."""


@dataclass
class ImageRewardOptions(ScoreTermOptions):
    """Pairwise: ImageReward's, -log sigmoid of the difference; ties and even votes are left out."""


@dataclass
class MarginOptions(ScoreTermOptions):
    """Pairwise: the preferred has to be ahead by a margin, softly; ties and even votes are left out."""

    margin: float = option(1.0, at_least=0)
    """The margin; with of=rating_gap, for each point between the two mean ratings."""
    of: str = option("constant", choices=("constant", "rating_gap"))
    """constant: the same for all. rating_gap: as wide as the ratings are apart; 0 where a rating is missing."""


@dataclass
class ScaledOptions(ScoreTermOptions):
    """Pairwise: bradley_terry times a factor for each comparison; ties and even votes are left out."""

    factor: float = option(1.0, at_least=0)
    """The factor; with of=rating_gap, for each point between the two mean ratings."""
    of: str = option("rating_gap", choices=("constant", "rating_gap"))
    """constant: the same for all. rating_gap: as the ratings are apart; 1 where a rating is missing."""


@dataclass
class HingeOptions(ScoreTermOptions):
    """Pairwise: nothing to learn once the preferred is ahead by the margin; ties and even votes are left out."""

    margin: float = option(1.0, at_least=0)
    """By how much the preferred has to be ahead, in logits."""


@dataclass
class CDPOOptions(ScoreTermOptions):
    """Pairwise: bradley_terry with smoothed labels (conservative DPO)."""

    flip_rate: Any = option(0.1)
    """Share of votes taken as flipped, from 0 to below 0.5: a number, or a map of dimension to number."""


@dataclass
class RobustOptions(ScoreTermOptions):
    """Pairwise: the unbiased loss under flipped votes; unbounded below, so stop early or decay weights."""

    flip_rate: Any = option(0.1)
    """Share of votes that are flipped, from 0 to below 0.5: a number, or a map of dimension to number, as
    `data flips` estimates it."""


@dataclass
class ThurstoneOptions(ScoreTermOptions):
    """Pairwise: the normal law instead of the logistic one; with model.uncertainty each image has its own variance."""


@dataclass
class GaussianOptions(ScoreTermOptions):
    """Pairwise: scores are normal distributions; needs model.uncertainty."""

    form: str = option("neg_log_mean", choices=("neg_log_mean", "mean_neg_log"))
    """neg_log_mean: -log E[sigmoid], a likelihood. mean_neg_log: E[-log sigmoid] (HPSv3's), which can only shrink the
    variance; for comparison."""
    nodes: int = option(64, at_least=2, at_most=128)
    """Nodes of the Gauss-Hermite quadrature."""


@dataclass
class RaoKupperOptions(ScoreTermOptions):
    """Pairwise: a tie is an outcome of its own, where scores are within a threshold (Rao-Kupper)."""

    theta: float = option(5.0, above=1)
    """Width of the tie: log theta, in logits; at its start where it is learned."""
    learned: bool = option(False)
    """Learn theta, one for each dimension."""


@dataclass
class DavidsonOptions(ScoreTermOptions):
    """Pairwise: a tie is an outcome of its own, in proportion to the geometric mean of both strengths (Davidson)."""

    nu: float = option(1.0, above=0)
    """How often people say tie; at its start where it is learned."""
    learned: bool = option(False)
    """Learn nu, one for each dimension."""


@dataclass
class PlackettLuceOptions(ScoreTermOptions):
    """Listwise: the probability of each whole ranking (Plackett-Luce)."""

    ties: str = option("marginal", choices=("marginal", "breslow", "efron", "mean"))
    """What candidates of equal rank are worth. marginal: the mean over all orders of theirs, exactly. breslow, efron:
    its approximations. mean: the mean of the logarithms, which pulls their scores together."""
    top: int | None = option(None, at_least=1)
    """Only so many of the first choices count. Default: all."""


@dataclass
class Top1Options(ScoreTermOptions):
    """Listwise: softmax cross entropy of the best of each ranking."""


@dataclass
class ListNetOptions(ScoreTermOptions):
    """Listwise: cross entropy of the model's top-1 distribution against that of the ranking (ListNet)."""

    temperature: float = option(1.0, above=0)
    """Of the ranking's distribution, in ranks; small values look at the best alone."""


@dataclass
class RatingTermOptions(ScoreTermOptions):
    """What terms take that learn a line from scores to ratings."""

    slope: float = option(0.1, above=0)
    """Points of the rating's scale for each logit, where the learned line starts."""
    score_center: float = option(0.0)
    """Logit that means the middle of the scale, where the learned line starts: the mean score of a pretrained model."""


@dataclass
class MSEOptions(RatingTermOptions):
    """Pointwise: squared distance of a learned line of the score to the mean rating."""


@dataclass
class HuberOptions(RatingTermOptions):
    """Pointwise: squared distance of a learned line of the score to the mean rating, linear beyond delta."""

    delta: float = option(1.0, above=0)
    """Distance from which on it is linear, in points of the rating's scale."""


@dataclass
class OrdinalOptions(ScoreTermOptions):
    """Pointwise: shares of the answers on each level of the scale; the cuts between levels are learned."""

    score_center: float = option(0.0)
    """Logit at which every level is equally likely at the start: the mean score of a pretrained model."""


@dataclass
class OptionOptions(JudgingTermOptions):
    """Answers of an evaluator: the softmax over a question's own options against what people said, N/A among them."""

    kind: str = option("cross_entropy", choices=("cross_entropy", "kl"))
    """cross_entropy, or kl, which is 0 where the model says what people said; both have the same gradient."""
    class_weights: str = option("none", choices=("none", "balanced"))
    """balanced: each option weighs inversely to how often it is the answer in the training data, with a bound, and 1 on
    average over the answers (docs/mllm.md)."""


@dataclass
class AnswerOptions(TermOptions):
    """Answers of an evaluator as it writes them: cross entropy of the option's character and of a rationale."""

    coefficient: float = option(0.05, at_least=0)
    """Factor of the term in the sum, at the first step. Small beside option, as DeQA-Score has it (0.05); 1 alone."""


@dataclass
class CenteringOptions(ScoreTermOptions):
    """Squared sum of a comparison's two scores: keeps scores near 0, which comparisons leave free."""

    coefficient: float = option(0.01, at_least=0)
    """Factor of the term in the sum, at the first step. Logits of a CLIP are large: keep it small."""


@dataclass
class CaptionContrastOptions(TermOptions):
    """Keeps a model that starts from nothing tied to what its prompts say; needs data with captions."""
