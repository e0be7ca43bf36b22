"""Which ways of making the dimension ``overall`` go with which dimensions."""

from __future__ import annotations

from collections.abc import Sequence

OVERALL = "overall"
"""Name of the dimension that can follow from the others."""

OVERALLS = ("learned", "mean", "combination", "gate")
"""How it can be made; ``learned`` is a dimension like the others."""

OVERALL_GRADIENTS = ("all", "weights")
"""What labels of an overall that follows from the others teach: all that made the score, or the weights alone."""


def overall_problems(overall: str, dimensions: Sequence[str], gradient: str) -> list[str]:
    """What is wrong with an ``overall``, each as ``KEY: message``; empty where it can be made."""
    problems = []
    for key, value, known in (
        ("model.overall", overall, OVERALLS),
        ("model.overall_gradient", gradient, OVERALL_GRADIENTS),
    ):
        if value not in known:
            problems.append(f"{key}: {value!r} is not one of {', '.join(known)}")
    if problems:
        return problems
    if overall != "learned" and OVERALL not in dimensions:
        problems.append(
            f"model.overall: {overall} makes the dimension {OVERALL!r} of the others, but model.dimensions "
            f"({', '.join(dimensions)}) has none of that name; add it: "
            f"model.dimensions={','.join((OVERALL, *dimensions))}, or leave model.overall at learned"
        )
    elif overall != "learned" and len(dimensions) == 1:
        problems.append(
            f"model.overall: {overall} makes {OVERALL!r} of other dimensions, but model.dimensions names it alone; "
            "name the others too, or leave model.overall at learned"
        )
    if gradient == "weights" and overall not in ("combination", "gate"):
        problems.append(
            f"model.overall_gradient: weights teaches the weights alone, but model.overall={overall} has none to "
            "learn; take model.overall=combination or gate, or model.overall_gradient=all"
        )
    return problems
