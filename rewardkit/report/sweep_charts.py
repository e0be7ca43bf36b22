"""Charts of a sweep: the best so far, values by one option, and every trial as a line through its options."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from rewardkit.report.drawing import SMALL, WIDE, as_svg, ink, new_axes
from rewardkit.report.scales import Axis, axis_of, number

_LETTERS = 12
"""Characters of a value beside its axis; longer ones are cut."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial that has a value.

    Attributes:
        number: Counted from 0.
        value: Of the metric; finite.
        ended: Whether it went to its end.
        options: Option to value.
        words: What the page tells where one points at it.
    """

    number: int
    value: float
    ended: bool
    options: Mapping[str, Any]
    words: str


def course_chart(trials: Sequence[Trial], *, metric: str, maximize: bool) -> Markup:
    """Every trial's value, and the best of those that went to their end so far; empty without trials."""
    if not trials:
        return Markup("")
    values = [trial.value for trial in trials]
    last = max(trial.number for trial in trials)
    x = axis_of(0, max(1, last), grow=False)
    whole = Axis(x.low - 0.4, x.high + 0.4, tuple(tick for tick in x.ticks if tick == int(tick)))
    axes = new_axes(whole, axis_of(min(values), max(values)), x_label="trial", y_label=metric, width=WIDE)
    best: list[float] = []
    ended = [trial for trial in sorted(trials, key=lambda trial: trial.number) if trial.ended]
    for trial in ended:
        better = max if maximize else min
        best.append(better([trial.value, *best[-1:]]))
    axes.step([trial.number for trial in ended], best, where="post", color=ink("c0"), linewidth=1.9)
    return as_svg(axes, f"{metric} by trial", titles=_dots(axes, [(trial.number, trial) for trial in trials]))


def option_chart(trials: Sequence[Trial], option: str, *, metric: str) -> Markup:
    """The value of each trial by what one option was; empty where no trial has it."""
    shown = [trial for trial in trials if trial.options.get(option) is not None]
    if not shown:
        return Markup("")
    scale = _Scale([trial.options[option] for trial in shown])
    values = [trial.value for trial in shown]
    axes = new_axes(scale.axis, axis_of(min(values), max(values)), x_label="", y_label=metric, width=SMALL)
    axes.set_xticks([place for place, _ in scale.ticks], [name for _, name in scale.ticks], parse_math=False)
    titles = _dots(axes, [(scale.place(trial.options[option]), trial) for trial in shown])
    return as_svg(axes, f"{metric} by {option}", titles=titles)


def parallel_chart(trials: Sequence[Trial], options: Sequence[str], *, metric: str, best: Trial) -> Markup:
    """A line for each trial through its value of each option and of the metric, the best one thick."""
    if not trials or not options:
        return Markup("")
    last = len(options)
    room = Axis(-0.35, last + 0.35, ())
    axes = new_axes(room, Axis(-0.06, 1.06, ()), x_label="", y_label="", width=max(WIDE, 96 * (last + 1)))
    axes.spines["bottom"].set_visible(False)
    scales = [_Scale([trial.options.get(option) for trial in trials]) for option in options]
    scales.append(_Scale([trial.value for trial in trials], logarithmic=False))
    for n, scale in enumerate(scales):
        axes.axvline(n, color=ink("ink-3"), linewidth=1)
        for place, name in scale.ticks:
            height = scale.share(place)
            axes.annotate(name, (n, height), (5, 0), textcoords="offset points", va="center", fontsize=11,
                          color=ink("ink-2"), parse_math=False)  # fmt: skip
    heads = [*options, metric]
    axes.set_xticks(range(last + 1), [_cut(head.rpartition(".")[2] or head, 16) for head in heads], parse_math=False)
    axes.tick_params(axis="x", length=0)
    titles = {}
    for trial in sorted(trials, key=lambda trial: trial is best):
        heights = [scale.share(scale.place(trial.options.get(option)))
                   for option, scale in zip(options, scales, strict=False)]  # fmt: skip
        heights.append(scales[-1].share(trial.value))
        mine = trial is best
        (line,) = axes.plot(range(last + 1), heights, color=ink("accent" if mine else "ink-3"), zorder=3 if mine else 2,
                            linewidth=2.6 if mine else 1.1, alpha=1.0 if mine else 0.45)  # fmt: skip
        line.set_gid(f"trial{trial.number}")
        titles[f"trial{trial.number}"] = trial.words
    return as_svg(axes, "every trial as a line through its options", titles=titles)


def _dots(axes: Axes, places: Sequence[tuple[float, Trial]]) -> dict[str, str]:
    """Draws the trials as dots, filled where they went to their end; gives what the page tells of each."""
    titles = {}
    for x, trial in places:
        face = ink("c0") if trial.ended else "none"
        (dot,) = axes.plot([x], [trial.value], "o", markersize=6, markerfacecolor=face, markeredgecolor=ink("c0"))
        dot.set(gid=f"dot{trial.number}", clip_on=False, alpha=0.75)
        titles[f"dot{trial.number}"] = trial.words
    return titles


class _Scale:
    """Places values of one option on a line: numbers as they are or by their logarithm, all else evenly.

    Args:
        values: What the option was in each trial.
        logarithmic: Whether numbers may be placed by their logarithm; they are where they span two powers of ten.
    """

    def __init__(self, values: Sequence[Any], *, logarithmic: bool = True) -> None:
        known = [value for value in values if value is not None]
        self.numbers = bool(known) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in known)
        self.log = False
        if self.numbers:
            low, high = float(min(known)), float(max(known))
            self.log = logarithmic and low > 0 and high / low >= 100
            ends = axis_of(*((math.log10(low), math.log10(high)) if self.log else (low, high)), ticks=4, grow=False)
            pad = 0.04 * (ends.high - ends.low)
            self.axis = Axis(ends.low - pad, ends.high + pad, ends.ticks)
            marks = range(math.ceil(ends.low), math.floor(ends.high) + 1) if self.log else ends.ticks
            self.ticks = [(float(mark), number(10.0**mark) if self.log else ends.label(mark)) for mark in marks]
            if len(set(known)) <= 4:  # so few are told as they are
                self.ticks = [(self.place(value), number(float(value))) for value in sorted(set(known))]
        else:
            self.names = list(dict.fromkeys(str(value) for value in values))
            self.axis = Axis(-0.5, len(self.names) - 0.5, ())
            self.ticks = [(float(n), _cut(name, _LETTERS)) for n, name in enumerate(self.names)]

    def place(self, value: Any) -> float:
        """Where a value stands."""
        if not self.numbers:
            return float(self.names.index(str(value)))
        if value is None:
            return self.axis.low
        return math.log10(value) if self.log else float(value)

    def share(self, place: float) -> float:
        """The same between 0 and 1."""
        return (place - self.axis.low) / (self.axis.high - self.axis.low)


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
