"""The page's template: everything escaped, no undefined names, and how it writes numbers."""

from __future__ import annotations

import math
from functools import cache

import jinja2
from markupsafe import Markup

from rewardkit.report.charts import interval_bar, interval_scale, mark_shape
from rewardkit.report.evaluation import Row
from rewardkit.report.scales import Axis, number

PAGE = "report.html.j2"
"""The template of a run's page."""


@cache
def environment() -> jinja2.Environment:
    """Jinja with everything escaped and no undefined names; one for all pages, since it keeps what it has compiled."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("rewardkit.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "breakable": _breakable,
        "share": _share,
        "signed": _signed,
        "count": _count,
        "minutes": _minutes,
        "plain": _plain,
    }
    made.globals |= {
        "bar": _row_bar,
        "scale": interval_scale,
        "shape": mark_shape,
    }
    return made


def _row_bar(row: Row, axis: Axis, *, marks: bool, width: int) -> Markup:
    """The interval bar of a row, with its reference marks or with chance alone."""
    beside = {**row.baselines, "reachable": row.reachable} if marks else {"chance": 0.5}
    return interval_bar(row.value, row.low, row.high, axis=axis, marks=beside, width=width)


def _breakable(name: str) -> Markup:
    """A name that may be broken behind its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def _share(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _plain(value: float) -> str:
    """A score or a number of votes."""
    return number(value)
