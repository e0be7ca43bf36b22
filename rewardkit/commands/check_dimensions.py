"""Options of ``fit`` about the dimensions that contradict each other."""

from __future__ import annotations

from rewardkit.config.overall import OVERALL, overall_problems
from rewardkit.config.schema import FitOptions


def dimension_problems(options: FitOptions) -> list[str]:
    """What ``model.head``, ``model.overall`` and ``model.dimensions`` contradict, one message each."""
    model = options.model
    if model.kind != "clip" or not model.dimensions:
        return []
    problems = overall_problems(model.overall, model.dimensions, model.overall_gradient)
    own = [name for name in model.dimensions if model.overall == "learned" or name != OVERALL]
    if model.head == "cosine" and len(own) > 1 and not problems:
        problems.append(
            f"model.head: cosine has one dimension, but there are {len(own)} ({', '.join(own)}); "
            "take model.head=projection or text_query"
        )
    return problems
