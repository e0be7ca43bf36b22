"""The embedded dataset: prompts, pictures and votes made from a seed, so that training runs anywhere."""

from rewardkit.data.demo.dataset import (
    demo_ceilings,
    demo_group,
    demo_groups,
    demo_utilities,
    draw_groups,
)
from rewardkit.data.demo.voters import DIMENSIONS, Ceilings

__all__ = [
    "DIMENSIONS",
    "Ceilings",
    "demo_ceilings",
    "demo_group",
    "demo_groups",
    "demo_utilities",
    "draw_groups",
]
