"""Plots of a study: a row for each arm with its accuracy, interval and seeds; the mark tells the verdict."""

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


def plot_arms(
    path: Path, title: str, panels: Mapping[str, Sequence[Arm]], names: Mapping[str, str], *, columns: int = 2
) -> None:
    """Writes one picture with a panel for each condition.

    Args:
        path: The .png file.
        title: Above all panels.
        panels: Title of each panel to its arms.
        names: Arm to the name to print.
        columns: Panels side by side.
    """
    count = len(panels)
    columns = min(columns, count)
    lines = -(-count // columns)
    most = max(len(arms) for arms in panels.values())
    figure, axes = plt.subplots(
        lines, columns, figsize=(5.6 * columns, lines * (0.34 * most + 1.25) + 0.7), squeeze=False, layout="constrained"
    )
    for place, (name, arms) in zip(axes.flat, panels.items(), strict=False):
        _panel(place, name, arms, names)
    for place in list(axes.flat)[count:]:
        place.set_visible(False)
    used = [kind for kind in LOOK if any(arm.verdict == kind for arms in panels.values() for arm in arms)]
    handles = [
        plt.Line2D([], [], color=LOOK[kind][0], marker=LOOK[kind][1], linestyle="-", label=kind) for kind in used
    ]
    handles.append(plt.Line2D([], [], color="#444444", marker="|", linestyle="", label="one seed"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(place: plt.Axes, title: str, arms: Sequence[Arm], names: Mapping[str, str]) -> None:
    for row, arm in enumerate(arms):
        colour, mark = LOOK[arm.verdict]
        place.plot([100 * arm.low, 100 * arm.high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt")
        place.plot([100 * arm.value], [row], mark, color=colour, markersize=6)
        place.plot([100 * value for value in arm.seeds], [row + 0.27] * len(arm.seeds), "|", color="#444444", ms=6)
        if arm.verdict == REFERENCE:
            place.axvline(100 * arm.value, color="#bbbbbb", linewidth=0.9, linestyle="--", zorder=0)
    place.set_yticks(range(len(arms)), [names[arm.name] for arm in arms], fontsize=9)
    place.set_ylim(len(arms) - 0.4, -0.6)
    place.set_xlabel("held-out accuracy, %", fontsize=9)
    place.tick_params(axis="x", labelsize=9)
    place.set_title(title, fontsize=10, loc="left")
    place.grid(axis="x", color="#eeeeee")
    for side in ("top", "right"):
        place.spines[side].set_visible(False)
