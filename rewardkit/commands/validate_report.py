"""The page that ``validate out=`` leaves beside its tables."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from rewardkit.commands.picture_folders import picture_folders
from rewardkit.commands.validate_answers import Answered
from rewardkit.commands.validate_models import Judge
from rewardkit.config.verbs import ValidateOptions
from rewardkit.engine.environment import describe_environment
from rewardkit.report.validation_page import Validated, write_validation_page

PAGE = "report.html"


def write_page_of(
    folder: Path,
    options: ValidateOptions,
    protocols: Sequence[str],
    judges: Sequence[Judge],
    results: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    answered: Sequence[Answered],
    differences: Sequence[Mapping[str, Any]],
    arguments: Sequence[str],
    console: Console,
) -> Path:
    """Writes ``report.html`` of a validation.

    Args:
        folder: Where it goes.
        options: Of ``validate``.
        protocols: That were asked for.
        judges: The models.
        results: Label to set to rows.
        answered: Measures of the evaluators among them.
        differences: With their words.
        arguments: The command line.
        console: Where notes about the data go.
    """
    machine = describe_environment(seed=0, precision="")
    measures = {one.label: one.measures for one in answered}
    validated = [
        Validated(
            judge.label,
            name,
            predictions,
            results[judge.label][name],
            judge.answers.get(name),
            measures.get(judge.label, {}).get(name),
        )
        for judge in judges
        for name, predictions in judge.sets.items()
    ]
    return write_validation_page(
        folder / PAGE,
        validated,
        protocols=protocols,
        differences=differences,
        folders=picture_folders(options.data.val, options.data.embedded, options.cache, options.data.remote, console),
        commands=[f"python -m rewardkit validate {shlex.join(arguments)}"],
        machine={name: value for name, value in machine.items() if name not in ("seed", "precision")},
    )
