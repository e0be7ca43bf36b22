"""From the options of ``fit`` to the objective and the factors of its terms."""

from __future__ import annotations

import torch

from rewardkit.config.objective_options import ObjectiveOptions
from rewardkit.objectives.caption_contrast import CaptionContrastObjective
from rewardkit.objectives.pairwise import PairwiseObjective
from rewardkit.objectives.weighted import WeightedObjective

PAIRWISE = "pairwise"
CAPTION_CONTRAST = "caption_contrast"


def uses_captions(objective: ObjectiveOptions) -> bool:
    """Whether the objective needs the captions of the data."""
    contrast = objective.caption_contrast
    return contrast.coefficient > 0 or (contrast.final_coefficient or 0) > 0


def build_objective(objective: ObjectiveOptions, dimensions: tuple[str, ...]) -> WeightedObjective:
    """The sum of terms that the options name."""
    terms: dict[str, torch.nn.Module] = {
        PAIRWISE: PairwiseObjective(dimensions, reduction=objective.reduction)  # type: ignore[arg-type]
    }
    if uses_captions(objective):
        terms[CAPTION_CONTRAST] = CaptionContrastObjective()
    return WeightedObjective(terms)


def term_coefficients(objective: ObjectiveOptions) -> dict[str, tuple[float, float]]:
    """Factor of each term at the first and at the last step."""
    coefficients = {PAIRWISE: (objective.coefficient, objective.coefficient)}
    if uses_captions(objective):
        contrast = objective.caption_contrast
        final = contrast.coefficient if contrast.final_coefficient is None else contrast.final_coefficient
        coefficients[CAPTION_CONTRAST] = (contrast.coefficient, final)
    return coefficients
