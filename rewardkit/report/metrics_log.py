"""Reads a run's metrics.csv: one line per figure (step, name, value)."""

from __future__ import annotations

import csv
import math
from pathlib import Path

HEADER = ("step", "name", "value")
"""First line of the file."""


def read_metrics(path: Path) -> list[tuple[int, str, float]]:
    """Every line of a metrics file: (step, name, value). What a kill left unfinished is no line and is left out.

    A value that was not finite comes back as NaN or infinity.
    """
    rows = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.reader(line.replace("\0", "") for line in file):
            if len(row) != len(HEADER) or tuple(row) == HEADER:
                continue
            try:
                rows.append((int(row[0]), row[1], float(row[2]) if row[2] else math.nan))
            except ValueError:
                continue
    return rows


def curves(rows: list[tuple[int, str, float]]) -> dict[str, list[tuple[int, float]]]:
    """Name to its (step, value), in the order of the steps; a step that was logged twice keeps its last value."""
    by_name: dict[str, dict[int, float]] = {}
    for step, name, value in rows:
        by_name.setdefault(name, {})[step] = value
    return {name: sorted(points.items()) for name, points in by_name.items()}
