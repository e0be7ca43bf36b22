"""What ``fit`` says of patch dropout and stochastic depth where they cannot be, before anything is built."""

from __future__ import annotations

import re

import pytest

from rewardkit.commands.check_kind import kind_problems
from rewardkit.commands.check_optimisation import optimisation_problems
from rewardkit.config.blip_options import BlipOptions
from rewardkit.config.model_options import ModelOptions
from rewardkit.config.schema import DataOptions, FitOptions


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"drop_path": 0.1}, "model.drop_path: .*model.blip.drop_path"),
        ({"patch_dropout": 0.5}, "model.patch_dropout: .*reads every patch.*null"),
    ],
    ids=str,
)
def test_a_blip_has_its_own(model: dict, said: str) -> None:
    (problem,) = kind_problems(FitOptions(model=ModelOptions(kind="blip", **model)))
    assert re.search(said, problem)
    assert not kind_problems(FitOptions(model=ModelOptions(kind="clip", **model)))
    assert not kind_problems(FitOptions(model=ModelOptions(kind="blip", blip=BlipOptions(drop_path=0.1))))


@pytest.mark.parametrize("name", ["drop_path", "patch_dropout"])
def test_features_are_made_by_the_whole_tower(name: str) -> None:
    options = FitOptions(data=DataOptions(features=True), model=ModelOptions(**{name: 0.1}))
    (problem,) = optimisation_problems(options)
    assert problem.startswith(f"model.{name}: features are made once")
    assert not optimisation_problems(FitOptions(data=DataOptions(features=True), model=ModelOptions(**{name: 0.0})))
