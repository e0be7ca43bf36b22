"""The picture of a sweep: the best so far over the trials, and every trial as a line through its values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rewardkit.config.help import show_value
from rewardkit.config.sweep_parameters import Parameter
from rewardkit.config.sweeps import Metric
from rewardkit.sweeps.study import TrialRecord

_DARK, _GREY, _LINE = "#333333", "#9a9a9a", "#1f6fb2"
_LONGEST = 26
"""Characters of a value beside its axis; longer ones are cut."""


def draw_sweep(path: Path, records: Sequence[TrialRecord], *, metric: Metric, parameters: dict[str, Parameter]) -> bool:
    """Writes the picture as PNG; nothing, and False, where no trial has a value.

    Args:
        path: The file.
        records: All trials.
        metric: What was searched for.
        parameters: Option to what it could be.
    """
    valued = [record for record in records if record.value is not None]
    if not valued:
        return False
    shown = {name: one for name, one in parameters.items() if one.distribution != "constant"}
    width = max(8.0, 1.9 * (len(shown) + 2))
    figure = Figure(figsize=(width, 7.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(1, 1.15))
    _draw_best_so_far(above, valued, metric)
    _draw_parallel(below, valued, metric, shown)
    figure.savefig(path, dpi=130, format="png")
    return True


def _draw_best_so_far(axes: Axes, records: Sequence[TrialRecord], metric: Metric) -> None:
    ended, early = _points(records, "complete"), _points(records, "stopped early")
    axes.scatter([*early], [*early.values()], marker="x", color=_GREY, s=30, label="stopped early")
    axes.scatter([*ended], [*ended.values()], color=_LINE, s=30, label="trial", zorder=3)
    best: list[float] = []
    for value in ended.values():
        best.append(value if not best or metric.better(value, best[-1]) else best[-1])
    axes.step([*ended], best, where="post", color=_DARK, linewidth=1.4, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(metric.name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="best")


def _points(records: Sequence[TrialRecord], state: str) -> dict[int, float]:
    """Trial number to value, of the trials that ended in a state."""
    return {r.number: float(r.value) for r in records if r.state == state and r.value is not None}


def _draw_parallel(
    axes: Axes, records: Sequence[TrialRecord], metric: Metric, parameters: dict[str, Parameter]
) -> None:
    names = [*parameters]
    values = [float(record.value or 0.0) for record in records]
    low, high = min(values), max(values)
    colour = Normalize(low, high if high > low else low + 1)
    palette = colormaps["viridis"] if metric.maximize else colormaps["viridis_r"]
    scales = [_Scale(parameters[name], [record.point.get(name) for record in records]) for name in names]
    for record, value in sorted(
        zip(records, values, strict=True), key=lambda pair: pair[1], reverse=not metric.maximize
    ):
        heights = [scale.place(record.point.get(name)) for name, scale in zip(names, scales, strict=True)]
        heights.append((value - low) / (high - low) if high > low else 0.5)
        early = record.state != "complete"
        axes.plot(
            range(len(heights)), heights, color=palette(colour(value)), linewidth=1.0 if early else 1.7,
            linestyle=":" if early else "-", alpha=0.55 if early else 0.9,
        )  # fmt: skip
    ticks = [
        *(scale.ticks for scale in scales),
        [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")] if high > low else [(0.5, f"{low:.4g}")],
    ]
    for at, marks in enumerate(ticks):
        axes.axvline(at, color=_DARK, linewidth=0.8)
        for height, text in marks:
            axes.annotate(
                text, (at, height), xytext=(4, 0), textcoords="offset points", fontsize=7.5, va="center", color=_DARK,
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
    axes.set_xticks(range(len(names) + 1), [*(_two_lines(name) for name in names), _two_lines(metric.name)], fontsize=8)
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.set_ylim(-0.06, 1.06)
    axes.set_xlim(-0.15, len(names) + 0.45)
    axes.spines[:].set_visible(False)


class _Scale:
    """Where a parameter's values lie on its axis, 0 to 1: listed values at equal distances, numbers by their size."""

    def __init__(self, parameter: Parameter, values: Sequence[Any]) -> None:
        listed = parameter.grid if parameter.values else None
        self._order: list[str] = [show_value(value) for value in listed] if listed else []
        self._log = parameter.distribution.endswith(("log_uniform", "log_uniform_values", "log_normal"))
        numbers = [self._number(value) for value in values] if not self._order else [0.0]
        self._low, self._high = min(numbers), max(numbers)
        if self._order:
            self.ticks = [(self.place(value), _short(value)) for value in listed or ()]
        else:
            ends = sorted({min(values), max(values)})
            self.ticks = [(self.place(value), f"{value:.3g}") for value in ends]

    def place(self, value: Any) -> float:
        """0 at the bottom, 1 at the top."""
        if self._order:
            return self._order.index(show_value(value)) / (len(self._order) - 1) if len(self._order) > 1 else 0.5
        if self._high <= self._low:
            return 0.5
        return (self._number(value) - self._low) / (self._high - self._low)

    def _number(self, value: float) -> float:
        return math.log(value) if self._log and value > 0 else float(value)


def _short(value: Any) -> str:
    text = show_value(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _two_lines(name: str) -> str:
    """A dotted name over two lines, the section above."""
    section, _, leaf = name.rpartition("/" if "/" in name else ".")
    return f"{section}\n{leaf}" if section else leaf
