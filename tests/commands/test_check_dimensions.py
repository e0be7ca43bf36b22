"""What ``fit`` says of heads and dimensions that do not go together, before anything is built."""

from __future__ import annotations

import re

import pytest

from rewardkit.commands.check_dimensions import dimension_problems
from rewardkit.config.model_options import ModelOptions
from rewardkit.config.schema import FitOptions


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dimensions": ["overall"], "overall": "combination"}, "model.overall: .* names it alone"),
        ({"dimensions": ["a", "b"], "overall": "mean"}, r"model.dimensions=overall,a,b"),
        ({"dimensions": ["overall", "a"], "overall_gradient": "weights"}, "model.overall_gradient: .*learned has none"),
        ({"dimensions": ["overall", "a", "b"], "overall": "gate", "head": "cosine"}, r"there are 2 \(a, b\)"),
        ({"dimensions": ["a", "b"], "head": "cosine"}, "take model.head=projection or text_query"),
    ],
    ids=str,
)
def test_one_message_for_each_mistake(options: dict, said: str) -> None:
    (problem,) = dimension_problems(FitOptions(model=ModelOptions(**options)))
    assert re.search(said, problem)


def test_what_goes_together_passes() -> None:
    for options in (
        {"dimensions": ["a", "overall"], "overall": "mean", "head": "cosine"},
        {"dimensions": ["a", "overall", "b"], "overall": "gate", "overall_gradient": "weights"},
        {"dimensions": ["overall"], "head": "text_query"},
        {"dimensions": ["a", "b"]},
    ):
        assert dimension_problems(FitOptions(model=ModelOptions(**options))) == []
