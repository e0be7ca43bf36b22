"""docs/evaluation.md tells every protocol, and no protocol that does not exist."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from rewardkit.config.protocols import FAMILIES, NAMES, PROTOCOLS
from rewardkit.metrics.evalalign_scores import AspectScore

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_is_told(name: str) -> None:
    assert f"`{name}`" in PAGE or all(f"`{member}`" in PAGE for member in FAMILIES.get(name, (name,)))


def test_names_in_commands_exist() -> None:
    for asked in re.findall(r"protocol=([a-z0-9_,]+)", PAGE):
        assert set(asked.split(",")) <= set(NAMES)
    endings = set(re.findall(r"`([a-z0-9_]+_(?:micro|macro|published))`", PAGE))
    endings -= {field.name for field in fields(AspectScore)}  # EvalAlign's aggregates
    assert endings <= set(PROTOCOLS)
