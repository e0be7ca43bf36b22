"""What is minimised: the section ``objective`` of ``fit``."""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.options import option


@dataclass
class CaptionContrastOptions:
    """Keeps a CLIP that learns from votes alone tied to what its prompts say; needs data with captions."""

    coefficient: float = option(0.0, at_least=0)
    """Factor of the term at the first step; 0 leaves it out."""
    final_coefficient: float | None = option(None, at_least=0)
    """Factor at the last step, reached on a straight line. Default: the same as at the first."""


@dataclass
class ObjectiveOptions:
    """What is minimised."""

    name: str = option("bradley_terry", choices=("bradley_terry",))
    """bradley_terry: pairwise cross entropy with soft labels, as HPS v2."""
    reduction: str = option("mean", choices=("mean", "sum", "mean_per_group"))
    """mean: over the comparisons of the optimiser step. sum: not divided. mean_per_group: over each group's, then over
    groups."""
    coefficient: float = option(1.0, above=0)
    """Factor of the pairwise term."""
    caption_contrast: CaptionContrastOptions = option(CaptionContrastOptions())
