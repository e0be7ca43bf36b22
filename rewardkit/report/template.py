"""The pages' templates: everything escaped, no undefined names, how they write numbers, and how a page is written."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from rewardkit.report.evaluation import Row
from rewardkit.report.interval_bars import interval_bar, interval_scale, mark_shape
from rewardkit.report.scales import Axis, number


@dataclass(frozen=True, slots=True)
class Measured:
    """A number in a table with something small below it, as its interval.

    Attributes:
        value: What the table is sorted by; None is a dash.
        below: Below it; "" for nothing.
        decimals: Of the number as it is written; None: as few as it needs.
    """

    value: float | None
    below: str = ""
    decimals: int | None = None


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
        "minutes": minutes,
        "plain": _plain,
        "p_value": _p_value,
        "cell": cell_text,
        "sort_value": _sort_value,
    }
    made.globals |= {
        "bar": _row_bar,
        "scale": interval_scale,
        "shape": mark_shape,
    }
    return made


def write_page(path: Path, page: str) -> Path:
    """Writes a page; it appears complete or not at all, and replaces an older one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    try:
        scratch.write_text(page, encoding="utf-8", errors="replace")
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    return path


def environment_lines(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The environment as names and texts."""
    lines = []
    for name, value in environment.items():
        if isinstance(value, dict):
            lines += [(str(inner), str(text)) for inner, text in value.items()]
        elif isinstance(value, list | tuple):
            lines.append((str(name).replace("_", " "), ", ".join(map(str, value)) or "none"))
        else:
            lines.append((str(name).replace("_", " "), "none" if value is None else str(value)))
    return lines


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


def minutes(seconds: float) -> str:
    """A time as a person says it."""
    whole, rest = divmod(round(seconds), 60)
    hours, whole = divmod(whole, 60)
    return f"{hours} h {whole} min" if hours else f"{whole} min {rest} s" if whole else f"{rest} s"


def _plain(value: float) -> str:
    """A score or a number of votes."""
    return number(value)


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def cell_text(value: str | int | float | Measured | None) -> str:
    """A cell of a table of results as a person writes it; None is a dash."""
    if isinstance(value, Measured):
        below = Markup("<small>{}</small>").format(value.below) if value.below else ""
        return escape(_measured_text(value)) + below
    if value is None:
        return "–"
    if isinstance(value, float):
        return number(value) if math.isfinite(value) else str(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _measured_text(one: Measured) -> str:
    if one.value is None or one.decimals is None:
        return cell_text(one.value)
    return f"{one.value:.{one.decimals}f}".replace("-", "−")


def _sort_value(value: str | int | float | Measured | None) -> float | None:
    """What a table is sorted by; None for texts and where there is no number."""
    if isinstance(value, Measured):
        return value.value
    return value if isinstance(value, int | float) else None
