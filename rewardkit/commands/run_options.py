"""What a run was started with, read from its folder; no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardkit.config.compose import Layer, compose
from rewardkit.config.schema import FitOptions
from rewardkit.config.show import with_null_sections
from rewardkit.errors import UserError


def options_of_run(folder: Path) -> FitOptions:
    """The options that a run was started with.

    Raises:
        UserError: The folder is no run.
    """
    return compose(FitOptions, [Layer(str(folder), with_null_sections(values_of_run(folder)))]).options


def values_of_run(folder: Path) -> Mapping[str, Any]:
    """The same as dotted key to value."""
    file = folder / "options.json"
    if not file.is_file():
        raise UserError(f"{folder} is not a run's folder: it has no options.json")
    values: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return values
