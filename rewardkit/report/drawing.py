"""Turns a matplotlib figure into SVG that stands inside a page: its text in the page's font, its colours from the CSS.

matplotlib knows no CSS, so a chart is drawn in stand-in colours (``ink``), which are replaced by ``var(--…)`` at the
end: one drawing serves light, dark and paper. Nothing in the SVG is loaded from anywhere.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Mapping
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from rewardkit.report.scales import Axis

SMALL, WIDE = 310, 440
"""Widths of charts in the units of their own text, which is 12 high; the page scales them to its columns."""

HEIGHT = 236

_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 24, 40
_INKS = (*(f"c{n}" for n in range(8)), "ink", "ink-2", "ink-3", "rule", "paper", "right", "wrong", "equal", "accent")
_STAND_INS = {name: f"#fe01{n:02x}" for n, name in enumerate(_INKS)}
_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "rewardkit", "font.size": 12.0, "path.simplify": True}

_HEAD = re.compile(r"^.*?(?=<svg )", re.S)
_STYLE = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>", re.S)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.S)
_SIZE = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>')
_PATH = re.compile(r' d="([^"]*)"')
_PLACE = re.compile(r' (x|y)="(-?\d+\.\d)\d+"')
_DIGITS = re.compile(r"(\.\d)\d+")
_TEXT = re.compile(r"""<text style="font-size: ([\d.]+)px; font-family: [^";]*(?:; text-anchor: (\w+))?([^"]*)\"""")
_NO_TURN = re.compile(r' transform="rotate\(-?0 [^)]*\)"')
_GROUP = re.compile(r'<g id="([^"]*)"')
_NAMED = re.compile(r'(id="|href="#|url\(#)(?=\w)')
_GAP = re.compile(r">\s+<")


def ink(name: str) -> str:
    """The stand-in for a colour of the page, such as ``c0`` to ``c7``, ``ink``, ``rule`` or ``right``."""
    return _STAND_INS[name]


def new_axes(x: Axis, y: Axis, *, x_label: str, y_label: str, width: int, height: int = HEIGHT, left: int = 0) -> Axes:
    """Empty axes with a quiet grid, ticks and labels.

    Args:
        x: The horizontal axis.
        y: The vertical axis.
        x_label: Below.
        y_label: Above the upper left corner, where it needs no turning of heads.
        width: In the units of the text.
        height: Likewise.
        left: Room for the labels of the y axis; 0 for that of numbers.
    """
    edge = left or _LEFT
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(width / 72, height / 72))
        FigureCanvasSVG(figure)
        box = (edge / width, _BOTTOM / height, (width - edge - _RIGHT) / width, (height - _TOP - _BOTTOM) / height)
        axes = figure.add_axes(box)
        axes.set_xlim(x.low, x.high)
        axes.set_ylim(y.low, y.high)
        axes.set_xticks(x.ticks, [x.label(tick) for tick in x.ticks])
        axes.set_yticks(y.ticks, [y.label(tick) for tick in y.ticks])
        for side in ("left", "right", "top"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(ink("ink-3"))
        axes.grid(axis="y", color=ink("rule"), linewidth=1, zorder=0)
        axes.set_axisbelow(True)
        axes.tick_params(axis="x", color=ink("ink-3"), labelcolor=ink("ink-2"), length=4)
        axes.tick_params(axis="y", length=0, pad=6, labelcolor=ink("ink-2"))
        axes.set_xlabel(x_label, color=ink("ink-2"), labelpad=4, parse_math=False)
        above = 1 + 8 / (height - _TOP - _BOTTOM)
        axes.text(0, above, y_label, transform=axes.transAxes, color=ink("ink-2"), parse_math=False)
    return axes


def as_svg(axes: Axes, description: str, *, titles: Mapping[str, str] | None = None) -> Markup:
    """The chart for the page.

    Args:
        axes: Its axes, drawn.
        description: What it shows, for those who hear the page.
        titles: Id that an artist was given (``set_gid``) to what the page tells when one points at it.
    """
    out = io.StringIO()
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # The browser has letters that the font that matplotlib measures with may lack.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # Without metadata there is no date: the same run gives the same page.
        empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        axes.figure.savefig(out, format="svg", transparent=True, metadata=empty)  # type: ignore[union-attr]
    text = _METADATA.sub("", _STYLE.sub("", _HEAD.sub("", out.getvalue())))
    shape = rf'<svg class="chart" viewBox="\1" role="img" aria-label="{_plain(escape(description))}">'
    text = _SIZE.sub(shape, text, count=1)
    text = _PATH.sub(lambda found: f' d="{_DIGITS.sub(_first, " ".join(found[1].split()))}"', text)
    text = _NO_TURN.sub("", _PLACE.sub(r' \1="\2"', text))
    text = _TEXT.sub(_font, text).replace("xlink:href", "href")
    told = titles or {}
    text = _GROUP.sub(lambda found: f"<g><title>{escape(told[found[1]])}</title" if found[1] in told else "<g", text)
    text = _GAP.sub("><", text)
    # Ids name shapes by their content; behind the chart's own digest no two charts of a page share one.
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    text = _NAMED.sub(rf"\1r{digest}", text)
    for name, stand_in in _STAND_INS.items():
        text = text.replace(stand_in, f"var(--{name})")
    return Markup(text.strip())


def _first(found: re.Match[str]) -> str:
    return found[1]


def _font(found: re.Match[str]) -> str:
    """A text without a font of its own; the page's is inherited."""
    anchor = f' text-anchor="{found[2]}"' if found[2] else ""
    size = "" if found[1] == "12" else f"font-size: {found[1]}px"
    style = "; ".join(part for part in (size, *(part.strip() for part in found[3].split(";"))) if part)
    return f'<text{anchor} style="{style}"' if style else f"<text{anchor}"


def _plain(text: str) -> str:
    """For the right-hand side of a substitution, where a backslash would mean something."""
    return str(text).replace("\\", "\\\\")
