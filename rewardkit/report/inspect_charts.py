"""Charts of the page of ``data inspect``: columns over categories, and shares on a line of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from rewardkit.report.drawing import SMALL
from rewardkit.report.scales import axis_of

MAX_COLUMNS = 40
"""Numbers on more values than this are put together."""

_HEIGHT = 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 8, 24, 40
_LETTER = 7.5


def column_chart(labels: Sequence[str], counts: Sequence[int], *, x_label: str, y_label: str) -> Markup:
    """One column for each label; empty where there is none. Labels that would touch are left out."""
    if not any(counts):
        return Markup("")
    y = axis_of(0, max(counts), ticks=4)
    bottom, right = _HEIGHT - _BOTTOM, SMALL - _RIGHT
    parts = []
    for tick in y.ticks:
        if tick == int(tick):  # things that are counted have no halves
            at = y.place(tick, bottom, _TOP)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{int(tick):,}</text>')
    step = (right - _LEFT) / len(labels)
    every = max(1, -(-int(max(map(len, labels)) * _LETTER + 6) // max(1, int(step))))
    width = min(step * 0.82, 46.0)
    for n, (label, count) in enumerate(zip(labels, counts, strict=True)):
        middle = _LEFT + (n + 0.5) * step
        if n % every == 0:
            parts.append(f'<text x="{middle:.1f}" y="{bottom + 17}" text-anchor="middle">{escape(label)}</text>')
        if count:
            top = min(y.place(count, bottom, _TOP), bottom - 1)
            parts.append(
                f'<rect class="c0" x="{middle - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" '
                f'height="{bottom - top:.1f}"><title>{escape(label)}: {count:,}</title></rect>'
            )
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    middle = (_LEFT + right) / 2
    parts.append(
        f'<text class="label" x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    parts.append(f'<text class="label" x="{_LEFT}" y="12">{escape(y_label)}</text>')
    shape = f'viewBox="0 0 {SMALL} {_HEIGHT}" role="img" aria-label="{escape(y_label)} by {escape(x_label)}"'
    return Markup(f'<svg class="chart" {shape}>{"".join(parts)}</svg>')


def number_chart(counts: Mapping[int, int], *, x_label: str, y_label: str) -> Markup:
    """Columns over whole numbers, in order; put together in equal steps where they are many."""
    if not counts:
        return Markup("")
    low, high = min(counts), max(counts)
    size = -(-(high - low + 1) // MAX_COLUMNS)
    columns = [0] * -(-(high - low + 1) // size)
    for value, count in counts.items():
        columns[(value - low) // size] += count
    starts = [low + n * size for n in range(len(columns))]
    labels = [f"{start:,}" if size == 1 else f"{start:,}–{start + size - 1:,}" for start in starts]
    if size > 1:
        x_label = f"{x_label}, in steps of {size}"
        labels = [f"{start:,}" for start in starts]
    return column_chart(labels, columns, x_label=x_label, y_label=y_label)


def outcome_bar(votes: Sequence[float], *, width: int = 150) -> Markup:
    """Shares of votes for first, tie and second, as one bar in three colours."""
    total = sum(votes)
    if total <= 0:
        return Markup("")
    parts, start = [], 0.0
    for kind, name, count in zip(("c0", "equal", "c1"), ("first", "tie", "second"), votes, strict=True):
        size = count / total * width
        title = f"<title>{name}: {count:,.10g} votes, {count / total:.1%}</title>"
        parts.append(f'<rect class="{kind}" x="{start:.1f}" y="5" width="{size:.1f}" height="14">{title}</rect>')
        start += size
    label = f"first {votes[0] / total:.1%}, tie {votes[1] / total:.1%}, second {votes[2] / total:.1%}"
    return Markup(
        f'<svg class="bar" width="{width}" height="24" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )


def share_bar(share: float, *, width: int = 70) -> Markup:
    """A share as a filled part of a line."""
    return Markup(
        f'<svg class="bar" width="{width}" height="10" aria-hidden="true"><rect class="empty" y="2" width="{width}" '
        f'height="6" rx="3"/><rect class="c0" width="{share * width:.1f}" height="6" y="2" rx="3"/></svg>'
    )
