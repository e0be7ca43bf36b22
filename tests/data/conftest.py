"""Small shard sets that several tests of the data room read."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rewardkit.data.group import Candidate, Comparison, Group
from rewardkit.data.index_build import build_index
from rewardkit.data.shard_writer import ShardWriter


def picture(number: int, width: int = 12, height: int = 9) -> bytes:
    """A PNG whose pixels follow from its number."""
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def simple_group(number: int, *, start: int = 0, k: int | None = None) -> tuple[Group, list[bytes]]:
    """Group ``start + number``: 1 to 4 candidates, comparisons of neighbours on one or two dimensions."""
    number += start
    k = k or number % 4 + 1
    comparisons = [Comparison("overall", i, i + 1, (3 + i, 1, number % 5), 1 + number % 2) for i in range(k - 1)]
    if number % 3 == 0 and k > 1:
        comparisons.append(Comparison("aesthetic", k - 1, 0, (1, 0, 0), 0.5))
    return Group(
        id=f"g{number:05d}",
        prompt=f"prompt number {number}",
        candidates=tuple(Candidate("image.png", generator=f"gen{i}", width=12, height=9) for i in range(k)),
        comparisons=tuple(comparisons),
        slots={"captions": [f"caption {i} of {number % 2}" for i in range(k)]} if number % 4 else {},
    ), [picture(number * 10 + i) for i in range(k)]


@pytest.fixture
def group_of() -> Callable[..., tuple[Group, list[bytes]]]:
    """``simple_group``."""
    return simple_group


@pytest.fixture
def make_shards(tmp_path: Path) -> Callable[..., Path]:
    """Writes and indexes a shard set: ``make_shards("train", groups, max_groups=…)``; returns its folder."""

    def make(name: str, groups: list[tuple[Group, list[bytes]]], *, max_groups: int = 7, index: bool = True) -> Path:
        folder = tmp_path / name
        with ShardWriter(folder, name, max_groups=max_groups) as writer:
            for group, images in groups:
                writer.write(group, images)
        if index:
            build_index(folder)
        return folder

    return make


class LetterTokenizer:
    """One token per letter; ids are the letters' codes, 0 pads."""

    pad_id = 0

    def __call__(self, texts: list[str]) -> torch.Tensor:
        rows = torch.zeros(len(texts), 32, dtype=torch.int64)
        for n, text in enumerate(texts):
            codes = [1, *text.encode()[:30], 2]
            rows[n, : len(codes)] = torch.tensor(codes)
        return rows


@pytest.fixture
def tokenizer() -> LetterTokenizer:
    return LetterTokenizer()
