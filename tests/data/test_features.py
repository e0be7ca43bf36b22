"""Features on disk: whole or missing, shared under locks; batches of them carry the labels of pixel batches."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rewardkit.data.batch import Batch, Denominators
from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.feature_sharing import share_shards
from rewardkit.data.features import BadFeature, FeatureShards, feature_folder, read_done, write_shard
from rewardkit.data.images import ImageTransform
from rewardkit.data.index import ShardIndex
from rewardkit.errors import CheckpointError, DataError, UserError

WIDTH = 4


def rows(positions: range, index: ShardIndex) -> tuple[np.ndarray, np.ndarray]:
    """Features that say whose they are: group in column 0, candidate in column 1."""
    image = [[p, c, 1, 2] for p in positions for c in range(int(index.candidates[p]))]
    return np.array(image, np.float32), np.array([[p, 9, 9, 9] for p in positions], np.float32)


def write(folder: Path, index: ShardIndex, shard: int, bad: tuple[BadFeature, ...] = ()) -> None:
    begin, end = np.searchsorted(index.shard, [shard, shard + 1]).tolist()
    image, text = rows(range(begin, end), index)
    write_shard(folder, shard, image=image, text=text, bad=[b for b in bad if begin <= b.position < end])


class Maker:
    """A ``FeatureMaker`` without towers."""

    def __init__(self, root: Path, bad: tuple[BadFeature, ...] = (), digest: str = "d") -> None:
        self.root, self.bad, self.digest = root, bad, digest
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, index: ShardIndex, *, name: str, rank: int, ranks: int, device: Any) -> FeatureShards:
        self.calls.append((name, rank, ranks))
        folder = feature_folder(self.root, index.digest[:8], max_bytes=10**9, about={})

        def encode(shards: Iterator[int]) -> None:
            for shard in shards:
                write(folder, index, shard, self.bad)

        share_shards(folder, len(index.shards), rank=rank, ranks=ranks, encode=encode)
        return FeatureShards(folder, index)


@pytest.fixture
def folder(make_shards: Callable[..., Path], group_of: Callable[..., Any]) -> Path:
    return make_shards("train", [group_of(n) for n in range(24)], max_groups=5)


def module(folder: Path, tokenizer: Any, maker: Maker | None, **options: Any) -> PreferenceData:
    return PreferenceData(
        train=[folder],
        val=[],
        transform=ImageTransform(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        tokenizer=tokenizer,
        dimensions=("overall", "aesthetic"),
        features=maker,
        **{"batch_groups": 6, "micro_groups": 3, **options},
    )


def same(one: Batch, other: Batch) -> None:
    """All but pixels, tokens and features is equal."""
    for item in fields(Batch):
        a, b = getattr(one, item.name), getattr(other, item.name)
        if item.name in ("pixels", "tokens", "image_features", "text_features"):
            continue
        if isinstance(a, torch.Tensor):
            assert a.dtype == b.dtype and torch.equal(a.nan_to_num(-7), b.nan_to_num(-7)), item.name
        elif isinstance(a, Denominators):
            assert all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Denominators))
        else:
            assert a == b, item.name


@pytest.mark.parametrize("pairing", ["grouped", "pairs"])
def test_batches_are_those_of_pixels_with_features(folder, tokenizer, tmp_path, pairing):
    options = {"pairing": pairing, "batch_groups": 4, "micro_groups": 2}
    pixels = module(folder, tokenizer, None, **options)
    features = module(folder, tokenizer, Maker(tmp_path), **options)
    index = ShardIndex.open(folder)
    swapped = 0
    for _ in range(2):  # the second time from memory
        for plain, batch in zip(pixels.train_dataloader(), features.train_dataloader(), strict=True):
            same(plain, batch)
            assert batch.pixels.shape == (len(batch.group), 3, 0, 0)
            assert batch.image_features.dtype == torch.float32
            assert batch.image_features[:, 0].tolist() == batch.positions[batch.group].tolist()
            assert batch.text_features[:, 0].tolist() == batch.positions.tolist()
            if pairing == "grouped":
                places = [n for p in batch.positions for n in range(int(index.candidates[p]))]
                assert batch.image_features[:, 1].tolist() == places
            else:
                swapped += int((batch.image_features[0, 1] > batch.image_features[1, 1]).item())
    assert pairing == "grouped" or swapped > 1, "no comparison is shown the other way round"


@pytest.mark.parametrize("pairing", ["grouped", "pairs"])
def test_a_bad_image_leaves_its_place_empty_as_in_pixels(make_shards, group_of, tokenizer, tmp_path, pairing):
    groups = [group_of(n, k=3) for n in range(12)]
    groups[4][1][1] = b"no image"  # candidate 1 of group 4, which is in both of its comparisons
    groups[7][1][2] = b"nor this"
    folder = make_shards("bad", groups, max_groups=5, index=False)
    from rewardkit.data.index_build import build_index

    build_index(folder)
    reasons = "image.png: the image cannot be decoded: cannot identify image file"
    bad = (BadFeature(4, 1, reasons), BadFeature(7, 2, reasons))
    options = {"pairing": pairing, "batch_groups": 6, "micro_groups": 6}
    pixels, features = (module(folder, tokenizer, maker, **options) for maker in (None, Maker(tmp_path, bad)))
    empty = 0
    for plain, batch in zip(pixels.train_dataloader(), features.train_dataloader(), strict=True):
        for one in (plain, batch):
            one.bad = [(b.shard, b.key) for b in one.bad]  # the words of the reason are the decoder's
        same(plain, batch)
        dummies = ~batch.valid
        assert (batch.image_features[dummies] == 0).all() and (batch.image_features[~dummies][:, 2] == 1).all()
        empty += int(dummies.sum())
    assert empty == (2 if pairing == "grouped" else empty) and empty >= 2
    assert features.bad_samples == pixels.bad_samples == 2


def test_a_sample_that_cannot_be_read_is_bad_as_a_whole(folder, tokenizer, tmp_path):
    batches = list(module(folder, tokenizer, Maker(tmp_path, (BadFeature(3, None, "cut off"),))).train_dataloader())
    assert [b.reason for batch in batches for b in batch.bad] == ["cut off"]


def test_only_what_is_missing_is_encoded(folder, tmp_path):
    index = ShardIndex.open(folder)
    assert len(index.shards) == 5
    place = feature_folder(tmp_path, "x", max_bytes=10**9, about={"a": 1})
    for shard in (0, 2, 3):
        write(place, index, shard)
    (place / "00002.image.npy").write_bytes(b"short")  # half a file is no file
    (place / "00003.json").unlink()  # killed before the end
    encoded: list[int] = []

    def encode(shards: Iterator[int]) -> None:
        for shard in shards:
            encoded.append(shard)
            write(place, index, shard)

    with pytest.raises(DataError, match="shard 1"):
        FeatureShards(place, index)
    share_shards(place, 5, rank=1, ranks=2, encode=encode)
    assert encoded == [2, 3, 4, 1]
    read = FeatureShards(place, index)
    for position in range(len(index)):
        group = read.group(position)
        assert group.image[:, 0].tolist() == [position] * int(index.candidates[position])
        assert group.text[0, 0] == position and not group.bad


def _encode_slowly(place: Path, source: Path, rank: int, log: Path, hang: bool) -> None:
    index = ShardIndex.open(source)

    def encode(shards: Iterator[int]) -> None:
        for shard in shards:
            with open(log, "a") as file:
                file.write(f"{shard}\n")
            time.sleep(60 if hang else 0.05)
            write(place, index, shard)

    share_shards(place, len(index.shards), rank=rank, ranks=2, encode=encode, wait_seconds=0.05)


@pytest.mark.slow
def test_processes_share_the_shards_and_outlive_one_that_is_killed(folder, tmp_path):
    place, log = feature_folder(tmp_path, "x", max_bytes=10**9, about={}), tmp_path / "log"
    context = multiprocessing.get_context("fork")
    first = context.Process(target=_encode_slowly, args=(place, folder, 0, log, True))
    first.start()
    while not log.exists():
        time.sleep(0.02)
    others = [context.Process(target=_encode_slowly, args=(place, folder, n, log, False)) for n in (0, 1)]
    for other in others:
        other.start()
    while any(read_done(place, shard) is None for shard in range(1, 5)):
        time.sleep(0.05)
    assert read_done(place, 0) is None, "nobody takes the shard that another process is at"
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    for other in others:
        other.join(20)
        assert other.exitcode == 0
    told = [int(line) for line in log.read_text().split()]
    assert sorted(told) == [0, 0, 1, 2, 3, 4], "each shard once, and again the one that was lost"


def test_another_towers_checkpoint_is_refused(folder, tokenizer, tmp_path):
    state = module(folder, tokenizer, Maker(tmp_path)).state_dict()
    module(folder, tokenizer, Maker(tmp_path)).load_state_dict(state)
    for other in (Maker(tmp_path, digest="e"), None):
        with pytest.raises(CheckpointError, match=r"data\.features"):
            module(folder, tokenizer, other).load_state_dict(state)


def test_captions_are_refused(folder, tokenizer, tmp_path):
    with pytest.raises(UserError, match="captions"):
        module(folder, tokenizer, Maker(tmp_path), captions=True)


def test_few_shards_are_mapped_at_once(folder, tmp_path, monkeypatch):
    index = ShardIndex.open(folder)
    monkeypatch.setattr("rewardkit.data.features.OPEN_SHARDS", 2)
    read = Maker(tmp_path)(index, name="train", rank=0, ranks=1, device=None)
    for position in [*range(len(index)), 0, 20, 7]:
        assert read.group(position).text[0, 0] == position
        assert len(read._mapped) <= 2
