"""Whether ``fit`` would take what a sweep may try, found before the first trial starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardkit.config.compose import Composed, parse_overrides
from rewardkit.config.recipes import compose_fit
from rewardkit.config.schema import FitOptions
from rewardkit.config.sweeps import Sweep
from rewardkit.errors import ConfigError, RewardkitError
from rewardkit.sweeps.space import Space, arguments


def check_points(sweep: Sweep, shared: Mapping[str, Any], space: Space) -> None:
    """Refuses a sweep with values that ``fit`` does not take, and one of whose points none could be trained.

    Values that only some points contradict are let pass: those trials fail, and say why.

    Raises:
        ConfigError: All wrong keys and values.
        RewardkitError: What is wrong with the first point, where something is wrong with each.
    """
    from rewardkit.commands.check import check
    from rewardkit.commands.find_questions import take_dimensions_of_questions

    problems: dict[str, None] = {}
    refused: list[RewardkitError] = []
    tried = 0
    for point in space.corners():
        tried += 1
        try:
            composed: Composed[FitOptions] = compose_fit({**shared, **parse_overrides(arguments(point))})
        except ConfigError as error:
            problems |= dict.fromkeys(_with_origin(problem, sweep) for problem in error.problems)
            continue
        try:
            take_dimensions_of_questions(composed)
            check(composed.options, composed.origins)
        except RewardkitError as error:
            refused.append(error)
    if problems:
        raise ConfigError(list(problems))
    if len(refused) == tried:
        raise refused[0]


def _with_origin(problem: str, sweep: Sweep) -> str:
    """A problem of a searched option is the sweep file's, not the command line's."""
    key = problem.partition(":")[0]
    searched = any(key == name or key.startswith(f"{name}.") for name in sweep.parameters)
    return problem.replace("(set by command line)", f"(set by {sweep.path})") if searched else problem
