"""What many tests share: a tiny tower, small shard sets of the embedded dataset, and the options of a tiny run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_run import TINY_BLIP, TINY_TOWER, tiny_arguments
from two_ranks import TwoRanks

import rewardkit  # noqa: F401  (before anything imports torchvision; see rewardkit/_torchvision.py)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests, slow ones come first, so that none is left alone at the end.

    Tests of an ``xdist_group`` stay together, in their order.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not {"slow", "xdist_group"} & {mark.name for mark in item.iter_markers()})


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tests run beside other work; one thread each also makes them exactly repeatable."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of two narrow layers a tower, as an open_clip JSON file."""
    path = tmp_path_factory.mktemp("tower") / "tiny.json"
    path.write_text(json.dumps(TINY_TOWER), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BLIP of two narrow layers a tower, as a JSON file."""
    path = tmp_path_factory.mktemp("tower") / "tiny_blip.json"
    path.write_text(json.dumps(TINY_BLIP), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def demo_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Shards of 24 training and 7 validation groups of the embedded dataset, several shards each."""
    root = tmp_path_factory.mktemp("demo")
    return _draw(root, "train", 24), _draw(root, "val", 7)


@pytest.fixture(scope="session")
def answered_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same with raters' answers: 10 training and 4 validation groups."""
    root = tmp_path_factory.mktemp("answered")
    return _draw(root, "train", 10, answers=True), _draw(root, "val", 4, answers=True)


def _draw(root: Path, split: str, count: int, *, answers: bool = False) -> Path:
    from rewardkit.data.demo.dataset import demo_groups
    from rewardkit.data.index_build import build_index
    from rewardkit.data.shard_writer import ShardWriter

    folder = root / split
    folder.mkdir()
    with ShardWriter(folder, split, max_groups=5) as writer:
        for group, images in demo_groups(seed=3, start=0, count=count, split=split, answers=answers):  # type: ignore[arg-type]
            writer.write(group, images)
    build_index(folder)
    return folder


@pytest.fixture
def tiny_fit(tiny_tower: Path, demo_folders: tuple[Path, Path], tmp_path: Path) -> list[str]:
    """Arguments of ``fit`` for a run of 8 steps of 4 groups that takes a second."""
    return tiny_arguments(tiny_tower, demo_folders, tmp_path / "runs")


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoRanks]:
    """Two processes that stay; tests that take them are marked ``xdist_group("two_ranks")``."""
    pair = TwoRanks(tmp_path_factory.mktemp("ranks"))
    yield pair
    pair.end()
