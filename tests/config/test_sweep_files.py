"""Sweep files: those that ship are W&B's, as its agent runs them; what W&B would only warn of is refused."""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rewardkit.config.compose import parse_overrides
from rewardkit.config.recipes import compose_fit
from rewardkit.config.sweeps import find_sweep, read_sweep, shipped_sweeps
from rewardkit.errors import ConfigError, UserError

SHIPPED = sorted(shipped_sweeps())

GOOD = """
method: bayes
metric: {name: val/m, goal: maximize}
parameters:
  optim.lr: {min: 0.001, max: 0.1, distribution: log_uniform_values}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_there_are_the_three_that_the_pages_name() -> None:
    assert SHIPPED == ["evalalign_heads", "hpsv2_lr_freezing", "objective_ties"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_sweep_passes_wandbs_schema(name: str) -> None:
    """W&B's client ships no schema; its package `sweeps` does, which pins an old numpy and is no dependency of ours.

    ``pip install --no-deps sweeps`` brings it here.
    """
    jsonschema = pytest.importorskip("jsonschema")
    found = importlib.util.find_spec("sweeps")
    if found is None or found.origin is None:
        pytest.skip("W&B's package sweeps is not installed")
    schema = json.loads((Path(found.origin).parent / "config" / "schema.json").read_text(encoding="utf-8"))
    config = yaml.safe_load(find_sweep(name).read_text(encoding="utf-8"))
    assert [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(config)] == []


def agent_commands(config: dict[str, Any]) -> list[list[str]]:
    """What ``wandb agent`` would run, by its own code, for trials that together take every listed value."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    lists = [one.get("values", [one.get("min"), one.get("max")]) for one in config["parameters"].values()]
    commands = []
    for values in itertools.zip_longest(*lists):
        full = [one[0] if value is None else value for one, value in zip(lists, values, strict=True)]
        args = {name: {"value": value} for name, value in zip(config["parameters"], full, strict=True)}
        macros = utils.create_sweep_command_args({"args": args})
        words = utils.create_sweep_command(list(config["command"]))
        commands.append([w for word in words for w in macros.get(word[2:-1], [word])])
    return commands


@pytest.mark.parametrize("name", SHIPPED)
def test_what_wandbs_agent_runs_is_a_fit(name: str) -> None:
    config = yaml.safe_load(find_sweep(name).read_text(encoding="utf-8"))
    for words in agent_commands(config):
        assert words[:5] == ["${env}", "${interpreter}", "-m", "rewardkit", "fit"]
        composed = compose_fit(parse_overrides(words[5:]))
        assert composed.options.logger == ["csv", "wandb"]
    origins = composed.origins
    assert any(origins[key] == "command line" and key not in ("recipe", "logger") for key in origins)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_comment_stands_above_each_value(name: str) -> None:
    lines = find_sweep(name).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ") and read_sweep(find_sweep(name)).about
    for above, line in itertools.pairwise(lines):
        key, sign, value = line.strip().partition(":")
        if sign and value.strip() and not line.lstrip().startswith(("#", "- {")) and key != "description":
            assert above.strip().startswith("#"), f"{name}: {key} has no comment above it"


def test_a_sweep_is_read(tmp_path: Path) -> None:
    text = GOOD + (
        "  model: {parameters: {head: {value: projection}, max_logit_scale: {values: [50, 100]}}}\n"
        "run_cap: 7\ndescription: of  mine\n"
        "command: ['${env}', python, -m, rewardkit, fit, recipe=hpsv2, seed=3, '${args_no_hyphens}']\n"
    )
    sweep = read_sweep(write(tmp_path, text))
    assert list(sweep.parameters) == ["optim.lr", "model.head", "model.max_logit_scale"]
    assert (sweep.run_cap, sweep.about, sweep.arguments) == (7, "of mine", ("recipe=hpsv2", "seed=3"))
    assert sweep.metric is not None and sweep.metric.better(2, 1) and not sweep.metric.reached(9)


@pytest.mark.parametrize(
    ("early", "bands"),
    [
        ("{type: hyperband, min_iter: 1, eta: 2}", (1, 2, 4, 8)),
        ("{type: hyperband, min_iter: 3}", (3, 9, 27, 81)),
        ("{type: hyperband, max_iter: 27, s: 2}", (3, 9)),
        ("{type: hyperband, max_iter: 5, s: 9, eta: 2}", (1, 2)),
    ],
)
def test_bands_are_wandbs(tmp_path: Path, early: str, bands: tuple[int, ...]) -> None:
    found = read_sweep(write(tmp_path, f"{GOOD}early_terminate: {early}\n")).early
    assert found is not None and found.bands[:4] == bands


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("method: bayes", "method: bays", "method: expects grid, random, bayes, got 'bays'"),
        ("method: bayes", "method: grid", "parameters.optim.lr: a grid cannot list the values of log_uniform_values"),
        ("metric:", "metrik:", "metrik: W&B's sweep configuration has no such key. Did you mean 'metric'"),
        ("metric: {name: val/m, goal: maximize}", "", "metric: bayes and early_terminate need one"),
        ("maximize", "max", "metric.goal: expects minimize or maximize, got 'max'"),
        ("min: 0.001", "min: 1e-3", "write 1.0e-4"),
        ("min: 0.001", "min: 0.2", "min (0.2) is not below max (0.1)"),
        ("min: 0.001", "min: 0", "needs a min above 0"),
        ("log_uniform_values", "loguniform", "there is no distribution 'loguniform'. Did you mean 'log_uniform'"),
        ("max: 0.1,", "max: 0.1, step: 2,", "parameters.optim.lr: step: does not go with it"),
        ("{min", "{values: [1, 1.0, one, one], q", "parameters.optim.lr"),
        ("parameters:", "run_cap: 0\nparameters:", "run_cap: expects a whole number of at least 1, got 0"),
        ("parameters:", "early_terminate: {type: hyperband}\nparameters:", "needs min_iter, or max_iter and s"),
        ("parameters:", "early_terminate: {type: median}\nparameters:", "expects a map with type: hyperband"),
        ("parameters:", "command: [python, train.py]\nparameters:", "command: does not run `rewardkit fit`"),
        ("parameters:", "command: [rewardkit, fit]\nparameters:", "lacks ${args_no_hyphens}"),
        ("parameters:", "scheduler: {engine: optuna}\nparameters:", "scheduler: the search runs here"),
        ("parameters:", "parameter:", "parameters: expects a map of options"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        read_sweep(path)
    assert words in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("{values: [1, one, one]}", "names one of them twice"),
        ("{values: [null, 'null']}", "names one of them twice, as fit reads them"),
        ("{values: []}", "expects a list of one or more"),
        ("{values: [a, b], probabilities: [0.5, 0.4]}", "expects 2 numbers that sum to 1"),
        ("{}", "expects a map such as"),
        ("{min: 1}", "says neither"),
        ("{distribution: normal, sigma: 0}", "sigma must be above 0"),
        ("{distribution: int_uniform, min: 0.5, max: 2}", "needs whole numbers"),
        ("{distribution: log_uniform, min: 1, max: 1000}", "natural logarithms"),
        ("{distribution: q_uniform, min: 1, max: 9, q: 0}", "q must be above 0"),
    ],
)
def test_mistakes_of_parameters(tmp_path: Path, record: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"parameters\.a: ") as caught:
        read_sweep(write(tmp_path, f"method: random\nparameters: {{a: {record}}}\n"))
    assert words in str(caught.value)


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_sweep(write(tmp_path, "method: x\nparameters: {a: {values: 1}, b: {min: 2, max: 1}}\n"))
    assert len(caught.value.problems) == 3


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no such sweep\. Did you mean 'objective_ties'"):
        find_sweep("objectiv_ties")
    with pytest.raises(UserError, match="there is no such file"):
        find_sweep("./nowhere.yaml")
    with pytest.raises(UserError, match="cannot be read as YAML"):
        read_sweep(write(tmp_path, "a: [\n"))
    with pytest.raises(UserError, match="must be a map"):
        read_sweep(write(tmp_path, "- a\n"))
