"""The embedded dataset in the cache."""

from __future__ import annotations

import os

import pytest

from rewardkit.data import demo_shards as module
from rewardkit.data.demo.dataset import demo_group
from rewardkit.data.demo_shards import demo_shards
from rewardkit.data.index import ShardIndex
from rewardkit.data.overlap import Overlap, overlap


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(module, "GROUPS_PER_SHARD", 4)


def test_drawn_once(tmp_path):
    progress: list[int] = []
    folder = demo_shards(tmp_path, split="train", groups=6, workers=0, progress=progress.append)
    assert progress == [1, 2, 3, 4, 5, 6]
    assert demo_shards(tmp_path, split="train", groups=6, workers=0, progress=progress.append) == folder
    assert len(progress) == 6
    index = ShardIndex.open(folder)
    assert len(index) == 6 and len(index.shards) == 2 and index.made["split"] == "train"
    group, images = demo_group(seed=0, index=5, split="train")
    sample = index.sample(5)
    assert sample.images == images and sample.group.comparisons == group.comparisons
    assert index.captions.tolist() == [4] * 6


def test_other_values_are_other_entries(tmp_path):
    folders = {
        demo_shards(tmp_path, split=split, groups=groups, seed=seed, workers=0)
        for split, groups, seed in (("train", 2, 0), ("train", 2, 1), ("train", 3, 0), ("val", 2, 0))
    }
    assert len(folders) == 4


def test_train_and_val_share_nothing(tmp_path):
    train = ShardIndex.open(demo_shards(tmp_path, split="train", groups=40, workers=0))
    val = ShardIndex.open(demo_shards(tmp_path, split="val", groups=20, workers=0))
    assert overlap(train, val) == Overlap("", "")


def test_a_damaged_entry_is_drawn_again(tmp_path):
    folder = demo_shards(tmp_path, split="val", groups=5, workers=0)
    os.unlink(folder / "demo-val-000001.tar")
    assert demo_shards(tmp_path, split="val", groups=5, workers=0) == folder
    assert len(ShardIndex.open(folder)) == 5


def test_new_code_never_meets_old_drawings(tmp_path, monkeypatch):
    folder = demo_shards(tmp_path, split="val", groups=2, workers=0)
    monkeypatch.setattr(module, "_code", lambda: "changed")
    assert demo_shards(tmp_path, split="val", groups=2, workers=0) != folder
