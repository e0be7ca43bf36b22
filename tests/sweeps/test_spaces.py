"""Each distribution of W&B's draws what W&B's does; points become arguments that fit reads back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rewardkit.config.compose import parse_value
from rewardkit.config.sweep_parameters import DISTRIBUTIONS, Parameter, read_parameters

optuna = pytest.importorskip("optuna")

from rewardkit.sweeps.space import Space, arguments  # noqa: E402


def parameter(**record: Any) -> Parameter:
    problems: list[str] = []
    found = read_parameters({"a": record}, problems)
    assert problems == []
    return found["a"]


def draws(one: Parameter, count: int = 400) -> list[Any]:
    space = Space({"a": one})
    sampler = optuna.samplers.RandomSampler(seed=1)
    study = optuna.create_study(sampler=sampler)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    trial = study.ask()
    distribution = space.distributions["a"]
    drawn = (sampler.sample_independent(study, study.trials[trial.number], "a", distribution) for _ in range(count))
    return [space.point({"a": value})["a"] for value in drawn]


LAWS: dict[str, tuple[dict[str, Any], Any]] = {
    "uniform": ({"min": -1.0, "max": 3.0}, stats.uniform(-1, 4)),
    "log_uniform": ({"min": -3.0, "max": 0.0}, stats.loguniform(math.exp(-3), 1)),
    "log_uniform_values": ({"min": 0.01, "max": 10.0}, stats.loguniform(0.01, 10)),
    "inv_log_uniform": ({"min": 0.0, "max": 3.0}, stats.loguniform(math.exp(-3), 1)),
    "inv_log_uniform_values": ({"min": 0.01, "max": 10.0}, stats.loguniform(0.01, 10)),
    "normal": ({"mu": 2.0, "sigma": 3.0}, stats.norm(2, 3)),
    "log_normal": ({"mu": 1.0, "sigma": 0.5}, stats.lognorm(0.5, scale=math.e)),
    "beta": ({"a": 2.0, "b": 5.0}, stats.beta(2, 5)),
}
QUANTISED = {
    "q_uniform": {"min": 0.0, "max": 1.0, "q": 0.25},
    "q_log_uniform": {"min": 0.0, "max": 3.0, "q": 2},
    "q_log_uniform_values": {"min": 1.0, "max": 64.0, "q": 8},
    "q_normal": {"q": 0.5},
    "q_log_normal": {"q": 1},
    "q_beta": {"q": 0.1},
}


@pytest.mark.parametrize("name", LAWS)
def test_a_distribution_has_its_law(name: str) -> None:
    numbers, law = LAWS[name]
    assert stats.kstest(draws(parameter(distribution=name, **numbers)), law.cdf).pvalue > 0.001


@pytest.mark.parametrize("name", QUANTISED)
def test_a_quantised_one_gives_multiples(name: str) -> None:
    q = QUANTISED[name]["q"]
    found = draws(parameter(distribution=name, **QUANTISED[name]), 60)
    assert np.allclose(np.round(np.array(found) / q) * q, found) and len(set(found)) > 2
    assert all(isinstance(value, int) == isinstance(q, int) for value in found)


def test_listed_values_come_as_often_as_their_probabilities() -> None:
    found = draws(parameter(values=["a", "b", "c"], probabilities=[0.7, 0.3, 0.0]))
    assert 0.6 < found.count("a") / len(found) < 0.8 and "c" not in found
    whole = draws(parameter(distribution="int_uniform", min=2, max=4), 60)
    assert set(whole) == {2, 3, 4}
    assert {str(value) for value in draws(parameter(values=[None, [1, 2], "x"]), 60)} == {"None", "[1, 2]", "x"}
    assert Space({"a": parameter(value=[1])}).point({}) == {"a": [1]}


def test_every_distribution_is_tried_here() -> None:
    others = {"int_uniform", "categorical", "categorical_w_probabilities", "constant"}
    assert {*LAWS, *QUANTISED, *others} == set(DISTRIBUTIONS)


def test_a_grid_is_the_product_in_the_order_of_the_file() -> None:
    space = Space({"a": parameter(values=[1, [2, 3]]), "b": parameter(value="x"), "c": parameter(min=1, max=2)})
    assert [space.point(drawn) for drawn in space.grid()] == [
        {"a": 1, "b": "x", "c": 1},
        {"a": 1, "b": "x", "c": 2},
        {"a": [2, 3], "b": "x", "c": 1},
        {"a": [2, 3], "b": "x", "c": 2},
    ]
    assert space.size == 4
    assert Space({"a": parameter(min=0.0, max=1.0)}).size is None
    assert parameter(distribution="q_uniform", min=0, max=1, q=0.25).grid == (0.0, 0.25, 0.5, 0.75)  # as W&B: no max


def test_corners_take_every_value_and_both_ends() -> None:
    corners = list(Space({"a": parameter(values=[1, 2, 3]), "b": parameter(min=0.5, max=2.0)}).corners())
    assert corners == [{"a": 1, "b": 0.5}, {"a": 2, "b": 0.5}, {"a": 3, "b": 0.5}, {"a": 1, "b": 2.0}]


@pytest.mark.parametrize("value", [1, 0.00001, 1e-12, True, None, "text", [1, "a"], {"a": {"b": None}}, "null", "a: b"])
def test_values_come_through_the_command_line(value: Any) -> None:
    key, _, text = arguments({"a": value})[0].partition("=")
    expected = None if value == "null" else {"a": "b"} if value == "a: b" else value
    read = parse_value(text)
    assert key == "a" and (float(read) if isinstance(value, float) else read) == expected
