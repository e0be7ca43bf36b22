"""Plots of a study: a row for each arm, its accuracy with the seeds on the left, its difference to the reference right.

Only the difference is paired, so that a verdict is read on the right: intervals of accuracies that overlap do not tell
whether two arms differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study_results import BETTER, REFERENCE, SAME, WORSE, Arm

LOOK: Mapping[str, tuple[str, str]] = {
    REFERENCE: ("#000000", "s"),
    SAME: ("#7f7f7f", "o"),
    BETTER: ("#0072b2", "^"),
    WORSE: ("#d55e00", "v"),
}
"""Colour (of Okabe and Ito, told apart by the colour-blind) and mark of each verdict."""


def plot_arms(path: Path, title: str, panels: Mapping[str, Sequence[Arm]], names: Mapping[str, str]) -> None:
    """Writes one picture with a line of two panels for each condition.

    Args:
        path: The .png file.
        title: Above all panels.
        panels: Title of each condition to its arms.
        names: Arm to the name to print.
    """
    heights = [0.36 * len(arms) + 1.1 for arms in panels.values()]
    figure, axes = plt.subplots(
        len(panels),
        2,
        figsize=(10.5, sum(heights) + 0.8),
        squeeze=False,
        layout="constrained",
        height_ratios=heights,
        sharey="row",
    )
    for (left, right), (name, arms) in zip(axes, panels.items(), strict=True):
        _accuracies(left, name, arms, names)
        _differences(right, arms)
    used = [kind for kind in LOOK if any(arm.verdict == kind for arms in panels.values() for arm in arms)]
    handles = [
        plt.Line2D([], [], color=LOOK[kind][0], marker=LOOK[kind][1], linestyle="-", label=kind) for kind in used
    ]
    handles.append(plt.Line2D([], [], color="#444444", marker="|", linestyle="", label="one seed"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _accuracies(place: plt.Axes, title: str, arms: Sequence[Arm], names: Mapping[str, str]) -> None:
    for row, arm in enumerate(arms):
        _mark(place, row, arm, arm.value, arm.low, arm.high, arm.seeds)
    place.set_yticks(range(len(arms)), [names[arm.name] for arm in arms], fontsize=9)
    place.set_ylim(len(arms) - 0.4, -0.6)
    place.set_title(title, fontsize=10, loc="left")
    _finish(place, "held-out accuracy, %")


def _differences(place: plt.Axes, arms: Sequence[Arm]) -> None:
    for row, arm in enumerate(arms):
        if arm.difference is not None and arm.difference_low is not None and arm.difference_high is not None:
            _mark(place, row, arm, arm.difference, arm.difference_low, arm.difference_high, arm.difference_seeds)
    place.axvline(0, color="#000000", linewidth=0.9, linestyle="--", zorder=0)
    place.tick_params(axis="y", length=0)
    _finish(place, "difference to the reference, points")


def _mark(place: plt.Axes, row: int, arm: Arm, value: float, low: float, high: float, seeds: Sequence[float]) -> None:
    """One arm: its mean, its interval, and below it each seed."""
    colour, mark = LOOK[arm.verdict]
    place.plot([100 * low, 100 * high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt")
    place.plot([100 * value], [row], mark, color=colour, markersize=6)
    place.plot([100 * value for value in seeds], [row + 0.28] * len(seeds), "|", color="#444444", markersize=5)


def _finish(place: plt.Axes, label: str) -> None:
    place.set_xlabel(label, fontsize=9)
    place.tick_params(axis="x", labelsize=9)
    place.grid(axis="x", color="#eeeeee")
    for side in ("top", "right"):
        place.spines[side].set_visible(False)
