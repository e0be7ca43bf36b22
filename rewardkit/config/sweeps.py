"""Finds and reads sweep files: W&B's own YAML schema of a search over options of ``fit``.

What W&B's server would warn of, or ignore, is refused here, all mistakes at once. The keys and their meaning:
https://docs.wandb.ai/models/sweeps/sweep-config-keys. Nothing of the search is done here; see ``rewardkit/sweeps/``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rewardkit.config.messages import did_you_mean
from rewardkit.config.recipes import UniqueKeys, find_named, recipes_folder
from rewardkit.config.sweep_parameters import Parameter, read_parameters
from rewardkit.errors import ConfigError, UserError

METHODS = ("grid", "random", "bayes")
"""W&B's search strategies; ``custom`` needs code of one's own and is none for us."""

GOALS = ("minimize", "maximize")
"""W&B's spelling."""

_KEYS = (
    "apiVersion", "kind", "controller", "description", "program", "job", "image_uri", "entity", "project", "method",
    "command", "name", "run_cap", "metric", "metrics", "scheduler", "early_terminate", "parameters",
)  # fmt: skip
"""Top-level keys of W&B's schema."""

_ELSEWHERE = {
    "job": "it is for W&B Launch",
    "image_uri": "it is for W&B Launch",
    "metrics": "several metrics need method: custom",
    "scheduler": "the search runs here (backend=local) or on W&B's server",
}
"""Keys that W&B has and that no sweep of rewardkit can mean."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a sweep makes small or large.

    Attributes:
        name: As ``fit`` logs it, such as ``val/strict_micro/overall``.
        maximize: Whether more is better; W&B's default is less.
        target: No new trial starts once one has reached this value.
    """

    name: str
    maximize: bool
    target: float | None = None

    def better(self, value: float, than: float) -> bool:
        """Whether one value is better than another."""
        return value > than if self.maximize else value < than

    def reached(self, value: float) -> bool:
        """Whether a value is as good as the target."""
        return self.target is not None and not self.better(self.target, value)


@dataclass(frozen=True, slots=True)
class EarlyTerminate:
    """W&B's hyperband: trials that are not among the best at a band are stopped there.

    Attributes:
        bands: How many values of the metric a trial has logged before the one that is compared, ascending; W&B counts
            them from 0.
        eta: At each band, the best 1/eta go on.
    """

    bands: tuple[int, ...]
    eta: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep file as read.

    Attributes:
        name: The file's name without its ending.
        path: The file.
        about: Its ``description``.
        method: One of ``METHODS``.
        metric: What decides; None only with ``grid`` and ``random``.
        parameters: Option of ``fit`` to the values it may take, in the order of the file.
        early: When trials are stopped early.
        run_cap: Most trials, as the file says.
        arguments: ``key=value`` that stand in the file's ``command`` behind ``fit``.
        config: The whole file, for W&B's server.
    """

    name: str
    path: Path
    about: str
    method: str
    metric: Metric | None
    parameters: Mapping[str, Parameter]
    early: EarlyTerminate | None = None
    run_cap: int | None = None
    arguments: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def shipped_sweeps() -> dict[str, Path]:
    """Name to path of every sweep that ships with rewardkit."""
    return {path.stem: path for path in sorted((recipes_folder() / "sweeps").glob("*.yaml"))}


def find_sweep(name: str) -> Path:
    """The file of a sweep given by name or path.

    Raises:
        UserError: There is no such sweep.
    """
    shipped = shipped_sweeps()
    return find_named("sweep", name, shipped, f"There are {', '.join(shipped)}")


def read_sweep(path: Path) -> Sweep:
    """Reads a sweep file.

    Raises:
        UserError: It is not YAML, or not a map.
        ConfigError: What is wrong in it, all of it.
    """
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"sweep {path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise UserError(f"sweep {path} cannot be read: {error.strerror}") from None
    if not isinstance(config, dict):
        raise UserError(f"sweep {path} must be a map with method, metric and parameters (W&B's sweep configuration)")
    problems = [*_key_problems(config)]
    parameters = read_parameters(config.get("parameters"), problems)
    metric = _metric(config, problems)
    early = _early(config, metric, problems)
    method = str(config.get("method", ""))
    if method == "grid":
        problems += [
            f"parameters.{name}: a grid cannot list the values of {one.distribution}; give `values`, or method: random"
            for name, one in parameters.items()
            if one.grid is None
        ]
    arguments = _arguments(config.get("command"), problems)
    if problems:
        raise ConfigError([f"{problem} (in {path})" for problem in problems])
    return Sweep(
        name=path.stem,
        path=path,
        about=" ".join(str(config.get("description", "")).split()),
        method=method,
        metric=metric,
        parameters=parameters,
        early=early,
        run_cap=config.get("run_cap"),
        arguments=arguments,
        config=config,
    )


def _key_problems(config: Mapping[str, Any]) -> Iterator[str]:
    for key in config:
        if key not in _KEYS:
            yield f"{key}: W&B's sweep configuration has no such key.{did_you_mean(str(key), _KEYS)}"
        elif key in _ELSEWHERE:
            yield f"{key}: {_ELSEWHERE[key]}; leave it out"
    method = config.get("method")
    if method not in METHODS:
        yield f"method: expects {', '.join(METHODS)}, got {method!r}"
    cap = config.get("run_cap")
    if "run_cap" in config and not (isinstance(cap, int) and not isinstance(cap, bool) and cap > 0):
        yield f"run_cap: expects a whole number of at least 1, got {cap!r}"


def _metric(config: Mapping[str, Any], problems: list[str]) -> Metric | None:
    given = config.get("metric")
    if given is None:
        if config.get("method") == "bayes" or "early_terminate" in config:
            problems.append("metric: bayes and early_terminate need one, such as {name: val/…, goal: maximize}")
        return None
    known = ("name", "goal", "target", "impute", "impute_while_running")
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        problems.append("metric: expects a map with name, such as {name: val/strict_micro/overall, goal: maximize}")
        return None
    problems += [
        f"metric.{key}: there is no such key.{did_you_mean(str(key), known)}" for key in given if key not in known
    ]
    goal, target = given.get("goal", "minimize"), given.get("target")
    if goal not in GOALS:
        problems.append(f"metric.goal: expects {' or '.join(GOALS)}, got {goal!r}.{did_you_mean(str(goal), GOALS)}")
    if target is not None and (isinstance(target, bool) or not isinstance(target, int | float)):
        problems.append(f"metric.target: expects a number, got {target!r}")
        target = None
    return Metric(given["name"], goal == "maximize", target)


def _early(config: Mapping[str, Any], metric: Metric | None, problems: list[str]) -> EarlyTerminate | None:
    given = config.get("early_terminate")
    if given is None:
        return None
    before = len(problems)
    known = ("type", "min_iter", "max_iter", "s", "eta", "strict")
    if not isinstance(given, Mapping) or given.get("type") != "hyperband":
        problems.append("early_terminate: expects a map with type: hyperband")
        return None
    for key in given:
        if key not in known:
            problems.append(f"early_terminate.{key}: there is no such key.{did_you_mean(str(key), known)}")
    if given.get("strict"):
        problems.append("early_terminate.strict: only W&B's server knows what it means; leave it out")
    for key, least in (("min_iter", 1), ("max_iter", 1), ("s", 1)):
        value = given.get(key)
        if key in given and not (isinstance(value, int) and not isinstance(value, bool) and value >= least):
            problems.append(f"early_terminate.{key}: expects a whole number of at least {least}, got {value!r}")
    eta = given.get("eta", 3)
    if isinstance(eta, bool) or not isinstance(eta, int | float) or eta <= 1:
        problems.append(f"early_terminate.eta: expects a number above 1, got {eta!r}")
    if "min_iter" not in given and not {"max_iter", "s"} <= set(given):
        problems.append("early_terminate: needs min_iter, or max_iter and s")
    if len(problems) > before or metric is None:
        return None
    bands = _bands(given, float(eta))
    if not bands:
        problems.append(
            f"early_terminate: max_iter={given['max_iter']} with eta={eta:g} leaves no band; make it larger"
        )
    return EarlyTerminate(bands, float(eta))


MAX_BANDS = 20
"""So many bands of ``min_iter``; eta**20 validations are more than anybody runs."""


def _bands(given: Mapping[str, Any], eta: float) -> tuple[int, ...]:
    """W&B's bands: max_iter/eta, max_iter/eta², … (s of them), or min_iter, min_iter·eta, …; whole numbers."""
    if "max_iter" in given:
        band, found = float(given["max_iter"]), []
        for _ in range(given["s"]):
            band /= eta
            if band < 1:
                break
            found.append(int(band))
        return tuple(sorted(set(found)))
    return tuple(sorted({int(given["min_iter"] * eta**n) for n in range(MAX_BANDS)}))


_MACRO = re.compile(r"\$\{.*\}")


def _arguments(command: Any, problems: list[str]) -> tuple[str, ...]:
    """The ``key=value`` of a command that runs ``rewardkit fit``."""
    if command is None:
        return ()
    if not isinstance(command, Sequence) or isinstance(command, str):
        problems.append("command: expects a list of words, such as [${env}, python, -m, rewardkit, fit, …]")
        return ()
    words = [str(word) for word in command]
    if "fit" not in words or not any(word.rsplit("/", 1)[-1] == "rewardkit" for word in words):
        problems.append(
            "command: does not run `rewardkit fit`; write [${env}, ${interpreter}, -m, rewardkit, fit, recipe=NAME, "
            "${args_no_hyphens}]"
        )
        return ()
    behind = words[words.index("fit") + 1 :]
    if not any(word in ("${args_no_hyphens}", "${args}") for word in behind):
        problems.append("command: lacks ${args_no_hyphens}, where W&B puts a trial's values")
    return tuple(word for word in behind if not _MACRO.fullmatch(word))
