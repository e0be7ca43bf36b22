"""What is read next is said before, once and exactly, and saying it never fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rewardkit.data import mixture as mixture_module
from rewardkit.data import sources
from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.images import ImageTransform
from rewardkit.data.index import ShardIndex
from rewardkit.data.mixture import Mixture
from rewardkit.errors import DataError

Told = list[tuple[str, tuple[Any, ...]]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Ranges that were expected and read, in order."""
    seen: Told = []
    expect, read = sources.expect_range, sources._read

    def note_expected(*place: Any) -> None:
        seen.append(("expected", place))
        expect(*place)

    def note_read(*place: Any) -> bytes:
        seen.append(("read", place))
        return read(*place)

    monkeypatch.setattr(mixture_module, "expect_range", note_expected)
    monkeypatch.setattr(sources, "_read", note_read)
    return seen


@pytest.fixture
def folders(make_shards: Callable[..., Path], group_of: Callable[..., Any]) -> list[Path]:
    return [
        make_shards("a", [group_of(n) for n in range(8)], max_groups=3),
        make_shards("b", [group_of(n, start=50) for n in range(4)]),
    ]


def test_a_mixture_expects_what_it_reads(folders: list[Path], told: Told) -> None:
    mixture = Mixture([ShardIndex.open(folder) for folder in folders], dimensions=["overall", "aesthetic"])
    mixture.expect([9, 0, 4])
    for position in (9, 0, 4):
        mixture.sample(position)
    assert [kind for kind, _ in told] == ["expected"] * 3 + ["read"] * 3
    assert [place for _, place in told[:3]] == [place for _, place in told[3:]]


def test_a_loader_expects_each_micro_batch_once(folders: list[Path], told: Told, tokenizer: Any) -> None:
    data = PreferenceData(
        train=folders,
        val=[],
        transform=ImageTransform(8),
        tokenizer=tokenizer,
        dimensions=["overall", "aesthetic"],
        batch_groups=6,
        micro_groups=3,
        captions=False,
    )
    loader = data.train_dataloader()
    assert len(list(loader)) == 4
    assert [kind for kind, _ in told] == (["expected"] * 3 + ["read"] * 3) * 4
    assert {place for kind, place in told if kind == "expected"} == {place for kind, place in told if kind == "read"}
    told.clear()
    assert len(list(loader)) == 4
    assert not told  # so few groups are kept decoded


def test_a_file_that_is_not_there_shows_when_it_is_read(folders: list[Path]) -> None:
    mixture = Mixture([ShardIndex.open(folders[1])], dimensions=["overall", "aesthetic"])
    mixture.path(0).unlink()
    mixture.expect([0, 1])
    with pytest.raises(DataError, match="cannot be read"):
        mixture.sample(0)


def test_a_system_without_such_hints(folders: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(sources.os, "posix_fadvise", raising=False)
    mixture = Mixture([ShardIndex.open(folders[0])], dimensions=["overall", "aesthetic"])
    mixture.expect(range(8))
    assert mixture.sample(0).key == "g00000"
