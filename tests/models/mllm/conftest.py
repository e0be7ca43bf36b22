"""A tiny model of each family, built once, with weights large enough for its answers to depend on what it sees."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_mllm import FAMILIES, questions

from rewardkit.models.mllm.model import MLLMReward

_built: dict[str, tuple[Any, Any]] = {}


def lively(name: str) -> tuple[Any, Any]:
    """The model and processor of a family; the next call gives another copy of the same."""
    if name not in _built:
        base, processor = FAMILIES[name]()
        with torch.no_grad():
            for parameter in base.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4)
        _built[name] = base, processor
    return copy.deepcopy(_built[name])


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return lively(request.param)


@pytest.fixture
def qwen() -> tuple[Any, Any]:
    return lively("qwen2_5_vl")


@pytest.fixture
def dimensions() -> tuple[str, ...]:
    return tuple(question.dimension for question in questions().questions)


@pytest.fixture
def evaluator(family: tuple[Any, Any], dimensions: tuple[str, ...]) -> MLLMReward:
    torch.manual_seed(1)
    return MLLMReward(*family, dimensions).eval()
