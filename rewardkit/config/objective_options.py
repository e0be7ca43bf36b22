"""What is minimised: the section ``objective`` of ``fit``."""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.options import option
from rewardkit.config.term_options import (
    AnswerOptions,
    BradleyTerryOptions,
    CaptionContrastOptions,
    CDPOOptions,
    CenteringOptions,
    DavidsonOptions,
    GaussianOptions,
    HingeOptions,
    HuberOptions,
    ImageRewardOptions,
    ListNetOptions,
    MarginOptions,
    MSEOptions,
    OptionOptions,
    OrdinalOptions,
    PickScoreOptions,
    PlackettLuceOptions,
    RaoKupperOptions,
    RobustOptions,
    ScaledOptions,
    ThurstoneOptions,
    Top1Options,
)

PAIRWISE = (
    "bradley_terry",
    "pickscore",
    "imagereward",
    "margin",
    "scaled",
    "hinge",
    "cdpo",
    "robust",
    "thurstone",
    "gaussian",
    "rao_kupper",
    "davidson",
)
"""Terms over comparisons."""
LISTWISE = ("plackett_luce", "top1", "listnet")
"""Terms over rankings."""
POINTWISE = ("mse", "huber", "ordinal")
"""Terms over ratings."""
ASKED = ("option", "answer")
"""Terms over answers to questions, for model.kind=mllm."""
TERMS = (*PAIRWISE, *LISTWISE, *POINTWISE, *ASKED, "centering", "caption_contrast")
"""Every term that `objective.name` may list; each has a section of that name."""


@dataclass
class ObjectiveOptions:
    """What is minimised: a sum of terms."""

    name: list[str] = option(["bradley_terry"], choices=TERMS)
    """The terms, whose sum is minimised; each has a section below (docs/objectives.md says which to take when)."""
    reduction: str = option("mean", choices=("mean", "sum", "mean_per_group"))
    """Of terms over comparisons. mean: over the comparisons of the optimiser step. sum: not divided. mean_per_group:
    over each group's, then over groups."""
    bradley_terry: BradleyTerryOptions = option(BradleyTerryOptions())
    pickscore: PickScoreOptions = option(PickScoreOptions())
    imagereward: ImageRewardOptions = option(ImageRewardOptions())
    margin: MarginOptions = option(MarginOptions())
    scaled: ScaledOptions = option(ScaledOptions())
    hinge: HingeOptions = option(HingeOptions())
    cdpo: CDPOOptions = option(CDPOOptions())
    robust: RobustOptions = option(RobustOptions())
    thurstone: ThurstoneOptions = option(ThurstoneOptions())
    gaussian: GaussianOptions = option(GaussianOptions())
    rao_kupper: RaoKupperOptions = option(RaoKupperOptions())
    davidson: DavidsonOptions = option(DavidsonOptions())
    plackett_luce: PlackettLuceOptions = option(PlackettLuceOptions())
    top1: Top1Options = option(Top1Options())
    listnet: ListNetOptions = option(ListNetOptions())
    mse: MSEOptions = option(MSEOptions())
    huber: HuberOptions = option(HuberOptions())
    ordinal: OrdinalOptions = option(OrdinalOptions())
    answer: AnswerOptions = option(AnswerOptions())
    centering: CenteringOptions = option(CenteringOptions())
    caption_contrast: CaptionContrastOptions = option(CaptionContrastOptions())
    option: OptionOptions = option(OptionOptions())  # last: below it the name is the section's
