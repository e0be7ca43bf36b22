"""The names of the protocols, what each counts, and the family names that stand for several. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rewardkit.config.messages import did_you_mean
from rewardkit.errors import UserError

PROTOCOLS: Mapping[str, str] = MappingProxyType(
    {
        "strict_micro": "people's ties left out, equal scores wrong; over comparisons",
        "strict_macro": "the same, each group first, then over groups",
        "half_micro": "people's ties left out, equal scores one half; over comparisons",
        "half_macro": "the same, each group first, then over groups",
        "hpdv2": "HPD v2's inversion score over the people's order: ties right, equal scores one half; over groups",
        "hpdv2_published": "the same as published: equal scores in the order of the list",
        "imagereward_micro": "ImageReward: pairs of the people's order, ties left out, equal scores wrong; over pairs",
        "imagereward_macro": "the same, each group first, then over groups",
        "imagereward_recall": "Recall@k and Filter@k, k = 1, 2, 4: is a best (worst) image among the top (bottom) k",
        "imagereward_recall_published": "the same, equal scores in the order of the list",
        "pickapic": "Pick-a-Pic: ties judged; a tie where |p1 - p0| <= t, t tuned on data.tune",
        "pickapic_training": "Pick-a-Pic's accuracy while training: a tie gets one half, equal scores nothing",
        "tie_calibrated_micro": "Deutsch et al. 2023: ties judged; a tie where |difference| <= eps, tuned on data.tune",
        "tie_calibrated_macro": "the same, each group first, then over groups",
        "tie_calibrated_micro_published": "as published: eps tuned on the evaluated set itself",
        "tie_calibrated_macro_published": "the same, each group first, then over groups",
        "videoalign_published": "VideoAlign's accuracy with ties, with its flaw in runs of equal differences",
        "kendall": "Kendall's tau-b with the people's order, mean over groups",
        "spearman": "Spearman's correlation with the people's order, mean over groups",
        "system": "correlation of the generators' mean scores with how often people preferred them",
        "calibration": "symmetric ECE and MCE, Brier, NLL; with data.tune also at the temperature fitted there",
        "position": "a probe: the accuracy of always preferring the candidate listed first (as strict_micro)",
    }
)
"""Every protocol, and what it is in a line."""

OF_RUNS = (
    "strict_micro",
    "strict_macro",
    "half_micro",
    "half_macro",
    "hpdv2",
    "imagereward_micro",
    "imagereward_macro",
)
"""Those that a run can be watched and its best step chosen by: one accuracy each, and nothing to tune."""

TUNED = ("pickapic", "tie_calibrated_micro", "tie_calibrated_macro")
"""Those that need a tuning split."""

FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "strict": ("strict_micro", "strict_macro"),
        "half": ("half_micro", "half_macro"),
        "imagereward": ("imagereward_micro", "imagereward_macro"),
        "tie_calibrated": ("tie_calibrated_micro", "tie_calibrated_macro"),
        "tie_calibrated_published": ("tie_calibrated_micro_published", "tie_calibrated_macro_published"),
        "all": tuple(name for name in PROTOCOLS if not name.endswith("_published")),
    }
)
"""Names that stand for several."""

NAMES = (*PROTOCOLS, *FAMILIES)
"""All that may be written on the command line."""


def expand(names: Sequence[str]) -> tuple[str, ...]:
    """The protocols that a list of names asks for, each once, in the order given.

    Raises:
        UserError: A name that is neither a protocol nor a family; the message has the nearest.
    """
    found: dict[str, None] = {}
    for name in names:
        if name not in PROTOCOLS and name not in FAMILIES:
            raise UserError(
                f"there is no protocol {name!r}.{did_you_mean(name, NAMES)} Protocols: {', '.join(PROTOCOLS)}; names "
                f"for several: {', '.join(FAMILIES)}"
            )
        found.update(dict.fromkeys(FAMILIES.get(name, (name,))))
    return tuple(found)
