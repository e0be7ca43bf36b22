"""From the command line of ``sweep`` to what is run: options, the sweep's folder, and how its trials are started."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardkit.commands.sweep_check import check_points
from rewardkit.config.compose import COMMAND_LINE, Layer, compose, parse_overrides
from rewardkit.config.help import show_value
from rewardkit.config.messages import did_you_mean
from rewardkit.config.options import leaves
from rewardkit.config.recipes import shipped_recipes
from rewardkit.config.schema import FitOptions
from rewardkit.config.sweep_options import SweepOptions
from rewardkit.config.sweeps import Sweep, find_sweep, read_sweep
from rewardkit.errors import ConfigError, UserError
from rewardkit.sweeps.local import TrialPlan
from rewardkit.sweeps.space import Space
from rewardkit.sweeps.trial import only_one

OWN = tuple(leaf.key for leaf in leaves(SweepOptions))
"""Keys of ``sweep`` itself; all others are of ``fit``."""

_KEPT = ("seed", "sampler", "count", "backend")
"""Own options that a continued sweep takes from before where they are not given."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What the command line asks for.

    Attributes:
        sweep: The file.
        options: Of ``sweep``.
        shared: Options of ``fit`` that all trials have.
        recipe: The recipe's name.
        backend: ``local``, ``wandb`` or ``ray``.
        why: Why that one, where ``backend=auto`` chose it.
        limit: Most trials; None: as many as there are points.
        trials: How many there will be, where it can be said.
        arguments: The command line.
        root: The folder of a sweep that is continued by its path.
    """

    sweep: Sweep
    options: SweepOptions
    shared: Mapping[str, Any]
    recipe: str
    backend: str
    why: str
    limit: int | None
    trials: int | None
    arguments: Sequence[str]
    root: Path | None


def plan_sweep(overrides: Mapping[str, Any], arguments: Sequence[str]) -> Planned:
    """Reads and checks all that is asked for; nothing is written.

    Raises:
        UserError: A wrong sweep, recipe, option or value.
    """
    given = dict(overrides)
    root, before = _continued(given)
    own = {key: value for key, value in given.items() if key in OWN}
    options = compose(SweepOptions, [Layer("before", before.get("own", {})), Layer(COMMAND_LINE, own)]).options
    if root is not None:
        sweep = dataclasses.replace(read_sweep(root / "sweep.yaml"), name=before["sweep"])
    elif options.sweep is None:
        raise UserError("name a sweep: sweep=NAME or sweep=FILE; `python -m rewardkit sweep` lists those that ship")
    else:
        sweep = read_sweep(find_sweep(options.sweep))
    _check_command(sweep)
    if options.sampler == "auto":
        options.sampler = "tpe" if sweep.early is not None else "gp"
    shared = {**parse_overrides(sweep.arguments), **before.get("shared", {})}
    shared |= {key: value for key, value in given.items() if key not in OWN}
    _check_shared(sweep, shared)
    if "seed" not in sweep.parameters:
        shared["seed"] = options.seed
    _add_csv(shared)
    space = Space(sweep.parameters)
    check_points(sweep, shared, space)
    backend, why = _backend(options.backend)
    limit = min((n for n in (options.count, sweep.run_cap) if n is not None), default=None)
    if backend != "wandb":
        _check_bounded(sweep, space, limit)
    points = _points(sweep, space)
    trials = min((n for n in (limit, points) if n is not None), default=None)
    recipe = Path(str(shared["recipe"])).stem
    return Planned(sweep, options, shared, recipe, backend, why, limit, trials, tuple(arguments), root)


@contextmanager
def open_folder(planned: Planned) -> Iterator[Path]:
    """The sweep's folder, begun or continued, while this process alone works in it.

    Raises:
        UserError: It exists and may not be continued, or another process is at it.
    """
    run = planned.options.run
    resume = planned.options.resume
    if resume == "auto" and run.name is None and planned.root is None:
        raise UserError("resume=auto needs a name to find the sweep by: add run.name=NAME")
    name = run.name or time.strftime("%Y-%m-%d_%H-%M-%S")
    root = planned.root or Path(run.dir) / "sweeps" / planned.sweep.name / name
    record = root / "sweep.json"
    if record.is_file() and resume == "never":
        raise UserError(
            f"{root} exists already and is not overwritten. Choose another run.name, continue it with resume=auto, or "
            "delete the folder."
        )
    root.mkdir(parents=True, exist_ok=True)
    with only_one(root / ".lock") as mine:
        if not mine:
            raise UserError(f"{root} is being worked on by another process; wait for it, or stop it first")
        if record.is_file():
            _same_as_before(planned, json.loads(record.read_text(encoding="utf-8")), root)
        else:
            source = planned.sweep.path.read_text(encoding="utf-8")
            (root / "sweep.yaml").write_text(source, encoding="utf-8")
        scratch = root / ".sweep.json.tmp"
        scratch.write_text(json.dumps(_record(planned), indent=1) + "\n", encoding="utf-8")
        os.replace(scratch, record)
        yield root


def trial_plan(planned: Planned, root: Path) -> TrialPlan:
    """How the trials of a sweep are started."""
    options = planned.options
    gpus = [",".join(options.gpus[place :: options.jobs]) for place in range(options.jobs)] if options.gpus else []
    return TrialPlan(
        root=root,
        recipe=planned.recipe,
        fixed=shared_arguments(planned.shared),
        environment=trial_environment(planned, root),
        gpus=gpus,
    )


def shared_arguments(shared: Mapping[str, Any]) -> list[str]:
    """Options that all trials have, as ``key=value``; the recipe first."""
    ordered = sorted(shared, key=lambda key: key not in ("recipe", "scale"))
    return [f"{key}={','.join(shared[key]) if key == 'logger' else show_value(shared[key])}" for key in ordered]


def trial_environment(planned: Planned, root: Path) -> dict[str, str]:
    """The environment of every trial: W&B offline in one group, and a fair share of the processors."""
    environment = dict(os.environ)
    if planned.options.jobs > 1 and "trainer.threads" not in planned.shared:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // planned.options.jobs)))
    environment.setdefault("WANDB_MODE", "offline")
    environment.setdefault("WANDB_RUN_GROUP", f"{planned.sweep.name}/{root.name}")
    return environment


def _continued(given: dict[str, Any]) -> tuple[Path | None, dict[str, Any]]:
    """The folder that ``resume=PATH`` names, and what it was started with."""
    resume = given.get("resume", "never")
    if resume in ("never", "auto"):
        return None, {}
    root = Path(str(resume))
    record = root / "sweep.json"
    if not record.is_file():
        raise UserError(f"resume={resume}: this is no sweep's folder (with a sweep.json)")
    before: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    for key in ("sweep", "run.name", "run.dir"):
        if key in given:
            raise UserError(f"{key}: resume={resume} says which sweep it is; leave {key} out")
    return root, before


def _check_command(sweep: Sweep) -> None:
    """Refuses a command that gives what the sweep itself decides, such as run.name."""
    own = [key for key in parse_overrides(sweep.arguments) if key in OWN]
    if own:
        raise ConfigError([f"command: {key} is the sweep's own; take it out (in {sweep.path})" for key in own])


def _check_shared(sweep: Sweep, shared: Mapping[str, Any]) -> None:
    known = [leaf.key for leaf in leaves(FitOptions)]
    problems = []
    for key in shared:
        if key in sweep.parameters:
            problems.append(
                f"{key}: is searched by {sweep.path}, so it cannot be given as well (set by {COMMAND_LINE})"
            )
        elif key not in known and did_you_mean(key, OWN) and not did_you_mean(key, known):
            problems.append(f"{key}: there is no such key.{did_you_mean(key, OWN)} (set by {COMMAND_LINE})")
    if problems:
        raise ConfigError(problems)
    if "recipe" not in shared:
        raise UserError(f"name a recipe, for example recipe=hpsv2. There are: {', '.join(shipped_recipes())}.")


def _add_csv(shared: dict[str, Any]) -> None:
    """Values are read from metrics.csv, whatever else is asked for."""
    if "logger" not in shared:
        return
    loggers = shared["logger"]
    named = [part.strip() for part in loggers.split(",")] if isinstance(loggers, str) else list(loggers or [])
    shared["logger"] = named if "csv" in named else ["csv", *named]


def _backend(chosen: str) -> tuple[str, str]:
    if chosen != "auto":
        return chosen, ""
    from rewardkit.sweeps.server import has_key

    if os.environ.get("WANDB_MODE", "online") not in ("online", "shared"):
        return "local", f"WANDB_MODE={os.environ['WANDB_MODE']}"
    return ("wandb", "there is a W&B key") if has_key() else ("local", "there is no W&B key")


def _points(sweep: Sweep, space: Space) -> int | None:
    return sum(1 for _ in space.grid()) if sweep.method == "grid" else space.size


def _check_bounded(sweep: Sweep, space: Space, limit: int | None) -> None:
    if sweep.metric is None:
        raise UserError(
            f"metric: {sweep.path} names none, and only W&B's server can do without; add for example "
            "metric: {name: val/strict_micro/overall, goal: maximize}"
        )
    if limit is None and sweep.method != "grid" and space.size is None:
        raise UserError(f"{sweep.path} has no end: give count=N on the command line, or run_cap in the file")


def _record(planned: Planned) -> dict[str, Any]:
    """What continues the sweep, as JSON."""
    own = {key: value for key, value in dataclasses.asdict(planned.options).items() if key in _KEPT}
    return {
        "sweep": planned.sweep.name,
        "backend": planned.backend,
        "own": {**own, "backend": planned.backend},
        "shared": dict(planned.shared),
        "command": f"python -m rewardkit sweep {shlex.join(planned.arguments)}",
    }


def _same_as_before(planned: Planned, before: Mapping[str, Any], root: Path) -> None:
    now = _record(planned)
    old = {**before["shared"], **{key: before["own"][key] for key in ("seed", "sampler", "backend")}}
    new = {**now["shared"], **{key: now["own"][key] for key in ("seed", "sampler", "backend")}}
    differing = [
        f"{key}: {old.get(key)!r} then, {new.get(key)!r} now"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    if read_sweep(root / "sweep.yaml").config != planned.sweep.config:
        differing.append(f"the sweep file: {planned.sweep.path} is not what {root / 'sweep.yaml'} was")
    if differing:
        lines = "\n".join(differing)
        raise UserError(
            f"{root} cannot be continued: this differs from what it was started with\n{lines}\n"
            f"`sweep resume={root}` alone takes all of it from there; only jobs, count and gpus may differ."
        )
